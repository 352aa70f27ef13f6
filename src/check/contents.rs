//! What bytes of a cluster look like: something that was written over a table, or what a cluster holds that nothing refers to.

use std::fmt;

use super::context::Context;
use crate::format::foreign;
use crate::format::mapping::L2Entry;
use crate::format::refcount::RefcountWidth;
use crate::source::ReadAt;
use crate::units::{to_u64, to_usize};

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// They are all zero.
    Zeros,
    /// One byte over and over.
    Byte(u8),
    /// Refcounts of this width.
    Refcounts(RefcountWidth),
    /// L1 or L2 entries that lead into the file.
    Entries,
    /// Bytes that people can read.
    Text,
    /// The start of a file system or of a file, by its signature.
    Known(&'static str),
    /// No order to be seen: compressed, encrypted or random.
    Noise,
    /// Something else.
    Other,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Byte(byte) => write!(f, "the byte {byte:#04x} over and over"),
            Self::Refcounts(width) => write!(f, "refcounts of {} bits", width.bits()),
            Self::Entries => f.write_str("the entries of a table"),
            Self::Text => f.write_str("text"),
            Self::Known(name) => write!(f, "the start of {name}"),
            Self::Noise => f.write_str("compressed, encrypted or random data"),
            Self::Other => f.write_str("other data"),
        }
    }
}

/// A refcount that one meets: of more snapshots than this there are few.
const LIKELY_REFCOUNT: u64 = 16;
/// Per cent of the refcounts of a block that are not zero, where nearly all of it is in use.
const LEAST_IN_USE: u64 = 25;
/// So many entries in use make a table.
const FEW_ENTRIES: u64 = 2;
/// Of how many entries in use one at most may make no sense.
const SENSELESS_SHARE: u64 = 16;

/// What these bytes look like, which stand at the start of a cluster.
pub(super) fn contents<R: ReadAt>(cx: &Context<'_, R>, bytes: &[u8]) -> Contents {
    let Some(first) = bytes.first() else { return Contents::Zeros };
    if bytes.iter().all(|byte| byte == first) {
        return if *first == 0 { Contents::Zeros } else { Contents::Byte(*first) };
    }
    if let Some(name) = foreign::signature(bytes) {
        return Contents::Known(name);
    }
    if is_table(cx, bytes) {
        return Contents::Entries;
    }
    if let Some(width) = refcount_width(bytes) {
        return Contents::Refcounts(width);
    }
    let is_text = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let written = bytes.len().saturating_sub(bytes.iter().rev().take_while(|byte| **byte == 0).count());
    let text = bytes.iter().take(written).filter(is_text).count();
    if written >= 16 && text.saturating_mul(100) >= written.saturating_mul(95) {
        return Contents::Text;
    }
    if is_noise(bytes) { Contents::Noise } else { Contents::Other }
}

/// Whether an entry of an L2 table can mean something in this image. Its flags may be wrong all the same.
pub(super) fn is_sensible<R: ReadAt>(cx: &Context<'_, R>, entry: L2Entry) -> bool {
    let end = cx.image.sound_end();
    if entry.is_compressed() {
        let stream = entry.compressed(cx.geometry);
        return stream.high_bits == 0 && stream.at.0 < end;
    }
    let at = entry.standard_offset();
    entry.reserved() == 0 && at.is_aligned(cx.geometry.cluster_size()) && (cx.has_external_data || at.0 < end)
}

/// Whether nearly all that is not zero leads to a cluster of the file each, as the entries of a table do.
fn is_table<R: ReadAt>(cx: &Context<'_, R>, bytes: &[u8]) -> bool {
    let (mut used, mut senseless, mut last) = (0_u64, 0_u64, 0);
    for entry in bytes.as_chunks::<8>().0 {
        let entry = L2Entry(u64::from_be_bytes(*entry));
        if entry.0 == 0 {
            continue;
        }
        used = used.saturating_add(1);
        let at = entry.standard_offset().0;
        let is_sound = !entry.is_compressed()
            && is_sensible(cx, entry)
            && at != 0
            && at != last
            && at < cx.image.file_len();
        senseless = senseless.saturating_add(u64::from(!is_sound));
        last = at;
    }
    used >= FEW_ENTRIES && senseless.saturating_mul(SENSELESS_SHARE) <= used
}

/// The width that makes small refcounts of all these bytes, the fewest of them zero.
fn refcount_width(bytes: &[u8]) -> Option<RefcountWidth> {
    let mut best = None;
    for width in [3, 4, 5, 6].into_iter().filter_map(RefcountWidth::new) {
        let count = width.count_in(to_u64(bytes.len()));
        let all = || (0..count).filter_map(|index| width.get(bytes, index));
        let used = to_u64(all().filter(|refcount| *refcount != 0).count());
        let percent = used.saturating_mul(100).checked_div(count).unwrap_or_default();
        let is_better = best.is_none_or(|(_, most)| percent > most);
        if percent >= LEAST_IN_USE && is_better && all().all(|refcount| refcount <= LIKELY_REFCOUNT) {
            best = Some((width, percent));
        }
    }
    best.map(|(width, _)| width)
}

/// Whether every byte comes about as often as every other.
fn is_noise(bytes: &[u8]) -> bool {
    let mut counts = [0_usize; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let most = counts.into_iter().max().unwrap_or_default();
    // Of random bytes none comes much more often than the others; where there are few, chance has its say.
    bytes.len() >= 256 && most <= to_usize(to_u64(bytes.len()) / 256).saturating_mul(3).saturating_add(6)
}
