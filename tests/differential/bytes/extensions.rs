//! The header extensions.

use super::{Field, Image, Layout, V2_LENGTH};

const END: u64 = 0;
pub(crate) const BACKING_FORMAT: u64 = 0xe279_2aca;
const FEATURE_TABLE: u64 = 0x6803_f857;
const BITMAPS: u64 = 0x2385_2875;
const CRYPTO: u64 = 0x0537_be77;
const DATA_FILE: u64 = 0x4441_5441;

const HEAD: &Layout = &[("magic", 4), ("length", 4)];
const BITMAPS_DATA: &Layout =
    &[("nb_bitmaps", 4), ("reserved", 4), ("bitmap_directory_size", 8), ("bitmap_directory_offset", 8)];
const CRYPTO_DATA: &Layout = &[("offset", 8), ("length", 8)];
const FEATURE_HEAD: &Layout = &[("type", 1), ("bit", 1)];
const FEATURE_NAME: u64 = 48;

/// Where an extension is.
struct Extension {
    magic: u64,
    /// Where its data starts.
    data: u64,
    length: u64,
}

impl Image {
    /// The fields of all extensions, up to the one that ends the list.
    pub(crate) fn extension_fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for (number, extension) in self.extensions().into_iter().enumerate() {
            let of = format!("extension {number}");
            let Extension { magic, data, length } = extension;
            fields.extend(self.fields(&of, data - 8, HEAD));
            match magic {
                BACKING_FORMAT => fields.push(self.text_field(&of, "data", data, length)),
                DATA_FILE => fields.push(self.text_field(&of, "name", data, length)),
                BITMAPS => fields.extend(self.fields(&of, data, BITMAPS_DATA)),
                CRYPTO => fields.extend(self.fields(&of, data, CRYPTO_DATA)),
                FEATURE_TABLE => (0..length / FEATURE_NAME).for_each(|row| {
                    let of = format!("{of}, feature {row}");
                    let start = data + row * FEATURE_NAME;
                    fields.extend(self.fields(&of, start, FEATURE_HEAD));
                    fields.push(self.text_field(&of, "name", start + 2, FEATURE_NAME - 2));
                }),
                END => {}
                _ => fields.push(self.bytes_field(&of, "data", data, length)),
            }
        }
        fields
    }

    /// Where the LUKS header is.
    pub(super) fn luks_header(&self) -> Option<u64> {
        self.extension(CRYPTO).map(|extension| self.u64(extension.data))
    }

    /// Where the bitmap directory is, and how many entries it has.
    pub(super) fn bitmap_directory(&self) -> Option<(u64, u64)> {
        self.extension(BITMAPS).map(|extension| (self.u64(extension.data + 16), self.u32(extension.data)))
    }

    fn extension(&self, magic: u64) -> Option<Extension> {
        self.extensions().into_iter().find(|extension| extension.magic == magic)
    }

    fn extensions(&self) -> Vec<Extension> {
        let mut start = if self.header("version") == 2 { V2_LENGTH } else { self.header("header_length") };
        let end = match self.header("backing_file_offset") {
            0 => self.cluster_size(),
            offset => offset,
        };
        let mut extensions = Vec::new();
        while start < end {
            let (magic, length) = (self.u32(start), self.u32(start + 4));
            extensions.push(Extension { magic, data: start + 8, length });
            if magic == 0 {
                break;
            }
            start += 8 + length.next_multiple_of(8);
        }
        extensions
    }
}
