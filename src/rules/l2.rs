//! The L2 tables, but for compressed clusters, which are in `l2_compressed`. Bit 63 is judged where references are
//! counted: L11 in check/flags.

use super::ends_past_file;
use super::l1::{L2Place, MappingRules, zero_bits};
use crate::finding::{Evidence, Finding, Guest, Rule, Structure, rules};
use crate::format::mapping::{L2Entry, Mapping, SubclusterBitmap};
use crate::units::{GuestOffset, HostOffset, Span};

rules! {
    L2_RESERVED_BITS: L05 "l2-reserved-bits" Corruption Must {
        title: "the reserved bits 1 to 8 and 56 to 61 of a standard L2 entry must be zero",
        why: "readers that do not mask the bits find another cluster, and many such entries are a table that was \
            overwritten",
        advice: "compare the entries around it: single bits are bit rot and can be cleared in a copy",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found l2 entry with \
            reserved bits set: HEX'",
    }
    ZERO_FLAG_IN_EXTENDED_ENTRY: L06 "zero-flag-in-extended-entry" Warning Must {
        title: "bit 0 of a standard L2 entry must be zero in an image with extended L2 entries",
        why: "the bit has another meaning in short entries, and a reader that looks at it reads zeros where there \
            is data",
        advice: "clear bit 0 in a copy; the subcluster bitmap says which parts are zero",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "the bit is not looked at",
    }
    ZERO_FLAG_IN_VERSION_2: L07 "zero-flag-in-version-2" Corruption Must {
        title: "bit 0 of a standard L2 entry, the zero flag, must be zero in a version 2 image",
        why: "version 2 defines no zero clusters: QEMU fails to read there, others return old data",
        advice: "upgrade a copy to version 3 if zeros are meant, else clear the bit",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Silently "'Zero cluster entry found in pre-v3 image (…)' when it is read; check \
            counts the cluster and says nothing",
        guest: Lost,
    }
    DATA_CLUSTER_UNALIGNED: L08 "data-cluster-unaligned" Corruption Must {
        title: "a data cluster must start on a cluster boundary",
        why: "a guest cluster would take parts of two host clusters, of which one belongs to another owner",
        advice: "round the offset down in a copy and look whether the data fits what the guest had there",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "'Cluster allocation offset 0x.. unaligned (…)' when it is read. Check: \
            'ERROR offset=HEX: Data cluster is not properly aligned; L2 entry corrupted.', or the same of a \
            'Preallocated cluster', and it counts both clusters touched",
        guest: Lost,
    }
    DATA_CLUSTER_BEYOND_FILE: L09 "data-cluster-beyond-file" Corruption Must {
        title: "a data cluster must lie inside the file",
        why: "the guest range reads as zeros, without any error",
        advice: "compare the file's length with its source, and restore the named range if the file cannot be \
            completed",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: Silently Corruption "reads as zeros. Check: 'region exceeding the end of the file by one \
            cluster or more', and 'ERROR OFLAG_COPIED data cluster' where bit 63 is set",
        guest: Lost,
    }
    DATA_CLUSTER_CUT: L10 "data-cluster-cut" Note Extra {
        title: "the file is expected to hold a data cluster up to its last allocated byte; a cut one hints \
            at an incomplete copy",
        why: "the cluster's end reads as zeros, which is right for a fresh image and wrong for a cut copy",
        advice: "compare the length with the source; nothing is wrong if the guest never wrote there",
        spec: "not in the specification; the missing bytes read as zeros",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "the missing bytes read as zeros; less than a cluster past the end is not \
            counted",
        risk: TwoReadings,
    }
    L2_COPIED_FLAG_WRONG: L11 "l2-copied-flag-wrong" Corruption Must {
        title: "bit 63 of a standard entry in an active L2 table must be set exactly where the cluster's \
            refcount is 1",
        why: "set wrongly, a write in place changes what a snapshot should keep; clear wrongly, it only costs a \
            copy",
        advice: "let `qemu-img check -r all` set the flags on a copy; where the refcount is wrong, mend that first",
        spec: "L2 table entry",
        fields: [L2Table.ENTRY],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=N'",
        guest: Unharmed,
        stale_when_dirty: true,
    }
    SUBCLUSTER_ALLOCATED_AND_ZERO: L18 "subcluster-allocated-and-zero" Corruption Must {
        title: "a subcluster must not be marked allocated and reading as zeros at once",
        why: "the subcluster would be data and zeros at once, and QEMU refuses the whole cluster",
        advice: "choose per subcluster in a copy: data where the host cluster has some, else zeros",
        spec: "Extended L2 Entries",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when any subcluster of the entry is \
            read; check counts the entry",
        guest: Lost,
    }
    SUBCLUSTER_WITHOUT_CLUSTER: L19 "subcluster-without-cluster" Corruption Must {
        title: "no subcluster may be marked allocated where the entry has no host cluster",
        why: "data is promised where no cluster is",
        advice: "clear the bits in a copy; what they promised is lost unless another snapshot has it",
        spec: "Extended L2 Entries",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when it is read. Check: 'ERROR: \
            Unallocated cluster has non-zero subcluster allocation map', without saying where",
        guest: Lost,
    }
    DATA_FILE_OFFSET_MISMATCH: L20 "data-file-offset-mismatch" Corruption Must {
        title: "with an external data file, each cluster's offset in that file must equal its guest offset",
        why: "the data file would be read at one place as QCOW2 and at another as raw",
        advice: "compare both places in the data file, and set the entry to the guest offset in a copy",
        spec: "Header",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Silently "'External data file host cluster offset 0x.. does not match guest \
            cluster offset' when it is read",
        guest: Lost,
    }
    DATA_FILE_COPIED_FLAG_CLEAR: L21 "data-file-copied-flag-clear" Corruption Should {
        title: "with an external data file, bit 63 should be set in the L2 entry of every allocated cluster",
        why: "cluster 0 of the data file is told from an unallocated one by this bit alone",
        advice: "set bit 63 in a copy for the clusters that the data file holds",
        spec: "L2 table entry",
        fields: [L2Table.ENTRY],
        qemu: Silently Varies "the data is read all the same, but an entry of 0 counts as unallocated, so \
            guest cluster 0 is lost. Check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=1'; \
            nothing for offset 0",
    }
    HOST_OFFSET_ZERO: L22 "host-offset-zero" Note Must reported_as UNALLOCATED_COPIED_FLAG {
        title: "host offset 0 with bit 63 set is valid only for guest cluster 0 of an image with an external \
            data file",
        why: "only there can an offset of 0 be told from no offset",
        advice: "see L23 for images without a data file, and L20 for those with one",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: Varies Silently "without a data file the cluster is unallocated; with one, reading any cluster \
            but the first: 'External data file host cluster offset 0 does not match guest cluster offset'",
    }
    UNALLOCATED_COPIED_FLAG: L23 "unallocated-copied-flag" Warning Must {
        title: "bit 63 must be zero in an L2 entry without a host cluster, unless there is an external data \
            file",
        why: "a program took the entry for a cluster at offset 0, where the header lies",
        advice: "clear the bit in a copy; no data hangs on it",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "the cluster is unallocated",
    }
    L2_ENTRY_BEYOND_DISK: L24 "l2-entry-beyond-disk" Warning Extra {
        title: "L2 entries behind the end of the virtual disk are expected to be unallocated, VM state apart",
        why: "no guest can read what is mapped there: it is a leftover of a shrunk disk, or hidden",
        advice: "look at it in a copy with a larger size, and ask who shrank the disk",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "counted like any other: '3/2 = 150.00% allocated'",
        risk: HiddenBytes,
    }
    VERSION_2_NEWER_FEATURES: H47 "version-2-newer-features" Note Must reported_as ZERO_FLAG_IN_VERSION_2 {
        title: "a version 2 image has no zero clusters, no compression type and no extended L2 entries",
        why: "a version 2 reader does not know the flag, and reads the cluster as data or fails",
        advice: "upgrade a copy with `qemu-img amend -o compat=1.1` if the flag is meant",
        spec: "Standard Cluster Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Silently "a zero flag: 'Zero cluster entry found in pre-v3 image' when it is read",
    }
}

