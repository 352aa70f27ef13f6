//! Bit 63 of the active tables' entries, against the stored refcounts: L04 and L11.
//!
//! A wrong refcount makes the flags wrong that were right; such a flag is a consequence of the refcount, and
//! only where the refcount is right the flag itself is to blame. So wrong flags wait until all is counted.

use super::Engine;
use crate::finding::{Evidence, Finding, Structure};
use crate::format::mapping::L1Entry;
use crate::rules::codes::{L04, L11};
use crate::rules::guest;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree};

const COPIED: u64 = 1 << 63;
/// How many wrong flags are remembered one by one.
const KEPT: usize = 4096;

/// Entries with a wrong bit 63.
#[derive(Debug, Default)]
pub(super) struct Flags {
    kept: Vec<Flag>,
    /// Clusters with such an entry and a right refcount, as the comparison finds them.
    pub(super) own: u64,
}

/// An entry whose bit 63 is wrong.
#[derive(Clone, Copy, Debug)]
struct Flag {
    at: HostOffset,
    raw: u64,
    cluster: u64,
    guest: u64,
    is_l1: bool,
}

impl<R: ReadAt> Engine<'_, '_, R> {
    /// Compares the flag of an active L1 entry.
    pub(super) fn l1_flag(&mut self, at: HostOffset, entry: L1Entry, index: u64, is_there: bool) {
        let cluster = self.cluster(entry.l2_offset());
        let guest = index.saturating_mul(self.geometry.l2_coverage());
        if is_there {
            let Some((page, slot)) = self.clusters.at(cluster) else { return };
            if page.one.get(slot) != entry.copied() {
                self.wrong_flag(at, entry.0, cluster, guest, true, 1);
            }
        } else {
            self.flag_beyond_file(cluster, entry.copied(), 1);
        }
    }

    /// An entry that leads behind the end of the file has that as its fault; QEMU counts a set flag too.
    pub(super) fn flag_beyond_file(&mut self, cluster: u64, copied: bool, times: u64) {
        if self.stored(cluster).is_some_and(|stored| (stored == 1) != copied) {
            self.totals.qemu.corrupt(times);
        }
    }

    /// Takes note of a wrong flag.
    pub(super) fn wrong_flag(
        &mut self,
        at: HostOffset,
        raw: u64,
        cluster: u64,
        guest: u64,
        is_l1: bool,
        times: u64,
    ) {
        // QEMU says nothing where the refcount cannot be read.
        if self.blocks.is_unreadable(cluster) {
            return;
        }
        self.totals.qemu.corrupt(times);
        let Some((page, slot)) = self.clusters.at(cluster) else { return };
        page.rare_mut().flagged.set(slot);
        if self.flags.kept.len() < KEPT {
            self.flags.kept.push(Flag { at, raw, cluster, guest, is_l1 });
        }
    }

    /// Reports the flags that no refcount explains.
    pub(super) fn report_flags(&mut self) {
        let kept = std::mem::take(&mut self.flags.kept);
        let mut told = std::collections::BTreeSet::new();
        let max = self.refcount_max();
        for flag in kept {
            let Some(stored) = self.stored(flag.cluster) else { continue };
            // Where the refcount is too high, no data is at risk by that, and the flag is what QEMU counts.
            let is_copied = flag.raw & COPIED != 0;
            if (stored == 1) == is_copied || stored < self.clusters.count(flag.cluster).min(max) {
                continue;
            }
            told.insert(flag.cluster);
            let (rule, structure, len) = match flag.is_l1 {
                true => (&L04, Structure::L1Table, self.geometry.l2_coverage()),
                false => (&L11, Structure::L2Table, self.geometry.cluster_size()),
            };
            let entry_len = if flag.is_l1 { 8 } else { self.geometry.l2_entry_len() };
            let is = if stored == 1 { "set" } else { "clear" };
            let wanted = format!("bit 63 {is}, since the refcount is {stored}");
            let guest = guest(Tree::Active, flag.guest, len, self.image.header().v2.size.0);
            let at = Span::new(flag.at, entry_len);
            let finding = Finding::new(rule, structure, at, Evidence::Hex(flag.raw), wanted);
            self.found.push(finding.hurting(guest));
            self.thin_out();
        }
        let further = self.flags.own.saturating_sub(crate::units::to_u64(told.len()));
        if further != 0 && !self.totals.is_cut {
            let found = format!("{further} more clusters with a wrong flag");
            let at = Span::new(HostOffset(0), 0);
            let mut finding = Finding::new(&L11, Structure::L2Table, at, found, "none");
            (finding.at, finding.consequences) = (None, further);
            self.found.push(finding);
        }
        self.settle_grouped();
    }
}
