//! The header as one: both versions, and what absent fields mean.

use crate::format::features::{BITMAPS, EXTERNAL_DATA};
use crate::format::header::{CRYPT_LUKS, CRYPT_NONE, HeaderAdditional, HeaderV2, HeaderV3, field};
use crate::format::{Field, FieldValue, Layout};
use crate::units::{HostOffset, Span};

/// The header of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The fields of both versions.
    pub v2: HeaderV2,
    v3: Option<HeaderV3>,
    additional: Option<HeaderAdditional>,
    present_len: u64,
}

impl Header {
    /// Bytes of the header that the specification gives a meaning.
    pub const MAX_KNOWN_LEN: u64 = Self::V3_LEN + HeaderAdditional::LEN;
    /// Bytes of the version 3 header without additional fields.
    pub const V3_LEN: u64 = Self::V2_LEN + HeaderV3::LEN;
    /// Bytes of the version 2 header.
    pub const V2_LEN: u64 = HeaderV2::LEN;

    /// Reads it off the start of a file of `file_len` bytes. Bytes that are not there count as zero, as QEMU
    /// has it; [`Self::fields`] leaves them out.
    pub(super) fn decode(start: &[u8], file_len: u64) -> Self {
        let part = |from: u64| start.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        let v2 = HeaderV2::decode_zero_filled(start).unwrap_or_default();
        let v3 = (v2.version >= 3).then(|| HeaderV3::decode_zero_filled(part(Self::V2_LEN))).flatten();
        let additional = v3
            .filter(|v3| u64::from(v3.header_length) > Self::V3_LEN)
            .and_then(|_| HeaderAdditional::decode_zero_filled(part(Self::V3_LEN)));
        Self { v2, v3, additional, present_len: file_len }
    }

    /// The fields of version 3, or what their absence means.
    pub fn v3(&self) -> HeaderV3 {
        self.v3.unwrap_or_default()
    }

    /// Whether the image is of version 3 or later, and has those fields.
    pub fn has_v3(&self) -> bool {
        self.v3.is_some()
    }

    /// The additional fields, if `header_length` covers any.
    pub fn additional(&self) -> Option<HeaderAdditional> {
        self.additional
    }

    /// `compression_type`, or what its absence means.
    pub fn compression_type(&self) -> u8 {
        self.additional.unwrap_or_default().compression_type
    }

    /// Whether guest clusters lie in an external data file.
    pub fn has_external_data(&self) -> bool {
        self.v3().incompatible_features.contains(EXTERNAL_DATA)
    }

    /// Whether QEMU would load the bitmaps: only then a broken one keeps the image from being opened.
    pub fn bitmaps_are_loaded(&self) -> bool {
        self.v3().autoclear_features.contains(BITMAPS)
    }

    /// Whether it names a backing file.
    pub fn names_backing_file(&self) -> bool {
        self.v2.backing_file_offset.0 != 0 && self.v2.backing_file_size != 0
    }

    /// Whether the clusters hold ciphertext.
    pub fn is_encrypted(&self) -> bool {
        self.v2.crypt_method != CRYPT_NONE
    }

    /// Whether they are encrypted with LUKS, so that there is a header for that.
    pub fn is_luks(&self) -> bool {
        self.v2.crypt_method == CRYPT_LUKS
    }

    /// Where the extensions start: behind the header. One that is too short counts as the shortest.
    pub fn extensions_at(&self) -> HostOffset {
        HostOffset(self.v3.map_or(Self::V2_LEN, |v3| u64::from(v3.header_length).max(Self::V3_LEN)))
    }

    /// The bytes of the unknown additional fields; `None` where `header_length` covers none.
    pub fn unknown_fields(&self) -> Option<Span> {
        let len = self.extensions_at().0.checked_sub(Self::MAX_KNOWN_LEN)?;
        (len > 0 && self.has_v3()).then_some(Span::new(HostOffset(Self::MAX_KNOWN_LEN), len))
    }

    /// Every field with its value, except those that the file does not hold whole.
    pub fn fields(&self) -> Vec<(Field, FieldValue)> {
        let mut fields = self.v2.fields();
        fields.extend(self.v3.iter().flat_map(Layout::fields));
        fields.extend(self.additional.iter().flat_map(Layout::fields));
        fields.retain(|(field, _)| self.has(*field) && self.holds(*field));
        fields
    }

    /// Bytes that the header should have.
    pub fn wanted_len(&self) -> u64 {
        self.extensions_at().0
    }

    /// Whether the header has this one of its fields, be it in the file or not. A `header_length` of 105 to 111 covers
    /// the additional fields only in part.
    fn has(&self, field: Field) -> bool {
        field.end() <= self.wanted_len()
    }

    /// Whether the file holds this field whole. One that the header does not have counts as held, since its absence has a
    /// meaning; where the file is too short to say how long its header is, nobody knows that it is absent.
    pub fn holds(&self, field: Field) -> bool {
        let told_by = if self.has_v3() { field::HEADER_LENGTH } else { field::VERSION };
        let is_absent = !self.has(field) && told_by.end() <= self.present_len;
        is_absent || field.end() <= self.present_len
    }

    /// The bytes of a field, whether the file holds them or not; the whole header for a field that it does not have.
    pub fn span(&self, field: Field) -> Span {
        if self.has(field) { field.at(HostOffset(0)) } else { Span::new(HostOffset(0), self.wanted_len()) }
    }
}
