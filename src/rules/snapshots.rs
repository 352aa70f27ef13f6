//! The snapshot table, entry by entry. What the entries say for people is judged in `snapshot_labels`.

use super::snapshot_labels::Labels;
use super::{ends_past_file, is_cut, stopped};
use crate::finding::{Evidence, Finding, Guest, Rule, Structure, rules};
use crate::format::snapshot::{SnapshotHead, extra_field, field};
use crate::format::{Layout, header, part, qemu};
use crate::image::Snapshot;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, SECTOR, Span};
use crate::{Error, Image, Limit};

rules! {
    SNAPSHOT_TABLE_BEYOND_FILE: S01 "snapshot-table-beyond-file" Corruption Must {
        title: "each snapshot table entry, with its extra data, id and name, must lie inside the file",
        why: "ids and names are cut or invented from zeros, and so may be the place of the snapshot's table",
        advice: "complete the file; the active disk is not touched by it",
        spec: "Snapshots",
        fields: [Snapshot.ID_STR_SIZE, Snapshot.NAME_SIZE, Snapshot.EXTRA_DATA_SIZE],
        qemu: Varies Varies "bytes behind the end read as zeros, so it opens; an I/O error: 'Failed to read \
            snapshot table'. Check counts a table that ends a cluster or more behind the end, and passes a \
            name that runs past it by less",
    }
    SNAPSHOT_EXTRA_DATA_TOO_LARGE: S02 "snapshot-extra-data-too-large" Fatal Qemu {
        title: "a snapshot's extra data must have at most 1024 bytes for QEMU to open the image",
        why: "QEMU reads at most 1,024 bytes, and refuses what it cannot keep",
        advice: "do not run `qemu-img check -r all` on the image itself: where the size is the damage, it drops the snapshot \
            and writes over the rest. Set the size to 24 in a copy, and see with `dump --only snapshots` whether id \
            and name make sense then",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOT_EXTRA_DATA",
        fields: [Snapshot.EXTRA_DATA_SIZE],
        qemu: Refused CheckError "'Too much extra metadata in snapshot table entry N'; check says so too, \
            and -r all discards it",
    }
    SNAPSHOT_TABLE_TOO_LARGE: S03 "snapshot-table-too-large" Fatal Qemu {
        title: "the snapshot table must have at most 64 MiB for QEMU to open the image",
        why: "the whole table is loaded and rewritten at each change, and QEMU bounds it",
        advice: "delete snapshots with the program that made them, or extract those that matter with `read \
            --snapshot`",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOTS_SIZE",
        fields: [Snapshot.ID_STR_SIZE, Snapshot.NAME_SIZE, Snapshot.EXTRA_DATA_SIZE, Header.NB_SNAPSHOTS],
        qemu: Refused CheckError "'Snapshot table is too big', and 'You can force-remove all N overhanging \
            snapshots with qemu-img check -r all'",
    }
    SNAPSHOT_EXTRA_DATA_TOO_SHORT: S04 "snapshot-extra-data-too-short" Corruption Must {
        title: "in version 3 a snapshot's extra data must have at least 16 bytes: its VM state's and its \
            disk's size",
        why: "without these fields the size of the disk at that time is guessed",
        advice: "`qemu-img check -r all` on a copy adds them, with the size of today",
        spec: "Snapshots",
        fields: [Snapshot.EXTRA_DATA_SIZE],
        qemu: Silently Corruption "check: 'ERROR snapshot table entry N is incomplete'",
        counted_one_by_one: true,
    }
    SNAPSHOT_L1_UNALIGNED: S05 "snapshot-l1-unaligned" Corruption Must {
        title: "a snapshot's L1 table must start on a cluster boundary",
        why: "the snapshot's whole tree is read from the wrong bytes",
        advice: "look for its table on the boundary before; else the snapshot is lost, and only it",
        spec: "Snapshots",
        fields: [Snapshot.L1_TABLE_OFFSET],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_offset=0x..: L1 table is not cluster aligned; snapshot table entry corrupted'",
        guest: Lost,
        counted_one_by_one: true,
    }
    SNAPSHOT_L1_TOO_LARGE: S06 "snapshot-l1-too-large" Corruption Qemu {
        title: "a snapshot's L1 table must have at most 32 MiB for QEMU to use it",
        why: "QEMU refuses to use a table of that length, so the snapshot cannot be read or deleted",
        advice: "compare l1_size with the disk size: mostly the number alone is damaged",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: [Snapshot.L1_SIZE],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_size=0x..: L1 table is too large; snapshot table entry corrupted'",
        guest: Lost,
        counted_one_by_one: true,
    }
    SNAPSHOT_L1_TOO_SMALL: S07 "snapshot-l1-too-small" Corruption Extra {
        title: "a snapshot's L1 table must give its whole disk, and its VM state, an entry",
        why: "a part of the snapshot's disk or of its VM state cannot be reached",
        advice: "set disk_size or l1_size right in a copy by the active table's, if the disk was not resized since",
        spec: "not in the specification; the rest of the disk would be lost",
        fields: [Snapshot.L1_SIZE, Snapshot.DISK_SIZE, Snapshot.VM_STATE_SIZE, Snapshot.VM_STATE_SIZE_LARGE],
        qemu: Silently Varies "check: leaks, of the clusters that the missing entries led to; nothing where they \
            led to none",
        guest: Lost,
        reads_as_unallocated: true,
    }
    SNAPSHOT_L1_BEYOND_FILE: S08 "snapshot-l1-beyond-file" Corruption Must {
        title: "a snapshot's L1 table must lie inside the file",
        why: "the snapshot reads as zeros where its table is missing, and its clusters are leaked",
        advice: "complete the file before anything deletes the snapshot or repairs the leaks",
        spec: "Snapshots",
        fields: [Snapshot.L1_TABLE_OFFSET, Snapshot.L1_SIZE],
        qemu: Silently Corruption "its entries read as zeros. Check: 'counting reference for region \
            exceeding the end of the file'",
        guest: Lost,
        reads_as_unallocated: true,
    }
    SNAPSHOT_VM_STATE_SIZES: S11 "snapshot-vm-state-sizes" Note Extra {
        title: "the 32-bit and the 64-bit size of a snapshot's VM state are expected to agree, or the 32-bit \
            one to be 0",
        why: "old programs use the short field and new ones the long one, and load different VM states",
        advice: "trust the long one, which version 3 requires",
        spec: "not in the specification, by which the 32-bit one is ignored; old readers use it",
        fields: [Snapshot.VM_STATE_SIZE, Snapshot.VM_STATE_SIZE_LARGE],
        qemu: Silently Silently "the 64-bit size wins where it is present",
    }
    SNAPSHOT_DISK_SIZE_IMPLAUSIBLE: S12 "snapshot-disk-size-implausible" Note Extra {
        title: "a snapshot's disk size is expected to be a multiple of 512 and not 0",
        why: "QEMU rounds it down to sectors, and a disk of 0 bytes has nothing to restore",
        advice: "compare with the tree: `map --snapshot` shows how far it reaches",
        spec: "not in the specification; QEMU never writes anything else",
        fields: [Snapshot.DISK_SIZE],
        qemu: Silently Silently "shown as it stands: 0, 12345 and 2^64-1 are accepted",
    }
    SNAPSHOTS_WITH_DATA_FILE: S13 "snapshots-with-data-file" Corruption Must {
        title: "an image with an external data file must not have snapshots",
        why: "the data file holds one disk, and cannot keep what a snapshot should",
        advice: "delete the snapshots on a copy; the data that they had is gone since the first write",
        spec: "Header",
        fields: [Header.NB_SNAPSHOTS, Header.INCOMPATIBLE_FEATURES],
        qemu: Silently Corruption "check: 'ERROR N snapshots in image with data file'",
        counted_one_by_one: true,
    }
    SNAPSHOT_COPIED_FLAG: S16 "snapshot-copied-flag" Note Must reported_as never {
        title: "bit 63 may be out of date in the L1 and L2 tables of a snapshot",
        why: "QEMU sets the bit anew when it goes back to the snapshot",
        advice: "nothing: it is not reported",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Silently "not checked in snapshots, and rebuilt when one is loaded",
    }
    SNAPSHOT_TREE: S17 "snapshot-tree" Note Must reported_as never {
        title: "what must hold for the tables and clusters of the active disk must hold for every snapshot's \
            too",
        why: "a snapshot that cannot be read is found out when it is needed",
        advice: "nothing: what breaks there is reported by its own rule, with the snapshot's name",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Varies "check walks every snapshot as it does the active disk, but does not compare \
            bit 63 there",
    }
}

