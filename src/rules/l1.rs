//! The L1 tables. Bit 63 is judged where references are counted: L04 in check/flags.

use super::is_cut;
use crate::Image;
use crate::finding::{Evidence, Finding, Guest, Rule, Severity, Structure, rules};
use crate::format::mapping::L1Entry;
use crate::image::DiskTree;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, Tree};

rules! {
    L1_RESERVED_BITS: L01 "l1-reserved-bits" Corruption Must {
        title: "the reserved bits 0 to 8 and 56 to 62 of an L1 entry must be zero",
        why: "a later format may give the bits a meaning, and a reader that does not mask them looks elsewhere for \
            the table",
        advice: "clear the bits in a copy after comparing with the neighbours; whole entries of noise mean that the \
            table was overwritten",
        spec: "L1 table entry",
        fields: [L1Table.ENTRY],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found L1 entry with \
            reserved bits set: HEX'",
    }
    L2_TABLE_UNALIGNED: L02 "l2-table-unaligned" Corruption Must {
        title: "an L2 table must start on a cluster boundary",
        why: "a table is one cluster, so half of this one is another's bytes",
        advice: "its guest range is lost unless the low bits alone were flipped: try the offset rounded down, in a \
            copy",
        spec: "L1 table entry",
        fields: [L1Table.ENTRY],
        qemu: FailsOnRead Corruption "'L2 table offset 0x.. unaligned (L1 index: ..)' when it is read. \
            Check: 'ERROR l2_offset=HEX: Table is not cluster aligned; L1 entry corrupted', then it reads \
            the shifted table all the same",
        guest: Lost,
    }
    L2_TABLE_BEYOND_FILE: L03 "l2-table-beyond-file" Corruption Must {
        title: "an L2 table must lie inside the file",
        why: "all that the table maps reads as zeros, without any error",
        advice: "look for the missing end of the file first; a table behind it cannot be had otherwise",
        spec: "L1 table entry",
        fields: [L1Table.ENTRY],
        qemu: Silently Corruption "all that it maps reads as zeros. Check: 'region exceeding the end of the \
            file by one cluster or more', leaks for the clusters that are lost, and 'ERROR OFLAG_COPIED L2 \
            cluster' where bit 63 is set",
        guest: Lost,
        reads_as_unallocated: true,
    }
    L1_COPIED_FLAG_WRONG: L04 "l1-copied-flag-wrong" Corruption Must {
        title: "bit 63 of an active L1 entry must be set exactly where the L2 table's refcount is 1",
        why: "where it is set wrongly, a write changes a table that a snapshot shares; where clear, each write \
            copies it for nothing",
        advice: "leave the image unwritten until `qemu-img check -r all` on a copy has set the flags by the refcounts",
        spec: "L1 table entry",
        fields: [L1Table.ENTRY],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED L2 cluster: l1_index=N l1_entry=HEX \
            refcount=N'",
        guest: Unharmed,
        stale_when_dirty: true,
    }
    L1_ENTRY_BEYOND_DISK: L25 "l1-entry-beyond-disk" Note Extra {
        title: "L1 entries behind the end of the virtual disk are expected to be used only for the VM state of \
            snapshots",
        why: "clusters hang there that no guest can reach, left by VM state or put there",
        advice: "nothing, if the image once held snapshots with VM state; else look at what they hold",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: [L1Table.ENTRY],
        qemu: Silently Silently "their clusters are counted like any other; a deleted snapshot leaves VM state \
            there that was loaded before",
        risk: HiddenBytes,
    }
    L1_FLAGS_WITHOUT_L2_TABLE: L29 "l1-flags-without-l2-table" Corruption Should {
        title: "an L1 entry without an L2 table should be zero in all its other bits too",
        why: "the flags speak of a table that is not there, and QEMU's check takes the header for it",
        advice: "zero the entry in a copy, after looking whether a leaked cluster is the lost table",
        spec: "L1 table entry",
        fields: [L1Table.ENTRY],
        qemu: Silently Corruption "reads as unallocated. Check takes the header for the L2 table, and counts \
            what its bytes happen to say; first 'found L1 entry with reserved bits set' where such bits are \
            set",
    }
}

