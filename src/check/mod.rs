//! The check as a whole: counts every reference to every host cluster as QEMU does, compares, and tells whom a
//! fault hurts.
//!
//! Work is linear in the distinct metadata of the file. L1 tables that overlap are swept once, each L2 table is
//! read once, with the number of L1 entries that lead to it as its multiplicity; memory follows the clusters
//! that are touched, and the compressed ones.
#![warn(clippy::arithmetic_side_effects)]

mod claims;
mod compare;
mod conflicts;
mod counts;
mod deep;
mod entries;
mod flags;
mod groups;
mod lost;
mod odd;
mod outcome;
mod owners;
mod ranges;
mod refcounts;
mod sharing;
mod streams;
mod structures;
mod tables;
mod trailing;
mod trees;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZero;

use crate::finding::{Finding, Rule, Severity, Structure};
use crate::format::features::DIRTY;
use crate::format::refcount::RefcountWidth;
use crate::image::ends_past_file;
use crate::rules::codes::{L04, L11, R04, R05, R06, R07, T01, T02};
use crate::rules::{Judge, check_unchanged, stopped};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};
use crate::{Error, Image};
use counts::Clusters;
#[cfg(feature = "testkit")]
use counts::PAGE_LEN;

pub use claims::Owner;
use conflicts::Conflicts;
use flags::Flags;
use groups::Groups;
pub use lost::Loss;
use lost::Losses;
use odd::OddTables;
pub use outcome::{Checked, Counters, QemuAnswer, Verdict};
pub use ranges::Ranges;
use refcounts::Blocks;
use streams::Streams;
use trees::Tables;

/// What a check looks at beyond the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Whether each breach is a finding of its own, where neighbours with one cause would be one finding.
    pub each: bool,
    /// Whether every compressed cluster is decompressed, and on how many threads; with 1 there are none beside the
    /// caller's. What is found is the same whatever their number.
    pub deep: Option<NonZero<usize>>,
    /// The present, in seconds since 1970; without it nothing is said of dates in the future.
    pub now: Option<i64>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub stage: &'static str,
    /// L2 tables, refcount blocks or compressed clusters done.
    pub done: u64,
    /// Of how many.
    pub of: u64,
}

/// Who follows a check.
pub trait Watch {
    /// Takes a finding, as soon as it is certain.
    fn finding(&mut self, finding: Finding);

    /// Takes note of the progress, a few hundred times in all.
    fn progress(&mut self, _: Progress) {}
}

impl<F: FnMut(Finding)> Watch for F {
    fn finding(&mut self, finding: Finding) {
        self(finding);
    }
}

/// Checks the image, hands each finding to `watch`, and says what came of it.
pub fn check<R: ReadAt>(image: &Image<R>, options: &CheckOptions, watch: &mut dyn Watch) -> Checked {
    let mut totals = Totals::new(image, watch);
    let Some(geometry) = image.geometry() else {
        structures::without_tables(image, options, &mut totals);
        totals.check_unchanged(image);
        return totals.finish(image, outcome::Parts::default());
    };
    let mut engine = Engine::new(image, *options, geometry, totals);
    engine.run();
    engine.totals.check_unchanged(image);
    let losses = engine.losses();
    let Engine { counters, compressed, owners, held, decompressed, .. } = engine;
    let parts = outcome::Parts { counters, compressed, owners, losses, held, decompressed };
    engine.totals.finish(image, parts)
}

/// How often each host cluster is referenced as the check counts it: every cluster with a reference, in order.
#[cfg(feature = "testkit")]
pub fn count_references<R: ReadAt>(image: &Image<R>) -> Vec<(u64, u64)> {
    let mut nobody = |_: Finding| ();
    let totals = Totals::new(image, &mut nobody);
    let Some(geometry) = image.geometry() else { return Vec::new() };
    let mut engine = Engine::new(image, CheckOptions::default(), geometry, totals);
    engine.run();
    let clusters = &engine.clusters;
    let numbers = clusters.numbers().into_iter().flat_map(|page| {
        let first = page.saturating_mul(PAGE_LEN);
        first..first.saturating_add(PAGE_LEN)
    });
    numbers.map(|cluster| (cluster, clusters.count(cluster))).filter(|(_, count)| *count != 0).collect()
}

/// Limits on what QEMU does not look at, or counts without looking.
const BESIDE_QEMU: [&str; 6] =
    ["compressed_clusters", "conflicts", "decoded_bytes", "lost_ranges", "odd_tables", "trailing_bytes"];