/// The longest entry without extra data, padded: one that is longer has more extra data than QEMU takes.
const MAX_BARE_ENTRY_LEN: u64 = SnapshotHead::LEN + 2 * 65_535 + 8;

/// Judges one snapshot after the other, and at the end their table.
#[derive(Clone, Debug)]
pub(super) struct SnapshotRules {
    geometry: Option<Geometry>,
    file_len: u64,
    has_v3: bool,
    external_data: bool,
    virtual_size: u64,
    count: u32,
    count_span: Span,
    table_at: HostOffset,
    table_len: u64,
    labels: Labels,
}

impl SnapshotRules {
    /// The rules for this image. `now`: seconds since 1970, to tell a date in the future.
    pub(super) fn new<R: ReadAt>(image: &Image<R>, now: Option<i64>) -> Self {
        let header = image.header();
        Self {
            geometry: image.geometry(),
            file_len: image.file_len(),
            has_v3: header.has_v3(),
            external_data: image.has_external_data(),
            virtual_size: header.v2.size.0,
            count: header.v2.nb_snapshots,
            count_span: header.span(header::field::NB_SNAPSHOTS),
            table_at: header.v2.snapshots_offset,
            table_len: 0,
            labels: Labels::new(now),
        }
    }

    /// Judges the next snapshot of the table.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        self.table_len = snapshot.padding_at().0.saturating_sub(self.table_at.0);
        self.extra_data(snapshot, out);
        self.l1_table(snapshot, out);
        sizes(snapshot, out);
        self.labels.check(snapshot, out);
    }

    /// Judges the table as a whole; `fault` is what ended it early.
    pub(super) fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        out.extend(fault.and_then(extra_data_of).map(|(span, len)| extra_data_too_large(span, len)));
        out.extend(fault.map(|fault| stopped(fault, Structure::Snapshot, &SNAPSHOT_TABLE_BEYOND_FILE)));
        let header = |rule: &'static Rule, found: Evidence, wanted: String| {
            Finding::new(rule, Structure::Header, self.count_span, found, wanted)
        };
        if self.table_len > qemu::MAX_SNAPSHOT_TABLE_LEN {
            let found = format!("a table of {} bytes", self.table_len);
            let wanted = format!("at most {}", qemu::MAX_SNAPSHOT_TABLE_LEN);
            out.push(header(&SNAPSHOT_TABLE_TOO_LARGE, found.into(), wanted).only_qemu());
        }
        if self.external_data && self.count != 0 {
            out.push(header(
                &SNAPSHOTS_WITH_DATA_FILE,
                self.count.into(),
                "0 with an external data file".to_owned(),
            ));
        }
    }

    fn extra_data(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let len = snapshot.head.extra_data_size;
        let span = || field::EXTRA_DATA_SIZE.at(snapshot.at);
        if len > qemu::MAX_SNAPSHOT_EXTRA_LEN {
            out.push(extra_data_too_large(span(), len.into()));
        }
        let least = extra_field::DISK_SIZE.end();
        if u64::from(len) < least && self.has_v3 {
            let wanted = format!("at least {least}");
            out.push(Finding::new(&SNAPSHOT_EXTRA_DATA_TOO_SHORT, Structure::Snapshot, span(), len, wanted));
        }
    }

    fn l1_table(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let Some(geometry) = self.geometry else { return };
        let (offset, size) = (snapshot.head.l1_table_offset, snapshot.head.l1_size);
        let cluster_size = geometry.cluster_size();
        let offset_finding = |rule: &'static Rule, wanted: String| {
            let span = field::L1_TABLE_OFFSET.at(snapshot.at);
            Finding::new(rule, Structure::Snapshot, span, Evidence::Hex(offset.0), wanted)
        };
        let size_finding = |rule: &'static Rule, wanted: String| {
            Finding::new(rule, Structure::Snapshot, field::L1_SIZE.at(snapshot.at), size, wanted)
        };
        let tree = snapshot.disk_tree(self.virtual_size);
        // From an entry on that is not there, the disk is lost.
        let from = |entry: u64, finding: Finding| {
            let start = geometry.l1_guest_offset(entry).filter(|start| start.0 < tree.disk_size);
            let guest = start.map(|start| Guest::new(tree.l1.tree, start, u64::MAX, tree.disk_size));
            Finding { guest, ..finding }
        };
        if !offset.is_aligned(cluster_size) {
            let finding = offset_finding(&SNAPSHOT_L1_UNALIGNED, format!("a multiple of {cluster_size:#x}"));
            out.push(from(0, finding));
        }
        let is_too_large = size > qemu::MAX_L1_ENTRIES;
        if is_too_large {
            let wanted = format!("at most {}", qemu::MAX_L1_ENTRIES);
            out.push(from(0, size_finding(&SNAPSHOT_L1_TOO_LARGE, wanted).only_qemu()));
        }
        let wanted = snapshot.l1_entries_wanted(geometry, self.virtual_size);
        if u64::from(size) < wanted {
            let finding = size_finding(&SNAPSHOT_L1_TOO_SMALL, format!("at least {wanted}"));
            out.push(from(size.into(), finding));
        }
        // Of a length that is wrong, only the start can tell.
        let span = if is_too_large { Span::new(offset, 8) } else { snapshot.l1().span() };
        if is_cut(self.file_len, span) || ends_past_file(self.file_len, span, geometry) {
            let wanted = format!("inside the {:#x} bytes of the file", self.file_len);
            let there = self.file_len.saturating_sub(offset.0) / 8;
            out.push(from(there, offset_finding(&SNAPSHOT_L1_BEYOND_FILE, wanted)));
        }
    }
}

