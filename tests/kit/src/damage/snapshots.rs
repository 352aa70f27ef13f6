//! Damages of family S: the snapshot table.

use qcow2_inspect::format::scalar::{ByteSize, Seconds};
use qcow2_inspect::format::snapshot::{SnapshotExtra, SnapshotHead, extra_field::*, field::*};
use qcow2_inspect::format::{Layout, header};
use qcow2_inspect::image::Snapshot;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::HostOffset;

use super::steps::moved;
use super::{Damage, Draft};

/// Moves the first snapshot's L1 table of `size` entries into new clusters, `further` bytes in, and says where it is.
fn move_l1(draft: &mut Draft, size: u64, further: u64) -> u64 {
    let at = moved(draft, draft.snapshot(0).l1().span(), size * 8, further);
    draft.set_snapshot(0, L1_TABLE_OFFSET, at);
    draft.set_snapshot(0, L1_SIZE, size);
    at
}

/// Makes the snapshot table the last thing in the file, which ends `less` bytes before its last name does.
fn cut_last_name(draft: &mut Draft, less: u64) {
    draft.edit_snapshots(|_| ());
    let last = draft.image().snapshots().map_while(Result::ok).last();
    let end = last.map_or(0, |snapshot| snapshot.padding_at().0);
    draft.truncate(end - less);
}

fn with_snapshot(draft: &mut Draft, index: usize, edit: impl Fn(&mut Snapshot)) {
    draft.edit_snapshots(|list| list.iter_mut().skip(index).take(1).for_each(edit));
}

fn resize_extra(draft: &mut Draft, len: usize) {
    with_snapshot(draft, 0, |snapshot| snapshot.extra.resize(len, 0));
}

fn set_id(draft: &mut Draft, index: usize, id: &[u8]) {
    with_snapshot(draft, index, |snapshot| snapshot.id = id.to_vec());
}

fn set_name(draft: &mut Draft, index: usize, name: &[u8]) {
    with_snapshot(draft, index, |snapshot| snapshot.name = name.to_vec());
}

fn new_snapshot(index: u32, disk_size: u64, id: Vec<u8>, name: Vec<u8>) -> Snapshot {
    let extra = SnapshotExtra { vm_state_size_large: ByteSize(0), disk_size: ByteSize(disk_size), icount: 0 };
    let head = SnapshotHead { date_sec: Seconds(1_600_000_000), ..SnapshotHead::default() };
    let (extra, padding) = (extra.encode(), Vec::new());
    Snapshot { index, at: HostOffset(0), head, extra, id, name, padding }
}

/// A table of this many bytes, its last padding left out: 511 entries of the greatest lengths, and one more.
fn fill_table(draft: &mut Draft, len: usize) {
    draft.edit_snapshots(|list| {
        let text = |index: u32, len: usize| {
            let mut text = index.to_string().into_bytes();
            text.resize(len, 0);
            text
        };
        let full = (0..511).map(|index| new_snapshot(index, 0, text(index, 65_535), text(index, 65_535)));
        list.extend(full);
        list.push(new_snapshot(511, 0, text(511, 40_000), text(511, len - 511 * 131_136 - 64 - 40_000)));
    });
}

/// Adds a snapshot with an empty L1 table.
fn add_snapshot(draft: &mut Draft) {
    let (l1, size) = (draft.allocate(1), draft.header(header::field::SIZE));
    draft.edit_snapshots(|list| {
        let mut new = new_snapshot(0, size, b"1".to_vec(), b"new".to_vec());
        new.head.l1_table_offset = HostOffset(l1);
        new.head.l1_size = 1;
        list.push(new);
    });
}

