//! Damages of family L: L1 and L2 tables, and the compressed streams that they point at.

use qcow2_inspect::format::header;
use qcow2_inspect::format::snapshot;
use qcow2_inspect::rules::named::*;

use super::steps::{COMPRESSED, COPIED, file_len, move_target, point_at_new, set_bits};
use super::{Damage, Draft};
use crate::writer::stored;

/// Lets the file end `less` bytes before the end of a second L2 table.
fn cut_new_table(draft: &mut Draft, less: u64) {
    let at = point_at_new(draft, draft.l1_entry(1), 0, COPIED);
    draft.truncate(at + draft.cluster_size() - less);
}

/// Makes the first compressed cluster start `further` bytes into the last cluster, of which the file has one.
fn move_stream(draft: &mut Draft, further: u64) {
    let at = draft.allocate(1);
    draft.truncate(at + 1);
    // The file's length counts as rounded up to its sector.
    draft.put_u64(draft.l2_entry(0), COMPRESSED | (at + 512 + further));
    let cluster = 0x1400 / 1024;
    draft.set_refcounts(cluster, 1, 4);
}

/// Puts a stream where the fourth guest cluster of 1 KiB has its own.
fn replace_stream(draft: &mut Draft, stream: &[u8]) {
    let at = draft.add_clusters(2);
    draft.put(at, stream);
    // The bits behind the offset are the number of further sectors: three in all.
    draft.put_u64(draft.l2_entry(3), COMPRESSED | 2 << 60 | at);
    draft.agree();
}

/// The second half of an extended entry.
fn bitmap(draft: &Draft, index: u64) -> u64 {
    draft.l2_entry(index) + 8
}

