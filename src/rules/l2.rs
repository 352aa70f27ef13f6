//! L2 tables: L05 to L10, L12 to L14, L16 to L24.

use super::ends_past_file;
use super::mapping::{L2Place, MappingRules, guest, zero_bits};
use crate::finding::{Evidence, Finding, Guest, Rule, Structure};
use crate::format::mapping::{Compressed, L2Entry, Mapping, SubclusterBitmap};
use crate::rules::codes::{
    L05, L06, L07, L08, L09, L10, L12, L13, L14, L16, L17, L18, L19, L20, L21, L23, L24,
};
use crate::units::{HostOffset, Span};

/// One entry that has to be looked at closely.
struct Entry<'e> {
    rules: &'e MappingRules,
    place: &'e L2Place,
    entry: L2Entry,
    subclusters: Option<SubclusterBitmap>,
    guest_offset: u64,
    out: &'e mut Vec<Finding>,
}

impl MappingRules {
    /// Judges an L2 entry; `bitmap` is its second half, with extended L2 entries.
    pub fn l2_entry(
        &self,
        place: &L2Place,
        entry: L2Entry,
        bitmap: Option<SubclusterBitmap>,
        out: &mut Vec<Finding>,
    ) {
        let guest_offset = self.guest_offset(place);
        if !self.is_healthy(place, entry, bitmap.unwrap_or_default(), guest_offset) {
            Entry { rules: self, place, entry, subclusters: bitmap, guest_offset, out }.check();
        }
    }

    fn guest_offset(&self, place: &L2Place) -> u64 {
        let table = place.l1_index.saturating_mul(self.geometry.l2_coverage());
        table.saturating_add(place.index.saturating_mul(self.geometry.cluster_size()))
    }

    /// Whether it is surely all right: empty, or a plain data cluster inside the file and the disk.
    fn is_healthy(&self, place: &L2Place, entry: L2Entry, bitmap: SubclusterBitmap, guest: u64) -> bool {
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
            && guest < place.disk_size
    }
}

impl Entry<'_> {
    fn check(mut self) {
        let mapping = self.entry.mapping(self.rules.geometry, self.rules.external_data);
        match mapping {
            Mapping::Compressed(stream) => self.compressed(stream),
            _ => self.standard(mapping),
        }
        self.beyond_disk(mapping);
    }

    fn compressed(&mut self, stream: Compressed) {
        if self.entry.copied() {
            self.push(&L12, zero_bits(1 << 63));
        }
        if self.bitmap().0 != 0 {
            self.push_bitmap(&L17, "0x0");
        }
        if self.rules.external_data {
            // In which file its bytes would lie, nothing says.
            return self.push_hurting(&L16, "no compressed cluster with an external data file");
        }
        let span = Span::new(stream.at, stream.len);
        if stream.high_bits != 0 {
            self.push_hurting(&L13, zero_bits(stream.high_bits));
        } else if ends_past_file(self.rules.file_len, span, self.rules.geometry) {
            self.push_hurting(&L14, self.rules.inside_file());
        }
    }

    fn standard(&mut self, mapping: Mapping) {
        let entry = self.entry;
        if entry.reserved() != 0 {
            self.push(&L05, zero_bits(entry.reserved()));
        }
        if entry.zero_bit() && self.rules.geometry.extended_l2() {
            self.push(&L06, zero_bits(1));
        }
        if entry.zero_bit() && !self.rules.has_v3 {
            self.push_hurting(&L07, zero_bits(1));
        }
        if self.bitmap().conflicting() != 0 {
            self.push_bitmap(&L18, "for each subcluster one of its two bits at most");
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
            self.push(&L23, zero_bits(1 << 63));
        }
        if self.bitmap().allocated() != 0 {
            self.push_bitmap(&L19, "no allocated subcluster");
        }
    }

    fn host_cluster(&mut self, at: HostOffset, has_data: bool) {
        let cluster_size = self.rules.geometry.cluster_size();
        if !at.is_aligned(cluster_size) {
            self.push_hurting(&L08, format!("an offset that is a multiple of {cluster_size:#x}"));
        } else if self.rules.external_data && at.0 != self.guest_offset {
            self.push_hurting(&L20, format!("the guest offset {:#x}", self.guest_offset));
        }
        if self.rules.external_data {
            if !self.entry.copied() {
                self.push(&L21, "bit 63 set");
            }
        } else if ends_past_file(self.rules.file_len, Span::new(at, cluster_size), self.rules.geometry) {
            let finding = self.finding(&L09, self.rules.inside_file());
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
            let start = self.guest_offset.saturating_add(there);
            let lost = guest(self.place.tree, start, missing, self.place.disk_size);
            let finding = self.finding(&L10, format!("{data_len} bytes of it in the file, not {there}"));
            self.out.push(finding.hurting(lost));
        }
    }

    /// L24, in the last table of the disk. What lies in the tables behind it is VM state, or L25.
    fn beyond_disk(&mut self, mapping: Mapping) {
        let is_used = mapping != Mapping::Unallocated || self.bitmap().0 != 0;
        let is_disk_table = self.place.l1_index < self.rules.geometry.l1_entries_for(self.place.disk_size);
        if is_used && is_disk_table && self.guest_offset >= self.place.disk_size {
            self.push(&L24, format!("0x0 behind the {:#x} bytes of the disk", self.place.disk_size));
        }
    }

    fn bitmap(&self) -> SubclusterBitmap {
        self.subclusters.unwrap_or_default()
    }

    fn guest(&self) -> Guest {
        let len = self.rules.geometry.cluster_size();
        guest(self.place.tree, self.guest_offset, len, self.place.disk_size)
    }

    fn finding(&self, rule: &'static Rule, wanted: impl Into<Evidence>) -> Finding {
        let span = Span::new(self.place.at, self.rules.geometry.l2_entry_len());
        Finding::new(rule, Structure::L2Table, span, Evidence::Hex(self.entry.0), wanted)
    }

    fn push(&mut self, rule: &'static Rule, wanted: impl Into<Evidence>) {
        self.out.push(self.finding(rule, wanted));
    }

    fn push_hurting(&mut self, rule: &'static Rule, wanted: impl Into<Evidence>) {
        self.out.push(self.finding(rule, wanted).hurting(self.guest()));
    }

    /// A breach in the second half; only L17 leaves the cluster readable.
    fn push_bitmap(&mut self, rule: &'static Rule, wanted: &'static str) {
        let finding = Finding { found: Evidence::Hex(self.bitmap().0), ..self.finding(rule, wanted) };
        self.out.push(if rule == &L17 { finding } else { finding.hurting(self.guest()) });
    }
}