/// Judges the entries of L1 and L2 tables, each by itself. A healthy one costs a few comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappingRules {
    pub(super) geometry: Geometry,
    pub(super) file_len: u64,
    pub(super) has_v3: bool,
    pub(super) external_data: bool,
    virtual_size: u64,
    has_snapshots: bool,
}

/// Where an L2 entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct L2Place {
    /// The mapping that leads to it.
    pub tree: Tree,
    /// Bytes of the disk that this mapping is for.
    pub disk_size: u64,
    /// The index of the L1 entry that leads to its table.
    pub l1_index: u64,
    /// Its index in its table.
    pub index: u64,
    /// Its place in the file.
    pub at: HostOffset,
}

impl MappingRules {
    /// The rules for this image; `None` where `cluster_bits` makes no sense, and there are no tables.
    pub(super) fn new<R: ReadAt>(image: &Image<R>) -> Option<Self> {
        Some(Self {
            geometry: image.geometry()?,
            file_len: image.file_len(),
            has_v3: image.header().has_v3(),
            external_data: image.has_external_data(),
            virtual_size: image.header().v2.size.0,
            has_snapshots: image.header().v2.nb_snapshots != 0,
        })
    }

    /// Judges the entry with this index, which stands at `at`.
    pub(super) fn l1_entry(
        &self,
        tree: &DiskTree,
        index: u64,
        at: HostOffset,
        entry: L1Entry,
        out: &mut Vec<Finding>,
    ) {
        if entry.0 == 0 {
            return;
        }
        let finding = |rule: &'static Rule, wanted: Evidence| {
            Finding::new(rule, Structure::L1Table, Span::new(at, 8), Evidence::Hex(entry.0), wanted)
        };
        if entry.reserved() != 0 {
            out.push(finding(&L1_RESERVED_BITS, zero_bits(entry.reserved())));
        }
        let l2_offset = entry.l2_offset();
        if l2_offset.0 == 0 {
            out.push(finding(&L1_FLAGS_WITHOUT_L2_TABLE, "0x0".into()));
            return;
        }
        let cluster_size = self.geometry.cluster_size();
        if !l2_offset.is_aligned(cluster_size) {
            out.push(
                finding(
                    &L2_TABLE_UNALIGNED,
                    format!("an offset that is a multiple of {cluster_size:#x}").into(),
                )
                .hurting(tree.l1_guest(index, self.geometry)),
            );
        }
        if is_cut(self.file_len, self.geometry.cluster_at(l2_offset)) {
            let mut lost = tree.l1_guest(index, self.geometry);
            let there = self.file_len.saturating_sub(l2_offset.0).checked_div(self.geometry.l2_entry_len());
            let there = there.unwrap_or_default().saturating_mul(cluster_size);
            if let Some(Guest { span, .. }) = &mut lost {
                let there = there.min(span.len);
                span.start = span.start.saturating_add(there);
                span.len = span.len.saturating_sub(there);
            }
            out.push(finding(&L2_TABLE_BEYOND_FILE, self.inside_file()).hurting(lost));
        }
        // Loading a snapshot copies its VM state into the active tree, and deleting the snapshot leaves it there.
        let is_behind_disk = index >= self.geometry.l1_entries_for(self.virtual_size);
        if is_behind_disk && !self.has_snapshots {
            out.push(finding(&L1_ENTRY_BEYOND_DISK, "0x0, without snapshots".into()).at_most(Severity::Note));
        }
    }

    pub(super) fn inside_file(&self) -> Evidence {
        format!("inside the {:#x} bytes of the file", self.file_len).into()
    }
}

/// What is wanted where these bits are set and must not be.
pub(super) fn zero_bits(bits: u64) -> Evidence {
    format!("zero in the bits {bits:#x}").into()
}