rows! { d:
    // Entries of L1 tables.
    L1_RESERVED_BITS "lowest-bits" in "valid/v3-512"
        => set_bits(d, d.l1_entry(0), 1), nearly move_target(d, d.l1_entry(0), 0, COPIED);
    L1_RESERVED_BITS "highest-bit" in "valid/v3-512"
        with bits = 1 << 62, nearly 1 << 63 => set_bits(d, d.l1_entry(0), bits);
    L1_RESERVED_BITS "in-snapshot" in "valid/v3-snapshots"
        => set_bits(d, d.snapshot(0).l1().at.0, 1 << 56), nearly d.put(d.snapshot(0).l1().at.0, &[0]);
    L2_TABLE_UNALIGNED in "valid/v3-basic"
        with further = 512, nearly 0 => move_target(d, d.l1_entry(0), further, COPIED);
    L2_TABLE_BEYOND_FILE in "valid/v3-512"
        => d.put_u64(d.l1_entry(1), file_len(d) | COPIED), nearly cut_new_table(d, 0);
    L2_TABLE_BEYOND_FILE "cut" in "valid/v3-512" with less = 1, nearly 0 => cut_new_table(d, less);
    L1_ENTRY_BEYOND_DISK in "valid/v3-512"
        => { d.set_header(header::field::L1_SIZE, 3); point_at_new(d, d.l1_entry(2), 0, COPIED) },
        nearly d.set_header(header::field::L1_SIZE, 3);
    L1_FLAGS_WITHOUT_L2_TABLE in "valid/v3-512"
        => d.put_u64(d.l1_entry(1), COPIED), nearly point_at_new(d, d.l1_entry(1), 0, COPIED);
    L1_FLAGS_WITHOUT_L2_TABLE "in-snapshot" in "valid/v3-snapshots" with entry = COPIED, nearly 0 => {
        d.set_snapshot(0, snapshot::field::L1_SIZE, 2);
        d.put_u64(d.snapshot(0).l1().at.0 + 8, entry)
    };

    // Entries of L2 tables.
    L2_RESERVED_BITS "lowest-bit" in "valid/v3-512"
        with bits = 1 << 1, nearly 1 => set_bits(d, d.l2_entry(0), bits);
    L2_RESERVED_BITS "highest-bit" in "valid/v3-512"
        with bits = 1 << 61, nearly COPIED => set_bits(d, d.l2_entry(0), bits);
    ZERO_FLAG_IN_EXTENDED_ENTRY in "valid/v3-extended-l2"
        => set_bits(d, d.l2_entry(0), 1), nearly set_bits(d, bitmap(d, 0), 1);
    ZERO_FLAG_IN_VERSION_2 in "valid/v2-basic"
        with bits = 1, nearly COPIED => set_bits(d, d.l2_entry(0), bits);
    DATA_CLUSTER_UNALIGNED in "valid/v3-basic"
        with further = 512, nearly 0 => point_at_new(d, d.l2_entry(2), further, COPIED);
    DATA_CLUSTER_UNALIGNED "of-zero-cluster" in "valid/v3-basic"
        with further = 512, nearly 0 => point_at_new(d, d.l2_entry(2), further, COPIED | 1);
    DATA_CLUSTER_BEYOND_FILE in "valid/v3-basic"
        with len = 0x2400, nearly 0x2401 => d.truncate(len), also "R08";
    DATA_CLUSTER_CUT in "valid/v3-basic" => d.truncate(0x27ff);
    // Only the first of 32 subclusters is allocated, and the file ends behind it.
    DATA_CLUSTER_CUT "subcluster" in "valid/v3-extended-l2" => d.truncate(0x1_41ff);
    SUBCLUSTER_ALLOCATED_AND_ZERO in "valid/v3-extended-l2"
        with bits = 1 << 32, nearly 1 << 33 => set_bits(d, bitmap(d, 0), bits);
    SUBCLUSTER_WITHOUT_CLUSTER in "valid/v3-extended-l2"
        with bits = 1 << 31, nearly 1 << 32 => set_bits(d, bitmap(d, 1), bits);
    DATA_FILE_OFFSET_MISMATCH in "valid/v3-data-file"
        with index = 2, nearly 3 => d.put_u64(d.l2_entry(index), COPIED | 3072);
    DATA_FILE_OFFSET_MISMATCH "offset-zero" in "valid/v3-data-file"
        with index = 1, nearly 0 => d.put_u64(d.l2_entry(index), COPIED);
    DATA_FILE_COPIED_FLAG_CLEAR in "valid/v3-data-file"
        => d.put_u64(d.l2_entry(2), 2048), nearly d.put_u64(d.l2_entry(0), 0);
    UNALLOCATED_COPIED_FLAG in "valid/v3-512"
        with entry = COPIED, nearly 1 => d.put_u64(d.l2_entry(2), entry);
    UNALLOCATED_COPIED_FLAG "zero-cluster" in "valid/v3-512"
        => d.put_u64(d.l2_entry(2), COPIED | 1), nearly point_at_new(d, d.l2_entry(2), 0, COPIED | 1);
    L2_ENTRY_BEYOND_DISK in "valid/v3-lazy-refcounts"
        with index = 64, nearly 63 => point_at_new(d, d.l2_entry(index), 0, COPIED);

    // Compressed clusters.
    COMPRESSED_COPIED_FLAG in "valid/v3-zlib" => set_bits(d, d.l2_entry(0), COPIED);
    // With clusters of 1 KiB, bit 60 is the first of the number of sectors.
    COMPRESSED_OFFSET_BITS in "valid/v3-zlib"
        with bits = 1 << 59, nearly 1 << 60 => set_bits(d, d.l2_entry(0), bits);
    COMPRESSED_BEYOND_FILE in "valid/v3-zlib"
        with further = 1024 + 511, nearly 511 => move_stream(d, further);
    COMPRESSED_WITH_DATA_FILE in "valid/v3-data-file"
        with flag = COMPRESSED, nearly COPIED => d.put_u64(d.l2_entry(2), flag | 2048);
    COMPRESSED_WITH_SUBCLUSTERS in "valid/v3-extended-l2" => d.put_u64(d.l2_entry(0), COMPRESSED | 0x1_4000),
        nearly { d.put_u64(d.l2_entry(0), COMPRESSED | 0x1_4000); d.put_u64(bitmap(d, 0), 0) };
    COMPRESSED_DATA_BROKEN "zlib-short" in "valid/v3-zlib"
        with len = 1023, nearly 1025 => replace_stream(d, &stored(&vec![7; len], false));
    // A block of the type that there is not; and the last byte of the file, behind the last stream.
    COMPRESSED_DATA_BROKEN "zlib-damaged" in "valid/v3-zlib"
        => d.put(d.get(d.l2_entry(0), 8) & 0xffff_ffff, &[7]), nearly d.put(file_len(d) - 1, &[7]);
    COMPRESSED_DATA_BROKEN "zstd-long" in "valid/v3-zstd"
        with len = 1025, nearly 1024 => replace_stream(d, &stored(&vec![7; len], true));
    COMPRESSED_DATA_BROKEN "zstd-cut" in "valid/v3-zstd"
        with (len, behind) = (511, &[][..]), nearly (512, &[9; 9][..]) =>
            replace_stream(d, &[&stored(&[7; 512], true), &stored(&vec![8; len], true), behind].concat());
}
