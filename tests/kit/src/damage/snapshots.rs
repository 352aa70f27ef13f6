//! Damages of the snapshot table.

use qcow2_inspect::format::scalar::{ByteSize, Seconds};
use qcow2_inspect::format::snapshot::{self, SnapshotExtra, SnapshotHead};
use qcow2_inspect::format::{Layout, header};
use qcow2_inspect::image::Snapshot;
use qcow2_inspect::rules::named::{
    DUPLICATE_SNAPSHOT, SNAPSHOT_DATE_IMPLAUSIBLE, SNAPSHOT_DATE_NANOSECONDS, SNAPSHOT_DISK_SIZE_IMPLAUSIBLE,
    SNAPSHOT_EXTRA_DATA_TOO_LARGE, SNAPSHOT_EXTRA_DATA_TOO_SHORT, SNAPSHOT_L1_BEYOND_FILE,
    SNAPSHOT_L1_TOO_LARGE, SNAPSHOT_L1_TOO_SMALL, SNAPSHOT_L1_UNALIGNED, SNAPSHOT_NAME_MALFORMED,
    SNAPSHOT_PADDING_NONZERO, SNAPSHOT_TABLE_BEYOND_FILE, SNAPSHOT_TABLE_TOO_LARGE, SNAPSHOT_VM_STATE_SIZES,
    SNAPSHOTS_WITH_DATA_FILE,
};
use qcow2_inspect::units::HostOffset;

use super::{Damage, Draft};

/// Moves a snapshot's L1 table of `size` entries into new clusters, `further` bytes in, and says where it is.
fn move_l1(draft: &mut Draft, size: u64, further: u64) -> u64 {
    let (old, cluster_size) = (draft.snapshot(0).l1(), draft.cluster_size());
    let at = draft.allocate((further + size * 8).div_ceil(cluster_size)) + further;
    draft.put_u64(at, draft.get(old.at.0, 8));
    draft.free(old.span());
    draft.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, at);
    draft.set_snapshot(0, snapshot::field::L1_SIZE, size);
    at
}

/// Makes the snapshot table the last thing in the file, which ends `less` bytes before its last name does.
fn cut_last_name(draft: &mut Draft, less: u64) {
    draft.edit_snapshots(|_| ());
    let last = draft.image().snapshots().map_while(Result::ok).last();
    let end = last.map_or(0, |snapshot| snapshot.padding_at().0);
    draft.truncate(end - less);
}

fn resize_extra(draft: &mut Draft, len: usize) {
    draft.edit_snapshots(|list| list.iter_mut().take(1).for_each(|snapshot| snapshot.extra.resize(len, 0)));
}