rows! { d:
    SNAPSHOT_TABLE_BEYOND_FILE in "valid/v3-snapshots" with less = 1, nearly 0 => cut_last_name(d, less);
    SNAPSHOT_EXTRA_DATA_TOO_LARGE in "valid/v3-snapshots"
        with len = 1025, nearly 1024 => resize_extra(d, len);
    SNAPSHOT_EXTRA_DATA_TOO_LARGE "beyond-file" in "valid/v3-snapshots"
        with len = 0x1_0000, nearly 24 => d.set_snapshot(1, EXTRA_DATA_SIZE, len), also "S01";
    SNAPSHOT_EXTRA_DATA_TOO_LARGE "beyond-limit" in "valid/v3-snapshots"
        with len = 0xffff_ffff, nearly 24 => d.set_snapshot(1, EXTRA_DATA_SIZE, len), also "T01";
    SNAPSHOT_TABLE_TOO_LARGE in "valid/v3-refcount-1"
        with len = (64 << 20) + 1, nearly 64 << 20 => fill_table(d, len), also "S12" "S14";
    SNAPSHOT_EXTRA_DATA_TOO_SHORT in "valid/v3-snapshots" with len = 15, nearly 16 => resize_extra(d, len);
    SNAPSHOT_L1_UNALIGNED in "valid/v3-snapshots" with further = 512, nearly 0 => move_l1(d, 1, further);
    SNAPSHOT_L1_TOO_LARGE in "valid/v3-snapshots"
        with size = (4 << 20) + 1, nearly 4 << 20 => move_l1(d, size, 0);
    SNAPSHOT_L1_TOO_SMALL in "valid/v3-snapshots"
        with n = (128 << 10) + 512, nearly 128 << 10 => d.set_snapshot_extra(0, DISK_SIZE, n);
    SNAPSHOT_L1_TOO_SMALL "vm-state" in "valid/v3-snapshots" with n = (128 << 10) + 1, nearly 128 << 10 => {
        d.set_snapshot_extra(0, VM_STATE_SIZE_LARGE, n);
        move_l1(d, 2, 0)
    };
    // The file's length counts as rounded up to 512: 64 entries.
    SNAPSHOT_L1_BEYOND_FILE in "valid/v3-snapshots" => {
        let at = move_l1(d, 1, 0);
        d.truncate(at + 8);
        d.set_snapshot(0, L1_SIZE, 128 + 64)
    }, nearly move_l1(d, 128, 0);
    SNAPSHOT_L1_BEYOND_FILE "cut" in "valid/v3-snapshots"
        with len = 8, nearly 16 => { let at = move_l1(d, 2, 0); d.truncate(at + len) };
    DUPLICATE_SNAPSHOT "id" in "valid/v3-snapshots" with id = b"1", nearly b"01" => set_id(d, 1, id);
    DUPLICATE_SNAPSHOT "name" in "valid/v3-snapshots"
        with name = b"before-update", nearly b"Before-update" => set_name(d, 1, name);
    SNAPSHOT_DATE_NANOSECONDS in "valid/v3-snapshots"
        with n = 1_000_000_000, nearly 999_999_999 => d.set_snapshot(0, DATE_NSEC, n);
    SNAPSHOT_VM_STATE_SIZES in "valid/v3-snapshots" with n = 1, nearly 2 => {
        move_l1(d, 2, 0);
        d.set_snapshot(0, VM_STATE_SIZE, n);
        d.set_snapshot_extra(0, VM_STATE_SIZE_LARGE, 2)
    };
    SNAPSHOT_DISK_SIZE_IMPLAUSIBLE in "valid/v3-snapshots"
        with n = 0xffff, nearly 0xfe00 => d.set_snapshot_extra(0, DISK_SIZE, n);
    SNAPSHOT_DISK_SIZE_IMPLAUSIBLE "zero" in "valid/v3-snapshots"
        with n = 0, nearly 3 << 10 => d.set_snapshot_extra(0, DISK_SIZE, n);
    // A table without entries.
    SNAPSHOTS_WITH_DATA_FILE in "valid/v3-data-file" => add_snapshot(d), nearly d.edit_snapshots(|_| ());
    SNAPSHOT_NAME_MALFORMED "id-empty" in "valid/v3-snapshots" with id = b"", nearly b"0" => set_id(d, 0, id);
    SNAPSHOT_NAME_MALFORMED "nul" in "valid/v3-snapshots"
        with name = b"before\0update", nearly b"before update" => set_name(d, 0, name);
    SNAPSHOT_NAME_MALFORMED "not-utf8" in "valid/v3-snapshots"
        with name = b"gr\xf6\xdfe", nearly "größe".as_bytes() => set_name(d, 0, name);
    SNAPSHOT_NAME_MALFORMED "escape" in "valid/v3-snapshots"
        with id = b"\x1b[31m", nearly b"[31m" => set_id(d, 0, id);
    SNAPSHOT_PADDING_NONZERO in "valid/v3-snapshots"
        => d.put(d.snapshot(0).end().0 - 1, b"x"), nearly d.put(d.snapshot(0).padding_at().0 - 1, b"x");
    SNAPSHOT_DATE_IMPLAUSIBLE "before-2009" in "valid/v3-snapshots"
        with n = 1_230_767_999, nearly 1_230_768_000 => d.set_snapshot(0, DATE_SEC, n);
    SNAPSHOT_DATE_IMPLAUSIBLE "in-future" in "valid/v3-snapshots"
        => d.set_snapshot(0, DATE_SEC, u32::MAX.into());
    SNAPSHOT_DATE_IMPLAUSIBLE "ids-fall" in "valid/v3-snapshots"
        with index = 0, nearly 1 => set_id(d, index, b"10");
}
