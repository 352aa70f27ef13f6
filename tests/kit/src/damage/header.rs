//! Damages of family H: the header's fields, the tables and the backing file's name that they point at.

use qcow2_inspect::format::Field;
use qcow2_inspect::format::extension::BACKING_FORMAT;
use qcow2_inspect::format::features::EXTENDED_L2;
use qcow2_inspect::format::header::field::*;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{HostOffset, Span};

use super::steps::{bytes, file_len, name_backing_file};
use super::{Damage, Draft};

/// Where the largest file that QEMU can have ends.
const LAST_OFFSET: u64 = 0x7fff_ffff_c000_0000;

/// Copies the `len` bytes of a table into new clusters, and points the header there.
fn move_table(draft: &mut Draft, field: Field, len: u64) {
    let table = bytes(draft, Span::new(HostOffset(draft.header(field)), len));
    let at = draft.add_clusters(1);
    draft.put(at, &table);
    draft.set_header(field, at);
}

/// The same, with the file ending right behind the table.
fn move_table_to_end(draft: &mut Draft, field: Field, len: u64) {
    move_table(draft, field, len);
    draft.truncate(draft.header(field) + len);
}

/// Points the header behind the end of the file: `clusters` clusters behind it.
fn point_behind_end(draft: &mut Draft, field: Field, clusters: u64) {
    let len = draft.cluster_size();
    draft.set_header(field, file_len(draft).next_multiple_of(len) + clusters * len);
}

