//! Damages of family E: the list of extensions, what they hold, and how they agree with the header.

use qcow2_inspect::format::extension::{
    BACKING_FORMAT, BITMAPS, BitmapsExtension, CRYPTO, DATA_FILE, END, ExtensionHead, FEATURE_TABLE,
    bitmaps_field::*, crypto_field, field,
};
use qcow2_inspect::format::features::{FeatureName, FeatureSet};
use qcow2_inspect::format::header::field::{AUTOCLEAR_FEATURES, CRYPT_METHOD};
use qcow2_inspect::format::scalar::{Chars, Magic};
use qcow2_inspect::format::{Field, Layout};
use qcow2_inspect::image::Luks;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{HostOffset, Span};

use super::steps::{bytes, name_backing_file};
use super::{Damage, Draft};

/// A type that the specification does not define.
const UNKNOWN: Magic = Magic(0x6162_6364);

/// An extension written over what stands behind the header, with no padding.
fn put_unknown(draft: &mut Draft, length: u32) {
    draft.put(112, &ExtensionHead { magic: UNKNOWN, length }.encode());
}

/// Changes the length of the first extension with this magic.
fn set_length(draft: &mut Draft, magic: Magic, length: u64) {
    draft.set_field(HostOffset(draft.extension(magic)), field::LENGTH, length);
}

/// Replaces the data of an extension by a string of the same length.
fn set_string(draft: &mut Draft, magic: Magic, text: &[u8]) {
    draft.put(draft.extension_data(magic), text);
}

/// Adds the feature name table as QEMU writes it, with other rows from the first on. In clusters of 512 bytes it
/// leaves no room for anything else, and QEMU leaves it out of small ones.
fn add_names(draft: &mut Draft, others: &[(u8, u8, &str)]) {
    let known = (0..)
        .zip(FeatureSet::ALL)
        .flat_map(|(kind, set)| set.known().map(move |feature| name(kind, feature.bit, feature.name)));
    draft.add_extension(FEATURE_TABLE, &known.flatten().collect::<Vec<_>>());
    let others = others.iter().flat_map(|(kind, bit, text)| name(*kind, *bit, text));
    draft.put(draft.extension_data(FEATURE_TABLE), &others.collect::<Vec<_>>());
}

