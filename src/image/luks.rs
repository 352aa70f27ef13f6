//! The LUKS header of an encrypted image.

use super::Image;
use crate::Error;
use crate::format::Layout;
use crate::format::luks::{LuksHead, LuksSlot, SLOT_COUNT};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};

/// A LUKS1 partition header, as far as the file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luks {
    /// Where it stands, and how long the extension says that it is.
    pub span: Span,
    /// The fixed part; bytes behind the end of the file count as zero.
    pub head: LuksHead,
    /// The key slots, each with its place.
    pub slots: Vec<(HostOffset, LuksSlot)>,
    /// The bytes of the partition header that are in the file.
    pub bytes: Vec<u8>,
}

impl Luks {
    /// Bytes of the fixed part with its key slots.
    pub const LEN: u64 = LuksHead::LEN + SLOT_COUNT * LuksSlot::LEN;

    /// Whether all of these bytes of the partition header are in the file.
    pub fn holds(&self, part: Span) -> bool {
        let from = part.at.0.saturating_sub(self.span.at.0);
        // Counted from the start of the header, which may be said to stand at the last offset that there is.
        from.saturating_add(part.len) <= to_u64(self.bytes.len())
    }
}

impl<R: ReadAt> Image<R> {
    /// The LUKS header; `None` where the image is not encrypted with LUKS or does not say where it is.
    ///
    /// # Errors
    /// Where its bytes could not be read.
    pub fn luks(&self) -> Result<Option<Luks>, Error> {
        let Some((_, extension)) = self.crypto_extension() else { return Ok(None) };
        if !self.header().is_luks() {
            return Ok(None);
        }
        let at = extension.offset;
        let bytes = self.source.read_vec("the LUKS header", at, Luks::LEN)?;
        let head = LuksHead::decode_zero_filled(&bytes).unwrap_or_default();
        let slots = bytes.get(to_usize(LuksHead::LEN)..).unwrap_or_default();
        let slots = (0_u64..)
            .zip(slots.chunks_exact(to_usize(LuksSlot::LEN)))
            .filter_map(|(n, slot)| {
                let offset = LuksHead::LEN.saturating_add(n.saturating_mul(LuksSlot::LEN));
                Some((at.saturating_add(offset), LuksSlot::decode(slot)?))
            })
            .collect();
        Ok(Some(Luks { span: Span::new(at, extension.length), head, slots, bytes }))
    }
}