rows! { d:
    // The fixed fields.
    HEADER_CUT "fixed-fields" in "valid/v3-basic" with n = 103, nearly 112 => d.truncate(n), also "H34";
    HEADER_CUT "additional-fields" in "valid/v3-basic" with n = 111, nearly 112 => d.truncate(n), also "H34";
    HEADER_CUT "version-2" in "valid/v2-basic" with n = 59, nearly 72 => d.truncate(n), also "H34";
    BAD_MAGIC in "valid/v3-512" => { d.set_header(MAGIC, 0x5146_49fa); d.truncate(512) };
    BAD_MAGIC "version-1" in "valid/v3-512"
        => { d.set_header(VERSION, 1); d.truncate(512) }, nearly d.set_header(VERSION, 2);
    BAD_MAGIC "empty" in "valid/v3-512" => d.bytes.clear();
    BAD_MAGIC "zeros" in "valid/v3-512" => d.bytes = vec![0; 600];
    BAD_MAGIC "text" in "valid/v3-512" => d.bytes = b"no such image\n".to_vec();
    BAD_MAGIC "footer" in "valid/v3-512" => { d.bytes = vec![0; 600]; d.put(600 - 512, b"conectix") };
    UNSUPPORTED_VERSION "too-new" in "valid/v3-basic" with n = 4, nearly 3 => d.set_header(VERSION, n);
    UNSUPPORTED_VERSION "zero" in "valid/v2-basic" with n = 0, nearly 2 => d.set_header(VERSION, n);
    CLUSTER_TOO_SMALL in "valid/v3-512" with n = 8, nearly 9 => d.set_header(CLUSTER_BITS, n);
    // The tables stand on boundaries of small clusters, and so in the first large one.
    CLUSTER_TOO_LARGE in "valid/v3-size-0" with n = 22, nearly 21 => d.set_header(CLUSTER_BITS, n),
        also "H31" "H43" "R02" "R03" "R08";
    SUBCLUSTER_TOO_SMALL in "valid/v3-size-0"
        with n = 1 << EXTENDED_L2.bit, nearly 0 => d.set_header(INCOMPATIBLE_FEATURES, n);
    HEADER_LENGTH_TOO_SHORT in "valid/v3-512" with n = 96, nearly 104 => d.set_header(HEADER_LENGTH, n);
    HEADER_LENGTH_UNALIGNED in "valid/v3-512" with n = 116, nearly 120 => d.set_header(HEADER_LENGTH, n);
    HEADER_BEYOND_CLUSTER in "valid/v3-basic" with n = 1032, nearly 1024 => d.set_header(HEADER_LENGTH, n);
    // The same byte, where it belongs to the end mark's length.
    HEADER_PADDING_NONZERO in "valid/v3-512" => d.put(PADDING.end() - 1, &[1]),
        nearly { d.set_header(HEADER_LENGTH, 104); d.put(PADDING.end() - 1, &[1]) };
    UNKNOWN_HEADER_FIELDS in "valid/v3-512"
        with n = 1, nearly 0 => { d.set_header(HEADER_LENGTH, 120); d.put(119, &[n]) };

    // Features, and what goes with them.
    UNKNOWN_INCOMPATIBLE_FEATURE in "valid/v3-512"
        with n = 1 << 5, nearly 1 => d.set_header(INCOMPATIBLE_FEATURES, n);
    UNKNOWN_COMPATIBLE_FEATURE in "valid/v3-512"
        with n = 1 << 1, nearly 1 => d.set_header(COMPATIBLE_FEATURES, n);
    UNKNOWN_AUTOCLEAR_FEATURE in "valid/v3-bitmaps-512"
        with n = 1 << 2 | 1, nearly 1 => d.set_header(AUTOCLEAR_FEATURES, n);
    REFCOUNT_ORDER_TOO_LARGE in "valid/v3-refcount-64"
        with n = 7, nearly 6 => d.set_header(REFCOUNT_ORDER, n);
    UNKNOWN_CRYPT_METHOD in "valid/v3-aes" with n = 3, nearly 1 => d.set_header(CRYPT_METHOD, n);
    WEAK_AES_ENCRYPTION in "valid/v3-512" with n = 1, nearly 0 => d.set_header(CRYPT_METHOD, n);
    DIRTY_BIT_SET in "valid/v3-lazy-refcounts" => d.set_header(INCOMPATIBLE_FEATURES, 1);
    CORRUPT_BIT_SET in "valid/v3-512" with n = 1 << 1, nearly 1 => d.set_header(INCOMPATIBLE_FEATURES, n);
    COMPRESSION_BIT_MISMATCH "bit-missing" in "valid/v3-zstd" with n = 1, nearly 0 => {
        d.set_header(INCOMPATIBLE_FEATURES, 0);
        d.set_header(COMPRESSION_TYPE, n)
    };
    COMPRESSION_BIT_MISMATCH "type-zero" in "valid/v3-basic" with n = 0, nearly 1 => {
        d.set_header(INCOMPATIBLE_FEATURES, 1 << 3);
        d.set_header(COMPRESSION_TYPE, n)
    };
    COMPRESSION_BIT_MISMATCH "type-absent" in "valid/v3-basic" with n = 1 << 3, nearly 0 => {
        d.set_header(INCOMPATIBLE_FEATURES, n);
        d.set_header(HEADER_LENGTH, 104)
    };
    UNKNOWN_COMPRESSION_TYPE in "valid/v3-zstd" with n = 2, nearly 1 => d.set_header(COMPRESSION_TYPE, n);
    RAW_BIT_WITHOUT_DATA_FILE in "valid/v3-512" with n = 0, nearly 1 << 2 => {
        d.set_header(AUTOCLEAR_FEATURES, 1 << 1);
        d.set_header(INCOMPATIBLE_FEATURES, n)
    };
    RAW_BIT_WITH_BACKING in "valid/v3-data-file-raw" with n = 1 << 1, nearly 0 => {
        d.add_extension(BACKING_FORMAT, b"raw");
        name_backing_file(d, 0x200, b"base.raw");
        d.set_header(AUTOCLEAR_FEATURES, n)
    }, also "H41";
    LAZY_REFCOUNTS_ENABLED in "valid/v3-512"
        with n = 1, nearly 1 << 1 => d.set_header(COMPATIBLE_FEATURES, n);

    // The tables.
    L1_OFFSET_INVALID "unaligned" in "valid/v3-basic"
        => d.set_header(L1_TABLE_OFFSET, 0xc00 + 512), nearly move_table(d, L1_TABLE_OFFSET, 64);
    L1_OFFSET_INVALID "near-2-63" in "valid/v3-basic"
        with n = LAST_OFFSET, nearly LAST_OFFSET - 1024 => d.set_header(L1_TABLE_OFFSET, n);
    L1_TABLE_TOO_LARGE in "valid/v3-basic" with n = 4_194_305, nearly 4_194_304 => d.set_header(L1_SIZE, n),
        also "H34" "L01" "L02" "L03" "L05" "L08" "L09" "L25" "L29";
    L1_TABLE_TOO_SMALL in "valid/v3-basic" with n = 7, nearly 8 => d.set_header(L1_SIZE, n);
    L1_TABLE_TOO_SMALL "size-not-rounded-down" in "valid/v3-basic"
        with n = (1 << 20) + 1, nearly (1 << 20) - 1 => d.set_header(SIZE, n), also "H28";
    DISK_SIZE_TOO_LARGE in "valid/v3-basic"
        with n = 1 << 48, nearly (1 << 48) - (1 << 17) => d.set_header(SIZE, n), also "H26";
    DISK_SIZE_UNALIGNED in "valid/v3-basic"
        with n = (1 << 20) - 511, nearly (1 << 20) - 512 => d.set_header(SIZE, n);
    REFCOUNT_TABLE_MISSING in "valid/v3-512" with n = 0, nearly 1 => d.set_header(REFCOUNT_TABLE_CLUSTERS, n);
    REFCOUNT_TABLE_TOO_LARGE in "valid/v3-basic"
        with n = 8193, nearly 8192 => d.set_header(REFCOUNT_TABLE_CLUSTERS, n), also "H34" "R01" "R02" "R03";
    REFCOUNT_TABLE_OFFSET_INVALID "unaligned" in "valid/v3-basic"
        => d.set_header(REFCOUNT_TABLE_OFFSET, 0x400 + 512),
        nearly move_table(d, REFCOUNT_TABLE_OFFSET, 1024), also "R01" "R03";
    REFCOUNT_TABLE_OFFSET_INVALID "near-2-63" in "valid/v3-basic"
        with n = LAST_OFFSET, nearly LAST_OFFSET - 1024 => d.set_header(REFCOUNT_TABLE_OFFSET, n);
    SNAPSHOTS_OFFSET_INVALID "no-snapshots" in "valid/v3-basic"
        with n = 512, nearly 1024 => d.set_header(SNAPSHOTS_OFFSET, n);
    TOO_MANY_SNAPSHOTS in "valid/v3-snapshots"
        with n = 65_537, nearly 65_536 => d.set_header(NB_SNAPSHOTS, n),
        also "H34" "S02" "S04" "S07" "S09" "S14" "S18" "T01";
    TABLE_BEYOND_FILE "l1-table" in "valid/v3-512"
        => point_behind_end(d, L1_TABLE_OFFSET, 1), nearly move_table_to_end(d, L1_TABLE_OFFSET, 64);
    TABLE_BEYOND_FILE "l1-table-by-less" in "valid/v3-512"
        => point_behind_end(d, L1_TABLE_OFFSET, 0), nearly move_table_to_end(d, L1_TABLE_OFFSET, 64);
    TABLE_BEYOND_FILE "refcount-table" in "valid/v3-512"
        => point_behind_end(d, REFCOUNT_TABLE_OFFSET, 0),
        nearly move_table_to_end(d, REFCOUNT_TABLE_OFFSET, 1024);
    TABLE_BEYOND_FILE "snapshot-table" in "valid/v3-snapshots" => point_behind_end(d, SNAPSHOTS_OFFSET, 1),
        nearly move_table_to_end(d, SNAPSHOTS_OFFSET, d.snapshot(1).padding_at().0 - d.snapshot(0).at.0),
        also "S01";
    TABLE_IN_HEADER_CLUSTER "l1-table" in "valid/v3-basic" => d.set_header(L1_TABLE_OFFSET, 0),
        nearly { d.set_header(SIZE, 0); d.set_header(L1_SIZE, 0); d.set_header(L1_TABLE_OFFSET, 0) },
        also "L01" "L03" "L29";
    TABLE_IN_HEADER_CLUSTER "refcount-table" in "valid/v3-basic"
        with n = 0, nearly 0x400 => d.set_header(REFCOUNT_TABLE_OFFSET, n), also "R01" "R03" "R08";
    TABLE_IN_HEADER_CLUSTER "snapshot-table" in "valid/v3-snapshots" => d.set_header(SNAPSHOTS_OFFSET, 0),
        nearly { d.set_header(SNAPSHOTS_OFFSET, 0); d.set_header(NB_SNAPSHOTS, 0) },
        also "L05" "L09" "S04" "S05" "S07" "S08" "S09" "S14" "S15" "S18";

    // The backing file.
    BACKING_NAME_OFFSET_INVALID in "valid/v3-backing"
        with at = 0x401, nearly 0x3f8 => name_backing_file(d, at, b"base.raw"), also "R01" "R02" "R03";
    // The name is cut to what the specification allows, and its last byte left over.
    BACKING_NAME_TOO_LONG "over-1023" in "valid/v3-extended-l2" with len = 1024, nearly 1023 => {
        d.add_extension(BACKING_FORMAT, b"raw");
        name_backing_file(d, 0x2000, &vec![b'a'; len])
    }, also "H41" "H43";
    BACKING_NAME_TOO_LONG "past-cluster" in "valid/v3-backing"
        with at = 0x3f9, nearly 0x3f8 => name_backing_file(d, at, b"base.raw"), also "R03";
    BACKING_NAME_TOO_LONG "at-cluster-end" in "valid/v3-backing"
        with at = 0x400, nearly 0x3ff => name_backing_file(d, at, b"a"), also "R03";
    // A name that the header has by chance: the byte of the cluster size.
    BACKING_NAME_IN_HEADER in "valid/v3-512"
        => { d.set_header(BACKING_FILE_OFFSET, 3); d.set_header(BACKING_FILE_SIZE, 1) },
        nearly name_backing_file(d, 112, b"a"), also "H40" "H41" "H42";
    BACKING_OFFSET_WITHOUT_SIZE "offset-alone" in "valid/v3-512"
        => d.set_header(BACKING_FILE_OFFSET, 0x200), nearly name_backing_file(d, 0x200, b"a");
    BACKING_OFFSET_WITHOUT_SIZE "size-alone" in "valid/v3-512"
        with n = 1, nearly 0 => d.set_header(BACKING_FILE_SIZE, n);
    BACKING_NAME_MALFORMED "nul" in "valid/v3-backing"
        with name = b"base\0raw", nearly b"base raw" => name_backing_file(d, 0x88, name);
    BACKING_NAME_MALFORMED "direction-override" in "valid/v3-backing"
        with name = "a\u{202e}war.b", nearly "größe 磁盘" => name_backing_file(d, 0x88, name.as_bytes());
    BACKING_NAME_MALFORMED "not-utf8" in "valid/v3-backing"
        with name = b"gr\xf6\xdfe", nearly "größe".as_bytes() => name_backing_file(d, 0x88, name);
    BACKING_FILE_UNTRUSTED "json" in "valid/v3-backing"
        with name = b"json:{\"driver\":\"null-co\"}", nearly b"json" => name_backing_file(d, 0x88, name);
    BACKING_FILE_UNTRUSTED "protocol" in "valid/v3-backing"
        with name = b"nbd://host/disk", nearly b"nbd/:host" => name_backing_file(d, 0x88, name);
    BACKING_FILE_UNTRUSTED "device" in "valid/v3-backing"
        with name = b"/tmp/..//dev/sda", nearly b"/device/sda" => name_backing_file(d, 0x88, name);
    BACKING_FORMAT_MISSING in "valid/v3-backing" => d.put(112, &[0; 24]);
    HEADER_CLUSTER_HIDDEN_DATA "behind-the-name" in "valid/v3-backing"
        => d.put(1023, &[1]), nearly name_backing_file(d, 1016, b"base.raw");
    HEADER_CLUSTER_HIDDEN_DATA "before-the-name" in "valid/v3-backing"
        => { name_backing_file(d, 0x200, b"base.raw"); d.put(0x1ff, &[1]) },
        nearly name_backing_file(d, 0x1ff, b"base.raw");
}
