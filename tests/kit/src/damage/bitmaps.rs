//! Damages of family B: the bitmap directory, and the bitmaps' tables and data.

use qcow2_inspect::format::bitmap::{BitmapHead, field::*};
use qcow2_inspect::format::extension::bitmaps_field::{BITMAP_DIRECTORY_SIZE, NB_BITMAPS};
use qcow2_inspect::format::{Layout, header};
use qcow2_inspect::image::Bitmap;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{HostOffset, to_u64};

use super::steps::{move_target, moved, set_bits};
use super::{Damage, Draft};

fn with_bitmap(draft: &mut Draft, index: usize, edit: impl Fn(&mut Bitmap)) {
    draft.edit_bitmaps(|list| list.iter_mut().skip(index).take(1).for_each(edit));
}

fn rename(draft: &mut Draft, name: &[u8]) {
    with_bitmap(draft, 1, |bitmap| bitmap.name = name.to_vec());
}

/// Adds a bitmap without dirty bits.
fn add_bitmap(draft: &mut Draft) {
    let table = draft.allocate(1);
    draft.edit_bitmaps(|list| {
        list.extend(list.last().cloned());
        for new in list.iter_mut().skip(2) {
            new.head.bitmap_table_offset = HostOffset(table);
            new.name = b"monthly".to_vec();
        }
    });
}

/// The first entry of a bitmap's table.
fn entry(draft: &Draft, index: usize) -> u64 {
    draft.bitmap(index).table().at.0
}

/// Moves a bitmap's table into new clusters, `further` bytes in, with room for `size` entries.
fn move_table(draft: &mut Draft, index: usize, size: u64, further: u64) -> u64 {
    let at = moved(draft, draft.bitmap(index).table(), size * 8, further);
    draft.set_bitmap(index, BITMAP_TABLE_OFFSET, at);
    draft.set_bitmap(index, BITMAP_TABLE_SIZE, size);
    at
}

/// Moves the second bitmap's table to the end of the file, which ends behind `len` bytes of it.
fn cut_table(draft: &mut Draft, len: u64) {
    let at = move_table(draft, 1, 1, 0);
    draft.truncate(at + len);
}

/// Moves the data of the first bitmap to the end of the file, which ends `less` bytes before the data does.
fn cut_data(draft: &mut Draft, less: u64) {
    let at = move_target(draft, entry(draft, 0), 0, 0);
    draft.truncate(at + draft.cluster_size() - less);
}

/// Sets a bit of the first bitmap.
fn set_data_bit(draft: &mut Draft, bit: u64) {
    let at = draft.get(entry(draft, 0), 8) + bit / 8;
    draft.put_number(at, 1, draft.get(at, 1) | 1 << (bit % 8));
}

/// Makes a disk whose bits fill a cluster longer, and the L1 table with it.
fn grow(draft: &mut Draft, by: u64) {
    draft.set_header(header::field::SIZE, draft.header(header::field::SIZE) + by);
    draft.set_header(header::field::L1_SIZE, draft.header(header::field::L1_SIZE) + 1);
}

