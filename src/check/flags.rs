//! Bit 63 of the active tables' entries, against the stored refcounts: L04 and L11.
//!
//! A wrong refcount makes the flags wrong that were right; such a flag is a consequence of the refcount, and
//! only where the refcount is right the flag itself is to blame. So wrong flags wait until all is counted.

use std::collections::BTreeSet;

use super::context::Context;
use super::counted::Counted;
use super::reporter::Reporter;
use super::stored::Stored;
use crate::finding::{Evidence, Finding, Guest, Rule, Structure};
use crate::format::mapping::L1Entry;
use crate::rules::named::{L1_COPIED_FLAG_WRONG, L2_COPIED_FLAG_WRONG};
use crate::source::ReadAt;
use crate::units::{GuestOffset, HostOffset, Span, Tree, to_u64};

/// How many wrong flags are remembered one by one.
const KEPT: usize = 4096;

/// Entries with a wrong bit 63.
#[derive(Debug, Default)]
pub(super) struct Flags {
    kept: Vec<Flag>,
    /// Tables and other clusters with such an entry whose refcount does not explain it.
    of_tables: u64,
    of_data: u64,
}

/// An entry whose bit 63 is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// Where it stands.
    pub(super) at: HostOffset,
    pub(super) raw: u64,
    /// The cluster whose refcount it speaks of.
    pub(super) cluster: u64,
    /// Where its guest range starts; `None` past 2^64.
    pub(super) guest: Option<GuestOffset>,
    pub(super) is_l1: bool,
}

impl Flags {
    /// Compares the flag of an active L1 entry.
    pub(super) fn l1<R: ReadAt>(
        &mut self,
        cx: &Context<'_, R>,
        (stored, counted): (&Stored, &mut Counted),
        at: HostOffset,
        (entry, index): (L1Entry, u64),
        is_there: bool,
        reporter: &mut Reporter<'_>,
    ) {
        let cluster = cx.geometry.cluster_of(entry.l2_offset());
        if !is_there {
            return beyond_file(cx, stored, cluster, entry.copied(), 1, reporter);
        }
        let Some((page, slot)) = counted.clusters.at(cluster) else { return };
        if page.one.get(slot) != entry.copied() {
            let guest = cx.geometry.l1_guest_offset(index);
            let flag = Flag { at, raw: entry.0, cluster, guest, is_l1: true };
            self.wrong(flag, 1, (stored, counted), reporter);
        }
    }

    /// Takes note of a wrong flag, of an entry that is there so many times.
    pub(super) fn wrong(
        &mut self,
        flag: Flag,
        times: u64,
        (stored, counted): (&Stored, &mut Counted),
        reporter: &mut Reporter<'_>,
    ) {
        // QEMU says nothing where the refcount cannot be read.
        if stored.is_unreadable(flag.cluster) {
            return;
        }
        reporter.qemu.corrupt(times);
        let Some((page, slot)) = counted.clusters.at(flag.cluster) else { return };
        page.rare_mut().flagged.set(slot);
        if self.kept.len() < KEPT {
            self.kept.push(flag);
        }
    }

    /// Takes note that the refcount of a cluster does not explain that it has an entry with a wrong flag.
    pub(super) fn unexplained(&mut self, is_table: bool) {
        let count = if is_table { &mut self.of_tables } else { &mut self.of_data };
        *count = count.saturating_add(1);
    }

    /// Reports the flags that no refcount explains.
    pub(super) fn report<R: ReadAt>(
        self,
        cx: &Context<'_, R>,
        stored: &Stored,
        counted: &Counted,
        reporter: &mut Reporter<'_>,
    ) {
        let mut told = BTreeSet::new();
        for flag in self.kept {
            let Some(refcount) = stored.refcount(cx, flag.cluster, reporter) else { continue };
            // Where the refcount is too high, no data is at risk by that, and the flag is what QEMU counts.
            let is_copied = L1Entry(flag.raw).copied();
            let references = counted.clusters.count(flag.cluster).min(stored.max());
            if (refcount == 1) == is_copied || refcount < references {
                continue;
            }
            told.insert((counted.clusters.is_metadata(flag.cluster), flag.cluster));
            let (rule, structure) = rule_of(flag.is_l1);
            let (len, entry_len) = match flag.is_l1 {
                true => (cx.geometry.l2_coverage(), 8),
                false => (cx.geometry.cluster_size(), cx.geometry.l2_entry_len()),
            };
            let is = if refcount == 1 { "set" } else { "clear" };
            let wanted = format!("bit 63 {is}, since the refcount is {refcount}");
            let disk_size = cx.image.header().v2.size.0;
            let guest = flag.guest.map(|start| Guest::new(Tree::Active, start, len, disk_size));
            let at = Span::new(flag.at, entry_len);
            let finding = Finding::new(rule, structure, at, Evidence::Hex(flag.raw), wanted);
            reporter.found.push(finding.hurting(guest));
            reporter.keep_few();
        }
        for (count, is_l1) in [(self.of_tables, true), (self.of_data, false)] {
            let told = told.iter().filter(|(is_table, _)| *is_table == is_l1).count();
            let further = count.saturating_sub(to_u64(told));
            if further != 0 && !reporter.is_incomplete {
                let (rule, structure) = rule_of(is_l1);
                reporter.found.push(Finding::more(rule, structure, further));
            }
        }
        reporter.end_table();
    }
}

fn rule_of(is_l1: bool) -> (&'static Rule, Structure) {
    match is_l1 {
        true => (&L1_COPIED_FLAG_WRONG, Structure::L1Table),
        false => (&L2_COPIED_FLAG_WRONG, Structure::L2Table),
    }
}

/// An entry that leads behind the end of the file has that as its fault; QEMU counts a set flag too.
pub(super) fn beyond_file<R: ReadAt>(
    cx: &Context<'_, R>,
    stored: &Stored,
    cluster: u64,
    is_copied: bool,
    times: u64,
    reporter: &mut Reporter<'_>,
) {
    // Where it cannot read the refcount, QEMU passes the flag over.
    if stored.is_unreadable(cluster) {
        return;
    }
    if stored.refcount(cx, cluster, reporter).is_some_and(|refcount| (refcount == 1) != is_copied) {
        reporter.qemu.corrupt(times);
    }
}