fn name(kind: u8, bit: impl TryInto<u8>, text: &str) -> Vec<u8> {
    let mut chars = [0; 46];
    chars.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    FeatureName { r#type: kind, bit: bit.try_into().unwrap_or(u8::MAX), name: Chars(chars) }.encode()
}

/// Adds the extension for a bitmap whose directory is a cluster of zeros.
fn add_bitmaps(draft: &mut Draft) {
    let bitmap_directory_offset = HostOffset(draft.add_clusters(1));
    let (nb_bitmaps, reserved, bitmap_directory_size) = (1, 0, 24);
    let bitmaps = BitmapsExtension { nb_bitmaps, reserved, bitmap_directory_size, bitmap_directory_offset };
    draft.add_extension(BITMAPS, &bitmaps.encode());
}

/// Changes a field of the encryption extension, and answers what it was.
fn set_crypto(draft: &mut Draft, field: Field, value: u64) -> u64 {
    draft.set_field(HostOffset(draft.extension_data(CRYPTO)), field, value)
}

/// Gives a LUKS image that was cut behind its partition header its key slots back, as zeros, and the refcounts of
/// their last clusters: half a MiB that the corpus is spared.
fn uncut(draft: &mut Draft) {
    draft.bytes.resize(0x8_2000, 0);
    draft.put(0x8_1c00, &[0, 1].repeat(8));
}

/// Does that, and moves the LUKS header from its place; its key material stays.
fn move_luks(draft: &mut Draft, to: u64) {
    uncut(draft);
    let from = set_crypto(draft, crypto_field::OFFSET, to);
    draft.put(to, &bytes(draft, Span::new(HostOffset(from), Luks::LEN)));
}

/// Gives it its key slots back, and the encryption extension another length.
fn set_luks_len(draft: &mut Draft, len: u64) {
    uncut(draft);
    set_crypto(draft, crypto_field::LENGTH, len);
}

rows! { d:
    // The list.
    EXTENSION_TOO_LARGE "data" in "valid/v3-basic"
        with len = 1024 - 120 + 1, nearly 1024 - 120 => put_unknown(d, len);
    EXTENSION_TOO_LARGE "left-over-bytes" in "valid/v3-backing"
        with at = 0x87, nearly 0x80 => name_backing_file(d, at, b"base.raw");
    EXTENSION_TOO_LARGE "file-ends" in "valid/v3-basic"
        with len = 199, nearly 200 => { put_unknown(d, 80); d.truncate(len) }, also "H34";
    DUPLICATE_EXTENSION "known" in "valid/v3-backing" with magic = BACKING_FORMAT, nearly UNKNOWN => {
        name_backing_file(d, 0x200, b"base.raw");
        d.add_extension(magic, b"qcow2")
    };
    DUPLICATE_EXTENSION "unknown" in "valid/v3-basic" with further = 0, nearly 1 => {
        d.add_extension(UNKNOWN, b"");
        d.add_extension(Magic(UNKNOWN.0 + further), b"")
    }, also "E26";
    // The name stands where the padding should.
    EXTENSION_END_MISSING in "valid/v3-backing"
        with at = 0x7b, nearly 0x80 => name_backing_file(d, at, b"base.raw");
    EXTENSION_END_LENGTH in "valid/v3-512" with len = 8, nearly 0 => set_length(d, END, len);
    UNKNOWN_EXTENSION in "valid/v3-512"
        => d.add_extension(UNKNOWN, b"anything"), nearly d.add_extension(FEATURE_TABLE, b"");

    // Strings.
    BACKING_FORMAT_TOO_LONG in "valid/v3-backing"
        with (len, text) = (16, b"sixteen-letters!"), nearly (15, b"fifteen-letters") => {
            name_backing_file(d, 0x200, b"base.raw");
            set_length(d, BACKING_FORMAT, len);
            set_string(d, BACKING_FORMAT, text)
        }, also "E06";
    BACKING_FORMAT_UNEXPECTED "no-backing-file" in "valid/v3-basic"
        => d.add_extension(BACKING_FORMAT, b"raw"),
        nearly { d.add_extension(BACKING_FORMAT, b"raw"); name_backing_file(d, 0x200, b"base.raw") };
    BACKING_FORMAT_UNEXPECTED "unknown-format" in "valid/v3-backing"
        with text = b"raW", nearly b"vpc" => set_string(d, BACKING_FORMAT, text);
    DATA_FILE_NAME_UNEXPECTED in "valid/v3-512"
        with magic = DATA_FILE, nearly UNKNOWN => d.add_extension(magic, b"data.raw"), also "E25";
    DATA_FILE_NAME_MISSING in "valid/v3-data-file" => d.put(112, &[0; 16]);
    DATA_FILE_UNTRUSTED "device" in "valid/v3-data-file"
        with text = b"/dev/sda", nearly b"/dew/sda" => set_string(d, DATA_FILE, text);
    DATA_FILE_UNTRUSTED "protocol" in "valid/v3-data-file"
        with text = b"nbd:hos1", nearly b"nbd/:os1" => set_string(d, DATA_FILE, text);
    DATA_FILE_UNTRUSTED "control-character" in "valid/v3-data-file"
        with text = b"dat\x1b.raw", nearly b"dat[.raw" => set_string(d, DATA_FILE, text);
    EXTENSION_STRING_MALFORMED "backing-format" in "valid/v3-backing"
        with len = 4, nearly 3 => set_length(d, BACKING_FORMAT, len);
    EXTENSION_STRING_MALFORMED "data-file" in "valid/v3-data-file"
        with text = b"d\xe9ta.raw", nearly "dé.raw.".as_bytes() => set_string(d, DATA_FILE, text);

    // The feature name table.
    FEATURE_TABLE_MALFORMED "length" in "valid/v3-size-0"
        with len = 383, nearly 384 => { add_names(d, &[]); set_length(d, FEATURE_TABLE, len) };
    FEATURE_TABLE_MALFORMED "type" in "valid/v3-size-0"
        with kind = 3, nearly 2 => add_names(d, &[(kind, 40, "a")]);
    FEATURE_TABLE_MALFORMED "bit" in "valid/v3-size-0"
        with bit = 64, nearly 63 => add_names(d, &[(0, bit, "a")]);
    FEATURE_TABLE_MALFORMED "name" in "valid/v3-size-0"
        with text = "a\x1b[2J", nearly "naïve" => add_names(d, &[(0, 40, text)]);
    FEATURE_TABLE_MALFORMED "name-padding" in "valid/v3-size-0"
        with text = "a\0b", nearly &"a".repeat(46) => add_names(d, &[(0, 40, text)]);
    FEATURE_TABLE_MALFORMED "named-twice" in "valid/v3-size-0"
        with second = (1, 40, "b"), nearly (2, 40, "a") => add_names(d, &[(1, 40, "a"), second]);
    FEATURE_NAME_SPOOFED in "valid/v3-size-0"
        with row = (0, 0, "harmless bit"), nearly (0, 5, "dirty bit") => add_names(d, &[row]);

    // Encryption.
    CRYPTO_EXTENSION_UNEXPECTED in "damaged/E13-luks-header-cut"
        with n = 0, nearly 2 => d.set_header(CRYPT_METHOD, n);
    CRYPTO_EXTENSION_MISSING in "damaged/E13-luks-header-cut" => d.put(112, &[0; 24]);
    CRYPTO_EXTENSION_LENGTH "shorter" in "damaged/E13-luks-header-cut"
        with len = 15, nearly 16 => set_length(d, CRYPTO, len);
    CRYPTO_EXTENSION_LENGTH "longer" in "damaged/E13-luks-header-cut"
        with len = 17, nearly 16 => set_length(d, CRYPTO, len);
    CRYPTO_HEADER_UNALIGNED in "damaged/E13-luks-header-cut"
        with at = 0xc00 + 512, nearly 0xc00 => set_crypto(d, crypto_field::OFFSET, at),
        also "K01" "K03" "K04" "K05" "K07";
    CRYPTO_HEADER_RANGE "behind-file" in "damaged/E13-luks-header-cut"
        => { uncut(d); set_crypto(d, crypto_field::OFFSET, 0x8_2000) }, nearly move_luks(d, 0xc00 + 1024);
    // What belongs to the header lies behind its length.
    CRYPTO_HEADER_RANGE "length-too-small" in "damaged/E13-luks-header-cut"
        with len = 591, nearly 0x8_1000 => set_luks_len(d, len);
    CRYPTO_HEADER_RANGE "key-material-left-out" in "damaged/E13-luks-header-cut"
        with len = 0x8_0fff, nearly 0x8_1000 => set_luks_len(d, len);
    CRYPTO_HEADER_RANGE "length-past-file" in "damaged/E13-luks-header-cut"
        with len = 0x8_1800, nearly 0x8_1400 => set_luks_len(d, len);
    CRYPTO_HEADER_RANGE "hidden-behind" in "damaged/E13-luks-header-cut"
        with len = 0x8_13ff, nearly 0x8_1400 => { set_luks_len(d, len); d.put(0x8_1fff, &[1]) };

    // Bitmaps.
    BITMAPS_BIT_WITHOUT_EXTENSION in "valid/v3-512"
        with n = 1, nearly 1 << 2 => d.set_header(AUTOCLEAR_FEATURES, n);
    BITMAPS_INCONSISTENT in "valid/v3-bitmaps-512"
        with n = 0, nearly 1 => d.set_header(AUTOCLEAR_FEATURES, n);
    BITMAPS_IN_VERSION_2 in "valid/v2-basic"
        => add_bitmaps(d), nearly d.add_extension(UNKNOWN, &[0; 24]), also "B04" "B05" "B06" "B08" "B10";
    BITMAPS_EXTENSION_LENGTH in "valid/v3-bitmaps-512"
        with len = 23, nearly 24 => set_length(d, BITMAPS, len);
    BITMAPS_RESERVED_NONZERO in "valid/v3-bitmaps-512"
        with n = 1, nearly 0 => d.set_bitmaps_extension(RESERVED, n);
    BITMAPS_COUNT_ZERO in "valid/v3-bitmaps-512"
        with n = 0, nearly 1 => d.set_bitmaps_extension(NB_BITMAPS, n);
    TOO_MANY_BITMAPS in "valid/v3-bitmaps-512"
        with n = 65_536, nearly 65_535 => d.set_bitmaps_extension(NB_BITMAPS, n), also "B02";
    BITMAP_DIRECTORY_OFFSET_INVALID "unaligned" in "valid/v3-bitmaps"
        with at = 0x4200, nearly 0x4400 => d.set_bitmaps_extension(BITMAP_DIRECTORY_OFFSET, at),
        also "B01" "B04" "B05" "B06" "B08" "B10" "B11";
    BITMAP_DIRECTORY_OFFSET_INVALID "zero" in "valid/v3-bitmaps"
        with at = 0, nearly 0x400 => d.set_bitmaps_extension(BITMAP_DIRECTORY_OFFSET, at),
        also "B01" "B03" "B04" "B05" "B06" "B08" "B10" "B13";
    BITMAP_DIRECTORY_OFFSET_INVALID "behind-file" in "valid/v3-bitmaps"
        with at = 0x4800, nearly 0x4400 => d.set_bitmaps_extension(BITMAP_DIRECTORY_OFFSET, at), also "B01";
    BITMAP_DIRECTORY_SIZE_INVALID "too-large" in "valid/v3-bitmaps-512"
        with len = 67_107_841, nearly 67_107_840 => d.set_bitmaps_extension(BITMAP_DIRECTORY_SIZE, len),
        also "B01";
    BITMAP_DIRECTORY_SIZE_INVALID "zero" in "valid/v3-bitmaps-512"
        with len = 0, nearly 1 => d.set_bitmaps_extension(BITMAP_DIRECTORY_SIZE, len);
}