rows! { d:
    // Tables.
    BITMAP_TABLE_OFFSET_INVALID "zero" in "valid/v3-bitmaps-512"
        => d.set_bitmap(1, BITMAP_TABLE_OFFSET, 0), nearly move_table(d, 1, 1, 0);
    BITMAP_TABLE_OFFSET_INVALID "unaligned" in "valid/v3-bitmaps"
        with further = 512, nearly 0 => move_table(d, 1, 1, further);
    BITMAP_TABLE_OFFSET_INVALID "beyond-file" in "valid/v3-bitmaps-512"
        => { let end = d.add_clusters(0); d.set_bitmap(1, BITMAP_TABLE_OFFSET, end + 1024) },
        nearly cut_table(d, 8);
    BITMAP_TABLE_OFFSET_INVALID "cut" in "valid/v3-bitmaps-512" with len = 7, nearly 8 => cut_table(d, len);
    BITMAP_TABLE_SIZE_INVALID "zero" in "valid/v3-bitmaps-512"
        with n = 0, nearly 1 => d.set_bitmap(1, BITMAP_TABLE_SIZE, n);
    // A bitmap in use may have any size; 524,288 clusters of 1 KiB are 512 MiB.
    BITMAP_TABLE_SIZE_INVALID "too-large" in "valid/v3-bitmaps"
        with size = 524_289, nearly 524_288 => { d.set_bitmap(1, FLAGS, 1); move_table(d, 1, size, 0) },
        also "B17" "B19";
    BITMAP_ENTRY_RESERVED_BITS in "valid/v3-bitmaps-512"
        with bits = 1 << 1, nearly 1 => d.put_u64(entry(d, 1), bits);
    BITMAP_ENTRY_RESERVED_BITS "in-use" in "valid/v3-bitmaps-512"
        with bits = 1 << 56, nearly 1 => { d.set_bitmap(1, FLAGS, 1); d.put_u64(entry(d, 1), bits) },
        also "B19";
    BITMAP_ENTRY_FLAG_WITH_OFFSET in "valid/v3-bitmaps-512" => set_bits(d, entry(d, 0), 1), nearly {
        d.set_refcounts(d.get(entry(d, 0), 8) / 1024, 1, 0);
        d.put_u64(entry(d, 0), 1)
    };
    BITMAP_DATA_OFFSET_INVALID "unaligned" in "valid/v3-bitmaps"
        with further = 512, nearly 0 => move_target(d, entry(d, 0), further, 0);
    BITMAP_DATA_OFFSET_INVALID "beyond-file" in "valid/v3-bitmaps-512"
        => { let end = d.add_clusters(0); d.put_u64(entry(d, 0), end) }, nearly cut_data(d, 0);
    BITMAP_DATA_OFFSET_INVALID "cut" in "valid/v3-bitmaps-512" with less = 1, nearly 0 => cut_data(d, less);
    // The finest granularity that one cluster has the bits for.
    BITMAP_TABLE_SIZE_MISMATCH in "valid/v3-bitmaps-512" => d.set_bitmap(1, BITMAP_TABLE_SIZE, 2),
        nearly { d.set_bitmap(1, BITMAP_TABLE_SIZE, 1); d.set_bitmap(1, GRANULARITY_BITS, 9) };
    // QEMU counts the disk in whole sectors: a part of one takes no bit.
    BITMAP_TABLE_SIZE_MISMATCH "part-of-a-sector" in "valid/v3-bitmaps"
        => { grow(d, 1); move_table(d, 0, 2, 0) }, nearly grow(d, 511), also "H28";
    BITMAP_TABLE_SIZE_MISMATCH "one-more-sector" in "valid/v3-bitmaps"
        => grow(d, 512), nearly { grow(d, 512); move_table(d, 0, 2, 0) };
    BITMAP_TAIL_BITS in "valid/v3-bitmap-tail" with bit = 11, nearly 9 => set_data_bit(d, bit);
    BITMAP_TAIL_BITS "last-bit" in "valid/v3-bitmap-tail"
        with bit = 512 * 8 - 1, nearly 10 => set_data_bit(d, bit);
    BITMAP_TAIL_BITS "part-of-a-sector" in "valid/v3-bitmap-tail" with part = 511, nearly 512 => {
        d.set_header(header::field::SIZE, (10 << 16) + part);
        set_data_bit(d, 10)
    }, also "H28";

    // The directory.
    BITMAP_DIRECTORY_BROKEN in "valid/v3-bitmaps-512"
        with name = &b"weekly-ab"[..], nearly &b"weekly-a"[..] => {
            d.set_bitmap(1, NAME_SIZE, to_u64(name.len()));
            d.put(d.bitmap(0).end().0 + BitmapHead::LEN, name)
        };
    BITMAP_DIRECTORY_BROKEN "padding-missing" in "valid/v3-bitmaps-512"
        with len = 63, nearly 64 => d.set_bitmaps_extension(BITMAP_DIRECTORY_SIZE, len);
    BITMAP_COUNT_MISMATCH "less" in "valid/v3-bitmaps-512"
        => d.set_bitmaps_extension(NB_BITMAPS, 3), nearly add_bitmap(d);
    BITMAP_COUNT_MISMATCH "more" in "valid/v3-bitmaps-512" => d.set_bitmaps_extension(NB_BITMAPS, 1),
        nearly { d.free(d.bitmap(1).table()); d.edit_bitmaps(|list| list.truncate(1)) };
    BITMAP_EXTRA_DATA in "valid/v3-bitmaps-512"
        => with_bitmap(d, 1, |bitmap| bitmap.extra = vec![0]), nearly rename(d, b"weekly2");
    BITMAP_GRANULARITY_INVALID "too-coarse" in "valid/v3-bitmaps-512"
        with n = 32, nearly 31 => d.set_bitmap(1, GRANULARITY_BITS, n);
    BITMAP_GRANULARITY_INVALID "too-fine" in "valid/v3-bitmaps"
        => { d.set_bitmap(0, GRANULARITY_BITS, 8); d.set_bitmap(0, BITMAP_TABLE_SIZE, 2) },
        nearly d.set_bitmap(0, GRANULARITY_BITS, 9);
    BITMAP_GRANULARITY_INVALID "impossible" in "valid/v3-bitmaps-512"
        with n = 64, nearly 31 => d.set_bitmap(1, GRANULARITY_BITS, n);
    BITMAP_FLAGS_RESERVED in "valid/v3-bitmaps-512" with flags = 8, nearly 2 => d.set_bitmap(1, FLAGS, flags);
    BITMAP_FLAGS_RESERVED "extra-data-compatible" in "valid/v3-bitmaps-512"
        with flags = 4, nearly 2 => d.set_bitmap(1, FLAGS, flags);
    BITMAP_TYPE_UNKNOWN in "valid/v3-bitmaps-512" with n = 2, nearly 1 => d.set_bitmap(1, TYPE, n);
    BITMAP_TYPE_UNKNOWN "with-auto-flag" in "valid/v3-bitmaps-512"
        with n = 0, nearly 1 => { d.set_bitmap(1, TYPE, n); d.set_bitmap(1, FLAGS, 2) };
    BITMAP_NAME_TOO_LONG in "valid/v3-bitmaps-512"
        with len = 1024, nearly 1023 => rename(d, &vec![b'w'; len]);
    BITMAP_NAME_EMPTY in "valid/v3-bitmaps-512" with name = b"", nearly b" " => rename(d, name);
    DUPLICATE_BITMAP in "valid/v3-bitmaps-512" with name = b"daily", nearly b"Daily" => rename(d, name);
    DUPLICATE_BITMAP "up-to-nul" in "valid/v3-bitmaps-512"
        with name = b"daily\0copy", nearly b"daily copy" => rename(d, name), also "B12";
    BITMAP_NAME_MALFORMED "nul" in "valid/v3-bitmaps-512"
        with name = b"a\0b", nearly b"a b" => rename(d, name);
    BITMAP_NAME_MALFORMED "not-utf8" in "valid/v3-bitmaps-512"
        with name = b"w\xf6chentlich", nearly "wöchentlich".as_bytes() => rename(d, name);
    BITMAP_PADDING_NONZERO in "valid/v3-bitmaps-512"
        => d.put(d.bitmap(1).end().0 - 1, b"x"), nearly d.put(d.bitmap(1).padding_at().0 - 1, b"x");
    BITMAP_IN_USE in "valid/v3-bitmaps-512" with flags = 1, nearly 2 => d.set_bitmap(1, FLAGS, flags);
}
