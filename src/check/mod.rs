//! The check as a whole: counts every reference to every host cluster as QEMU does, compares, and tells whose guest data
//! a fault hits. It goes in passes, each of which takes what the passes before it have found out.
//!
//! Work is linear in the distinct metadata of the file. L1 tables that overlap are swept once, each L2 table is
//! read once, with the number of L1 entries that lead to it as its multiplicity; memory follows the clusters
//! that are touched, and the compressed ones.
#![warn(clippy::arithmetic_side_effects)]

mod bitmaps;
mod claims;
mod cluster_runs;
mod compare;
mod compressed;
mod conflicts;
mod contents;
mod context;
mod counted;
mod counts;
mod deep;
mod emptied;
mod entries;
mod flags;
mod gaps;
mod groups;
mod lists;
mod look;
mod lost;
mod orphans;
mod outcome;
mod overwritten;
mod owners;
mod ranges;
mod repeated;
mod reporter;
mod runs;
mod sharing;
mod stored;
mod streams;
mod tables;
mod trailing;
mod tree_tables;
mod trees;

use std::num::NonZero;
use std::sync::Arc;

use crate::finding::{Finding, Structure};
use crate::format::header::field;
use crate::image::SnapshotNames;
use crate::rules::Judge;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Image, Limit};

pub use bitmaps::{BitmapState, Bitmaps, JudgedBitmap};
pub use claims::Owner;
use compare::compare;
use context::Context;
use counted::Counted;
use deep::judge_streams;
use emptied::{Emptied, Evidence};
use flags::Flags;
use gaps::Missing;
use lists::Lists;
pub use look::looks_like;
pub use lost::Loss;
use lost::Losses;
use outcome::Parts;
pub use outcome::{Checked, Counters, QemuAnswer, Verdict};
use owners::{ReadSoFar, find_owners};
pub use ranges::Ranges;
use repeated::Repeated;
use reporter::Reporter;
use stored::Stored;
use streams::StreamList;
use tables::{Active, TableWalk};
use trailing::trailing_data;
use tree_tables::Trees;
use trees::Sweep;

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
    /// Takes what the snapshots are called that findings are about, before the first of them.
    fn names(&mut self, _: &Arc<SnapshotNames>) {}

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
    let names = Arc::new(SnapshotNames::read(image));
    watch.names(&names);
    let mut reporter = Reporter::new(image, options, watch);
    let mut judge = Judge::new(image, options.now);
    let came_of_it = match Context::new(image, *options) {
        Some(cx) => Some(passes(&cx, &mut judge, &mut reporter)),
        None => {
            lists::without_tables(image, &mut judge, &mut reporter);
            None
        }
    };
    // Whoever needs the table for more than words has told of it, most likely.
    if let Some(error) = names.stopped_by().filter(|_| !reporter.is_incomplete) {
        reporter.stop(error, Structure::Snapshot);
    }
    Checked { names, ..reporter.finish(image, came_of_it.unwrap_or_default()) }
}

/// Tells tables that may be lost, or parts of them; and where nothing is left of them, that something is.
fn lost_tables<R: ReadAt>(
    cx: &Context<'_, R>,
    trees: &Trees,
    (emptied, lists): (Emptied, &Lists),
    missing: &Missing<'_>,
    reporter: &mut Reporter<'_>,
) {
    let (orphans, missed) = (missing.orphans, missing.missed);
    let Some(evidence) = Evidence::of(cx, (orphans, missed), lists.unloaded, reporter) else { return };
    let is_table = emptied.report(cx, lists.unread_snapshots, &evidence, reporter);
    let is_part = gaps::report(cx, trees, missing, &evidence, reporter);
    if evidence.has_table() && !is_table && !is_part {
        let span = cx.image.header().span(field::NB_SNAPSHOTS);
        reporter.push(evidence.finding(
            Structure::Header,
            span,
            "no snapshot and no L1 table that leads to them",
        ));
    }
}

/// The passes over an image whose tables can be found, in the order in which they read.
fn passes<R: ReadAt>(cx: &Context<'_, R>, judge: &mut Judge<'_, R>, reporter: &mut Reporter<'_>) -> Parts {
    let limits = cx.image.limits();
    let mut counted = Counted::new(limits);
    let mut repeated = Repeated::new(limits.odd_tables);
    let mut losses = Losses::new(limits.lost_ranges);
    let mut flags = Flags::default();
    let mut emptied = Emptied::default();

    let stored = Stored::load(cx, judge, &mut counted, &mut repeated, reporter);
    counted.claim(cx, Span::new(HostOffset(0), cx.geometry.cluster_size()), 1, reporter);
    let mut lists = lists::count(cx, judge, &mut counted, &mut losses, reporter);
    let trees = Sweep {
        cx,
        judge,
        stored: &stored,
        counted: &mut counted,
        repeated: &mut repeated,
        losses: &mut losses,
        flags: &mut flags,
        emptied: &mut emptied,
        reporter,
        trees: Trees::default(),
        further_repeats: 0,
    }
    .trees(&lists);
    let block_clusters = stored.claim_blocks(cx, &mut counted);
    let (active, streams) = TableWalk {
        cx,
        judge,
        stored: &stored,
        counted: &mut counted,
        losses: &mut losses,
        flags: &mut flags,
        emptied: &mut emptied,
        reporter,
        active: Active::new(cx.image),
        streams: StreamList::new(cx.geometry, limits.compressed_clusters),
    }
    .tables(&trees);
    stored.count_blocks(cx, &mut counted, reporter);

    let mut image_end = 0;
    if counted.is_spent() {
        reporter.spent(cx.image, Limit::CountedPages, Structure::File);
    } else if !stored.is_table_cut {
        let known = (&mut counted, &mut flags);
        let compared = compare(cx, (&stored, &block_clusters), known, &mut repeated, reporter);
        image_end = compared.image_end;
        lists.bitmaps.claimed_twice(cx, &counted, &compared.low, reporter);
        let missing = Missing { orphans: &compared.orphans, missed: &compared.missed };
        lost_tables(cx, &trees, (emptied, &lists), &missing, reporter);
        flags.report(cx, &stored, &counted, reporter);
        if !reporter.is_incomplete {
            trailing_data(cx, image_end, counted.touched_end, reporter);
        }
    }
    let known = ReadSoFar { snapshot_table: lists.snapshot_table, blocks: &stored.blocks, trees: &trees };
    let owners = find_owners(cx, &known, &counted.conflicts, &mut losses, reporter);
    let decompressed = judge_streams(cx, &trees, streams, &mut losses, reporter);
    if repeated.is_spent() || lists.is_spent {
        reporter.spent(cx.image, Limit::OddTables, Structure::File);
    }
    judge.finish(&mut reporter.found);
    reporter.hand_on_each();
    let losses = losses.of_trees(cx, &trees.all, reporter);
    let counters = Counters {
        total_clusters: cx.geometry.clusters_for(cx.image.disk_len()),
        image_end_offset: image_end,
        ..active.counters
    };
    Parts {
        counters,
        compressed: active.compressed,
        owners,
        losses,
        held: active.held,
        decompressed,
        bitmaps: lists.bitmaps,
    }
}