/// One entry that has to be looked at closely.
pub(super) struct EntryJudge<'e> {
    pub(super) rules: &'e MappingRules,
    place: &'e L2Place,
    pub(super) entry: L2Entry,
    subclusters: Option<SubclusterBitmap>,
    /// `None` past 2^64, where no guest can have anything.
    guest_offset: Option<GuestOffset>,
    pub(super) out: &'e mut Vec<Finding>,
}

impl MappingRules {
    /// Judges an L2 entry; `bitmap` is its second half, with extended L2 entries.
    pub(super) fn l2_entry(
        &self,
        place: &L2Place,
        entry: L2Entry,
        bitmap: Option<SubclusterBitmap>,
        out: &mut Vec<Finding>,
    ) {
        let guest_offset = self.geometry.guest_offset(place.l1_index, place.index);
        if !self.is_healthy(place, entry, bitmap.unwrap_or_default(), guest_offset) {
            EntryJudge { rules: self, place, entry, subclusters: bitmap, guest_offset, out }.check();
        }
    }

    /// Whether it is surely all right: empty, or a plain data cluster inside the file and the disk.
    fn is_healthy(
        &self,
        place: &L2Place,
        entry: L2Entry,
        bitmap: SubclusterBitmap,
        guest: Option<GuestOffset>,
    ) -> bool {
        if entry.0 == 0 && bitmap.0 == 0 {
            return true;
        }
        let at = entry.standard_offset();
        !entry.is_compressed()
            && !self.external_data
            && entry.reserved() == 0
            && !entry.zero_bit()
            && bitmap.conflicting() == 0
            && at.0 != 0
            && at.is_aligned(self.geometry.cluster_size())
            && at.saturating_add(self.geometry.cluster_size()).0 <= self.file_len
            && guest.is_some_and(|guest| guest.0 < place.disk_size)
    }
}