fn rename(draft: &mut Draft, index: usize, id: Option<&[u8]>, name: Option<&[u8]>) {
    draft.edit_snapshots(|list| {
        for snapshot in list.iter_mut().skip(index).take(1) {
            snapshot.id = id.map_or(snapshot.id.clone(), <[u8]>::to_vec);
            snapshot.name = name.map_or(snapshot.name.clone(), <[u8]>::to_vec);
        }
    });
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

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &SNAPSHOT_TABLE_BEYOND_FILE,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| cut_last_name(draft, 1),
        nearly: |draft| cut_last_name(draft, 0),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_EXTRA_DATA_TOO_LARGE,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| resize_extra(draft, 1025),
        nearly: |draft| resize_extra(draft, 1024),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_EXTRA_DATA_TOO_LARGE,
        variant: "beyond-file",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(1, snapshot::field::EXTRA_DATA_SIZE, 0x1_0000);
        },
        nearly: |draft| {
            draft.set_snapshot(1, snapshot::field::EXTRA_DATA_SIZE, 24);
        },
        also: &["S01"],
    },
    Damage {
        rule: &SNAPSHOT_EXTRA_DATA_TOO_LARGE,
        variant: "beyond-limit",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(1, snapshot::field::EXTRA_DATA_SIZE, 0xffff_ffff);
        },
        nearly: |draft| {
            draft.set_snapshot(1, snapshot::field::EXTRA_DATA_SIZE, 24);
        },
        also: &["T01"],
    },
    Damage {
        rule: &SNAPSHOT_TABLE_TOO_LARGE,
        variant: "",
        base: "valid/v3-refcount-1",
        breaks: |draft| fill_table(draft, (64 << 20) + 1),
        nearly: |draft| fill_table(draft, 64 << 20),
        also: &["S12", "S14"],
    },
    Damage {
        rule: &SNAPSHOT_EXTRA_DATA_TOO_SHORT,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| resize_extra(draft, 15),
        nearly: |draft| resize_extra(draft, 16),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_UNALIGNED,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            move_l1(draft, 1, 512);
        },
        nearly: |draft| {
            move_l1(draft, 1, 0);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_TOO_LARGE,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            move_l1(draft, (4 << 20) + 1, 0);
        },
        nearly: |draft| {
            move_l1(draft, 4 << 20, 0);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_TOO_SMALL,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, (128 << 10) + 512);
        },
        nearly: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, 128 << 10);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_TOO_SMALL,
        variant: "vm-state",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::VM_STATE_SIZE_LARGE, (128 << 10) + 1);
            move_l1(draft, 2, 0);
        },
        nearly: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::VM_STATE_SIZE_LARGE, 128 << 10);
            move_l1(draft, 2, 0);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_BEYOND_FILE,
        variant: "",
        base: "valid/v3-snapshots",
        // The file's length counts as rounded up to 512: 64 entries.
        breaks: |draft| {
            let at = move_l1(draft, 1, 0);
            draft.truncate(at + 8);
            draft.set_snapshot(0, snapshot::field::L1_SIZE, 128 + 64);
        },
        nearly: |draft| {
            move_l1(draft, 128, 0);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_L1_BEYOND_FILE,
        variant: "cut",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            let at = move_l1(draft, 2, 0);
            draft.truncate(at + 8);
        },
        nearly: |draft| {
            let at = move_l1(draft, 2, 0);
            draft.truncate(at + 16);
        },
        also: &[],
    },
    Damage {
        rule: &DUPLICATE_SNAPSHOT,
        variant: "id",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 1, Some(b"1"), None),
        nearly: |draft| rename(draft, 1, Some(b"01"), None),
        also: &[],
    },
    Damage {
        rule: &DUPLICATE_SNAPSHOT,
        variant: "name",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 1, None, Some(b"before-update")),
        nearly: |draft| rename(draft, 1, None, Some(b"Before-update")),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DATE_NANOSECONDS,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(0, snapshot::field::DATE_NSEC, 1_000_000_000);
        },
        nearly: |draft| {
            draft.set_snapshot(0, snapshot::field::DATE_NSEC, 999_999_999);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_VM_STATE_SIZES,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            move_l1(draft, 2, 0);
            draft.set_snapshot(0, snapshot::field::VM_STATE_SIZE, 1);
            draft.set_snapshot_extra(0, snapshot::extra_field::VM_STATE_SIZE_LARGE, 2);
        },
        nearly: |draft| {
            move_l1(draft, 2, 0);
            draft.set_snapshot(0, snapshot::field::VM_STATE_SIZE, 2);
            draft.set_snapshot_extra(0, snapshot::extra_field::VM_STATE_SIZE_LARGE, 2);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DISK_SIZE_IMPLAUSIBLE,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, 0xffff);
        },
        nearly: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, 0xfe00);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DISK_SIZE_IMPLAUSIBLE,
        variant: "zero",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, 0);
        },
        nearly: |draft| {
            draft.set_snapshot_extra(0, snapshot::extra_field::DISK_SIZE, 3 << 10);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOTS_WITH_DATA_FILE,
        variant: "",
        base: "valid/v3-data-file",
        breaks: add_snapshot,
        // A table without entries.
        nearly: |draft| draft.edit_snapshots(|_| ()),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_NAME_MALFORMED,
        variant: "id-empty",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 0, Some(b""), None),
        nearly: |draft| rename(draft, 0, Some(b"0"), None),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_NAME_MALFORMED,
        variant: "nul",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 0, None, Some(b"before\0update")),
        nearly: |draft| rename(draft, 0, None, Some(b"before update")),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_NAME_MALFORMED,
        variant: "not-utf8",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 0, None, Some(b"gr\xf6\xdfe")),
        nearly: |draft| rename(draft, 0, None, Some("größe".as_bytes())),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_NAME_MALFORMED,
        variant: "escape",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 0, Some(b"\x1b[31m"), None),
        nearly: |draft| rename(draft, 0, Some(b"[31m"), None),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_PADDING_NONZERO,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| draft.put(draft.snapshot(0).end().0 - 1, b"x"),
        nearly: |draft| draft.put(draft.snapshot(0).padding_at().0 - 1, b"x"),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DATE_IMPLAUSIBLE,
        variant: "before-2009",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(0, snapshot::field::DATE_SEC, 1_230_767_999);
        },
        nearly: |draft| {
            draft.set_snapshot(0, snapshot::field::DATE_SEC, 1_230_768_000);
        },
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DATE_IMPLAUSIBLE,
        variant: "in-future",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(0, snapshot::field::DATE_SEC, u32::MAX.into());
        },
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOT_DATE_IMPLAUSIBLE,
        variant: "ids-fall",
        base: "valid/v3-snapshots",
        breaks: |draft| rename(draft, 0, Some(b"10"), None),
        nearly: |draft| rename(draft, 1, Some(b"10"), None),
        also: &[],
    },
];