/// What was found so far.
struct Totals<'w> {
    watch: &'w mut dyn Watch,
    is_dirty: bool,
    has_v3: bool,
    rules: BTreeMap<&'static str, (&'static Rule, u64)>,
    severities: BTreeMap<Severity, u64>,
    is_cut: bool,
    /// Whether something was not looked at that `qemu-img check` counts.
    is_qemu_unknown: bool,
    excused: u64,
    refused: Option<&'static Rule>,
    qemu: Tally,
}

/// What qemu-img check would count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    corruptions: u64,
    leaks: u64,
    check_errors: u64,
}

impl Tally {
    fn corrupt(&mut self, times: u64) {
        self.corruptions = self.corruptions.saturating_add(times);
    }
}

impl<'w> Totals<'w> {
    fn new<R: ReadAt>(image: &Image<R>, watch: &'w mut dyn Watch) -> Self {
        Self {
            watch,
            is_dirty: image.header().v3().incompatible_features.contains(DIRTY),
            has_v3: image.header().has_v3(),
            rules: BTreeMap::new(),
            severities: BTreeMap::new(),
            is_cut: false,
            is_qemu_unknown: false,
            excused: 0,
            refused: None,
            qemu: Tally::default(),
        }
    }

    /// Hands a finding on.
    fn push(&mut self, finding: Finding) {
        self.is_qemu_unknown |= [&T01, &T02].contains(&finding.rule);
        self.hand_on(finding);
    }

    /// Under the dirty bit, refcounts are expected to be stale (R11).
    fn hand_on(&mut self, finding: Finding) {
        let may_be_stale = [&R04, &R05, &R06, &R07, &L04, &L11].contains(&finding.rule);
        let (severity, count) = (finding.severity, finding.consequences);
        let finding = if self.is_dirty && may_be_stale { finding.at_most(Severity::Note) } else { finding };
        if finding.severity != severity {
            self.excused = self.excused.saturating_add(count);
        }
        self.is_cut |= finding.rule.is_cut();
        if finding.severity == Severity::Fatal
            && self.refused.is_none()
            && outcome::is_refusal(finding.rule, self.has_v3)
        {
            self.refused = Some(finding.rule);
        }
        let (_, count) = self.rules.entry(finding.rule.code).or_insert((finding.rule, 0));
        *count = count.saturating_add(finding.consequences);
        let count = self.severities.entry(finding.severity).or_default();
        *count = count.saturating_add(finding.consequences);
        self.watch.finding(finding);
    }

    fn check_unchanged<R: ReadAt>(&mut self, image: &Image<R>) {
        let mut found = Vec::new();
        check_unchanged(image, &mut found);
        found.into_iter().for_each(|finding| self.push(finding));
    }

    fn progress(&mut self, stage: &'static str, done: u64, of: u64) {
        if done.is_multiple_of((of / 256).max(1)) {
            self.watch.progress(Progress { stage, done, of });
        }
    }

    fn stop(&mut self, error: Error, structure: Structure, cut: &'static Rule) {
        let is_beside = matches!(error, Error::Budget { limit, .. } if BESIDE_QEMU.contains(&limit));
        let finding = stopped(error, structure, cut);
        self.is_qemu_unknown |= finding.rule.is_cut() && !is_beside;
        self.hand_on(finding);
    }
}

/// A check under way.
struct Engine<'a, 'w, R> {
    image: &'a Image<R>,
    options: CheckOptions,
    geometry: Geometry,
    cluster_bits: u32,
    file_clusters: u64,
    width: Option<RefcountWidth>,
    has_external_data: bool,
    judge: Judge<'a, R>,
    clusters: Clusters,
    /// One more than the highest cluster with a reference.
    touched_end: u64,
    tables: Tables,
    odd: OddTables,
    blocks: Blocks,
    snapshot_table: Span,
    block_clusters: HashSet<u64>,
    conflicts: Conflicts,
    streams: Streams,
    /// Compressed clusters that a deep check has decompressed.
    decompressed: Option<u64>,
    flags: Flags,
    counters: Counters,
    /// Compressed clusters of all trees, each table once, or as often as the active tree has it.
    compressed: u64,
    owners: Vec<(u64, Vec<Owner>)>,
    losses: Losses,
    /// What the active tree maps, where a backing file has the rest.
    held: Option<Ranges>,
    totals: Totals<'w>,
    /// What was found in the structure at hand.
    found: Vec<Finding>,
    /// What else was found in it.
    groups: Groups,
}