impl EntryJudge<'_> {
    fn check(mut self) {
        let mapping = self.entry.mapping(self.rules.geometry, self.rules.external_data);
        match mapping {
            Mapping::Compressed(stream) => self.compressed(stream),
            _ => self.standard(mapping),
        }
        self.beyond_disk(mapping);
    }

    fn standard(&mut self, mapping: Mapping) {
        let entry = self.entry;
        if entry.reserved() != 0 {
            self.push(&L2_RESERVED_BITS, zero_bits(entry.reserved()));
        }
        if entry.zero_bit() && self.rules.geometry.extended_l2() {
            self.push(&ZERO_FLAG_IN_EXTENDED_ENTRY, zero_bits(1));
        }
        if entry.zero_bit() && !self.rules.has_v3 {
            self.push_hurting(&ZERO_FLAG_IN_VERSION_2, zero_bits(1));
        }
        if self.bitmap().conflicting() != 0 {
            self.push_bitmap(
                &SUBCLUSTER_ALLOCATED_AND_ZERO,
                "for each subcluster one of its two bits at most",
            );
        }
        match mapping {
            Mapping::Data(at) => self.host_cluster(at, true),
            Mapping::ZeroAllocated(at) => self.host_cluster(at, false),
            _ => self.no_host_cluster(),
        }
    }

    fn no_host_cluster(&mut self) {
        // With an external data file, bit 63 may stay in the entry of guest cluster 0 when it becomes a zero
        // cluster, because host offset 0 is its place.
        if self.entry.copied() && !self.rules.external_data {
            self.push(&UNALLOCATED_COPIED_FLAG, zero_bits(1 << 63));
        }
        if self.bitmap().allocated() != 0 {
            self.push_bitmap(&SUBCLUSTER_WITHOUT_CLUSTER, "no allocated subcluster");
        }
    }

    fn host_cluster(&mut self, at: HostOffset, has_data: bool) {
        let cluster_size = self.rules.geometry.cluster_size();
        if !at.is_aligned(cluster_size) {
            self.push_hurting(
                &DATA_CLUSTER_UNALIGNED,
                format!("an offset that is a multiple of {cluster_size:#x}"),
            );
        } else if self.rules.external_data && Some(GuestOffset(at.0)) != self.guest_offset {
            let wanted = match self.guest_offset {
                Some(guest) => format!("the guest offset {guest}"),
                None => "no cluster, since no guest offset is so high".to_owned(),
            };
            self.push_hurting(&DATA_FILE_OFFSET_MISMATCH, wanted);
        }
        if self.rules.external_data {
            if !self.entry.copied() {
                self.push(&DATA_FILE_COPIED_FLAG_CLEAR, "bit 63 set");
            }
        } else if ends_past_file(self.rules.file_len, self.rules.geometry.cluster_at(at), self.rules.geometry)
        {
            let finding = self.finding(&DATA_CLUSTER_BEYOND_FILE, self.rules.inside_file());
            self.out.push(if has_data { finding.hurting(self.guest()) } else { finding });
        } else if has_data {
            self.cut(at);
        }
    }

    /// L10, for the bytes up to the last allocated subcluster.
    fn cut(&mut self, at: HostOffset) {
        let geometry = self.rules.geometry;
        let data_len = match self.subclusters {
            Some(bitmap) => {
                let count = u32::BITS.saturating_sub(bitmap.allocated().leading_zeros());
                geometry.subcluster_size().saturating_mul(count.into())
            }
            None => geometry.cluster_size(),
        };
        let there = self.rules.file_len.saturating_sub(at.0);
        if let Some(missing) = data_len.checked_sub(there).filter(|missing| *missing != 0) {
            let start = self.guest_offset.and_then(|guest| guest.checked_add(there));
            let lost = start.map(|start| self.guest_from(start, missing));
            let finding =
                self.finding(&DATA_CLUSTER_CUT, format!("{data_len} bytes of it in the file, not {there}"));
            self.out.push(finding.hurting(lost));
        }
    }

    /// L24, in the last table of the disk. What lies in the tables behind it is VM state, or L25.
    fn beyond_disk(&mut self, mapping: Mapping) {
        let is_used = mapping != Mapping::Unallocated || self.bitmap().0 != 0;
        let is_disk_table = self.place.l1_index < self.rules.geometry.l1_entries_for(self.place.disk_size);
        if is_used && is_disk_table && self.guest_offset.is_some_and(|guest| guest.0 >= self.place.disk_size)
        {
            self.push(
                &L2_ENTRY_BEYOND_DISK,
                format!("0x0 behind the {:#x} bytes of the disk", self.place.disk_size),
            );
        }
    }

    pub(super) fn bitmap(&self) -> SubclusterBitmap {
        self.subclusters.unwrap_or_default()
    }

    fn guest(&self) -> Option<Guest> {
        Some(self.guest_from(self.guest_offset?, self.rules.geometry.cluster_size()))
    }

    fn guest_from(&self, start: GuestOffset, len: u64) -> Guest {
        Guest::new(self.place.tree, start, len, self.place.disk_size)
    }

    fn finding(&self, rule: &'static Rule, wanted: impl Into<Evidence>) -> Finding {
        let span = Span::new(self.place.at, self.rules.geometry.l2_entry_len());
        Finding::new(rule, Structure::L2Table, span, Evidence::Hex(self.entry.0), wanted)
    }

    pub(super) fn push(&mut self, rule: &'static Rule, wanted: impl Into<Evidence>) {
        self.out.push(self.finding(rule, wanted));
    }

    pub(super) fn push_hurting(&mut self, rule: &'static Rule, wanted: impl Into<Evidence>) {
        self.out.push(self.finding(rule, wanted).hurting(self.guest()));
    }

    /// A finding about the second half.
    pub(super) fn bitmap_finding(&self, rule: &'static Rule, wanted: &'static str) -> Finding {
        Finding { found: Evidence::Hex(self.bitmap().0), ..self.finding(rule, wanted) }
    }

    fn push_bitmap(&mut self, rule: &'static Rule, wanted: &'static str) {
        self.out.push(self.bitmap_finding(rule, wanted).hurting(self.guest()));
    }
}