fn sizes(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    let (short, long) = (u64::from(snapshot.head.vm_state_size.0), snapshot.vm_state_size());
    if short != 0 && short != long {
        let span = field::VM_STATE_SIZE.at(snapshot.at);
        let wanted = format!("{long} or 0");
        out.push(Finding::new(&SNAPSHOT_VM_STATE_SIZES, Structure::Snapshot, span, short, wanted));
    }
    if let Some(size) = snapshot.disk_size()
        && (size == 0 || size % SECTOR != 0)
    {
        let span = extra_field::DISK_SIZE.at(snapshot.extra_at());
        let wanted = format!("a multiple of {SECTOR} and not 0");
        out.push(Finding::new(&SNAPSHOT_DISK_SIZE_IMPLAUSIBLE, Structure::Snapshot, span, size, wanted));
    }
}

fn extra_data_too_large(span: Span, len: u64) -> Finding {
    let wanted = format!("at most {}", qemu::MAX_SNAPSHOT_EXTRA_LEN);
    Finding::new(&SNAPSHOT_EXTRA_DATA_TOO_LARGE, Structure::Snapshot, span, len, wanted).only_qemu()
}

/// Where `extra_data_size` stands in an entry that was not read, and what it is at least; `None` where it is
/// within QEMU's limit, or not known.
fn extra_data_of(fault: Error) -> Option<(Span, u64)> {
    match fault {
        Error::Cut { what: part::EXTRA_DATA, at, wanted, .. }
            if wanted > qemu::MAX_SNAPSHOT_EXTRA_LEN.into() =>
        {
            let entry_at = HostOffset(at.0.checked_sub(SnapshotHead::LEN)?);
            Some((field::EXTRA_DATA_SIZE.at(entry_at), wanted))
        }
        Error::Budget { limit: Limit::EntryLen, value, at } => {
            let least = value.checked_sub(MAX_BARE_ENTRY_LEN)?;
            let span = field::EXTRA_DATA_SIZE.at(at);
            (least > qemu::MAX_SNAPSHOT_EXTRA_LEN.into()).then_some((span, least))
        }
        _ => None,
    }
}