impl<'a, 'w, R: ReadAt> Engine<'a, 'w, R> {
    fn new(image: &'a Image<R>, options: CheckOptions, geometry: Geometry, totals: Totals<'w>) -> Self {
        let limits = image.limits();
        Self {
            image,
            options,
            geometry,
            cluster_bits: geometry.cluster_bits(),
            file_clusters: geometry.clusters_for(image.file_len()),
            width: image.refcount_width(),
            has_external_data: image.has_external_data(),
            judge: Judge::new(image, options.now),
            clusters: Clusters::new(limits.counted_pages),
            touched_end: 0,
            tables: Tables::default(),
            odd: OddTables::new(limits.odd_tables),
            blocks: Blocks::default(),
            snapshot_table: Span::default(),
            block_clusters: HashSet::new(),
            conflicts: Conflicts::new(limits.conflicts),
            streams: Streams::new(geometry, limits.compressed_clusters),
            decompressed: None,
            flags: Flags::default(),
            counters: Counters::default(),
            compressed: 0,
            owners: Vec::new(),
            losses: Losses::new(limits.lost_ranges),
            held: image
                .backing_file()
                .is_ok_and(|name| name.is_some())
                .then(|| Ranges::new(limits.lost_ranges)),
            totals,
            found: Vec::new(),
            groups: Groups::new(),
        }
    }

    fn run(&mut self) {
        self.counters.total_clusters = self.geometry.clusters_for(self.image.disk_len());
        self.load_refcounts();
        self.claim(Span::new(HostOffset(0), self.geometry.cluster_size()), 1);
        self.structures();
        self.sweep_trees();
        self.claim_blocks();
        self.walk_tables();
        self.count_blocks();
        if self.clusters.is_spent() {
            let value = crate::units::to_u64(self.image.limits().counted_pages);
            let error = Error::Budget { limit: "counted_pages", value, at: HostOffset(0) };
            self.totals.stop(error, Structure::File, &T01);
        } else if !self.blocks.is_cut {
            self.compare();
            self.report_flags();
            if !self.totals.is_cut {
                self.trailing_data();
            }
        }
        self.find_owners();
        self.judge_streams();
        if self.odd.is_spent {
            let value = self.image.limits().odd_tables;
            let error = Error::Budget { limit: "odd_tables", value, at: HostOffset(0) };
            self.totals.stop(error, Structure::File, &T01);
        }
    }

    /// Counts references to every cluster of a region; `false` where it lies behind the end of the file, so that
    /// QEMU calls it an error and counts nothing.
    fn refer(&mut self, span: Span, times: u64) -> bool {
        if span.len == 0 {
            return true;
        }
        if ends_past_file(self.image.file_len(), span, self.geometry) {
            self.totals.qemu.corrupt(times);
            return false;
        }
        for cluster in self.clusters_of(span) {
            let Some((page, slot)) = self.clusters.at(cluster) else { return true };
            page.add(slot, times);
            self.touched_end = self.touched_end.max(cluster.saturating_add(1));
        }
        true
    }

    /// The same for a region of metadata, which no other may share.
    fn claim(&mut self, span: Span, times: u64) {
        if self.refer(span, times) && span.len != 0 {
            self.mark(span, times > 1);
        }
    }

    /// Marks a region as metadata.
    fn mark(&mut self, span: Span, is_shared: bool) {
        for cluster in self.clusters_of(span) {
            let Some((page, slot)) = self.clusters.at(cluster) else { return };
            if page.metadata.set(slot) || is_shared {
                self.conflicts.add(cluster);
            }
        }
    }

    fn clusters_of(&self, span: Span) -> std::ops::RangeInclusive<u64> {
        let last = span.at.saturating_add(span.len.saturating_sub(1));
        self.cluster(span.at)..=self.cluster(last)
    }

    fn cluster(&self, at: HostOffset) -> u64 {
        at.0.unbounded_shr(self.cluster_bits)
    }

    fn host_offset(&self, cluster: u64) -> HostOffset {
        HostOffset(cluster.saturating_mul(self.geometry.cluster_size()))
    }

    /// Hands on what was found in the structure at hand.
    fn settle(&mut self) {
        let mut found = std::mem::take(&mut self.found);
        found.drain(..).for_each(|finding| self.totals.push(finding));
        self.found = found;
    }

    fn progress(&mut self, stage: &'static str, done: u64, of: u64) {
        self.totals.progress(stage, done, of);
    }
}
