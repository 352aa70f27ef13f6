//! Who owns a cluster in conflict: a second walk, only where there is a conflict.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;

use super::claims::{Claims, Owner, Search};
use super::conflicts::Conflicts;
use super::context::Context;
use super::lost::Losses;
use super::reporter::Reporter;
use super::sharing::{Sharers, one_tree_has_two};
use super::stored::Block;
use super::tables::L2Reading;
use super::tree_tables::Trees;
use crate::finding::{Finding, Guest, Rule, Structure};
use crate::image::{Entry, Part, Section, SnapshotNames, Table, TableKind, Tables, Walk};
use crate::references::Reference;
use crate::rules::named::DATA_CLUSTER_SHARED_IN_TREE;
use crate::source::ReadAt;
use crate::units::{Geometry, Span, to_u64};
use crate::{Error, Limit};

/// Clusters in conflict, each with the owners that are named.
pub(super) type Owners = Vec<(u64, Vec<Owner>)>;

/// What the check has read of an image before it looks for owners.
pub(super) struct ReadSoFar<'k> {
    /// The bytes that the snapshot table takes.
    pub(super) snapshot_table: Span,
    /// The refcount blocks.
    pub(super) blocks: &'k [Block],
    /// The tables of all trees.
    pub(super) trees: &'k Trees,
}

/// Names the owners of the clusters in conflict, and the rule that each sharing breaks. The guest data of those that
/// another owner may overwrite is in doubt.
pub(super) fn find_owners<R: ReadAt>(
    cx: &Context<'_, R>,
    known: &ReadSoFar<'_>,
    conflicts: &Conflicts,
    losses: &mut Losses,
    reporter: &mut Reporter<'_>,
) -> Owners {
    let mut owners = Owners::new();
    if conflicts.len() != 0 {
        let l2_tables = known.trees.ordered();
        let l2_tables =
            l2_tables.iter().map(|(at, table)| L2Reading::new(cx, known.trees, *at, table).l2).collect();
        owners = OwnerSearch { cx, known, l2_tables, reporter }.find(conflicts, losses);
    }
    if conflicts.further() != 0 {
        reporter.spent(cx.image, Limit::Conflicts, Structure::File);
    }
    owners
}

/// The search under way.
struct OwnerSearch<'s, 'i, 'w, R> {
    cx: &'s Context<'i, R>,
    known: &'s ReadSoFar<'s>,
    /// The distinct L2 tables, each with the tree that stands for it.
    l2_tables: Vec<Table>,
    reporter: &'s mut Reporter<'w>,
}

impl<R: ReadAt> OwnerSearch<'_, '_, '_, R> {
    fn find(mut self, conflicts: &Conflicts, losses: &mut Losses) -> Owners {
        let of = |cluster: &u64| (*cluster, Claims::new(conflicts.has_low_refcount(*cluster)));
        let clusters = conflicts.clusters().map(of).collect();
        let mut search = Search::new(clusters, self.cx.geometry);
        self.lists(&mut search);
        self.bitmaps(&mut search);
        self.trees(|reference| search.claim(reference));
        let names = SnapshotNames::read(self.cx.image);
        names.stopped_by().into_iter().for_each(|error| self.reporter.stop(error, Structure::Snapshot));
        self.judge_claims(&mut search.clusters);
        self.doubt(&search, losses);
        search.clusters.retain(|cluster, _| !conflicts.is_shared(*cluster));
        let mut runs: Vec<Vec<(u64, Claims)>> = Vec::new();
        for (cluster, claims) in search.clusters {
            let goes_on = runs.last().and_then(|run| run.last()).is_some_and(|(last, earlier)| {
                last.saturating_add(1) == cluster && earlier.rule == claims.rule
            });
            match runs.last_mut().filter(|_| goes_on && !self.cx.options.each) {
                Some(run) => run.push((cluster, claims)),
                None => runs.push(vec![(cluster, claims)]),
            }
        }
        let mut owners = Owners::new();
        for run in runs {
            let Some(rule) = run.first().and_then(|(_, claims)| claims.rule) else { continue };
            if let Some(finding) = conflict(rule, &run, self.cx.geometry, &names) {
                self.reporter.push(finding);
            }
            owners.extend(run.into_iter().map(|(cluster, claims)| (cluster, claims.owners)));
        }
        owners
    }

    /// Claims what the header leads to, and the refcount blocks.
    fn lists(&self, search: &mut Search) {
        let references = &self.cx.references;
        search.claim(&references.header());
        search.claim(&references.snapshot_table(self.known.snapshot_table));
        let table = self.cx.image.refcount_table();
        let block = |block: &Block| {
            let entry = Entry { index: block.index, at: block.entry_at, raw: block.entry.0, bitmap: None };
            references.entry(table.as_ref()?, &entry)
        };
        let blocks = self.known.blocks.iter().filter_map(block);
        let others = references.refcount_table().into_iter().chain(references.luks());
        others.chain(blocks).filter(|reference| reference.is_followed).for_each(|other| search.claim(&other));
    }

    fn bitmaps(&mut self, search: &mut Search) {
        let Some(directory) = self.cx.references.bitmap_directory().filter(|directory| directory.is_followed)
        else {
            return;
        };
        search.claim(&directory);
        let image = self.cx.image;
        let value = image.limits().odd_tables;
        let mut walk = Walk::new(image, Tables::Again(value));
        let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            match part {
                Part::Stopped(structure, error) => self.reporter.stop(error, structure),
                Part::End(_, Some(error)) if !matches!(error, Error::Cut { .. }) => {
                    self.reporter.stop(error, Structure::Bitmap);
                }
                part => self.cx.references.part(&part).iter().for_each(|reference| search.claim(reference)),
            }
            Ok(())
        });
    }

    /// Hands what the trees refer to to `claim`, each distinct table once.
    fn trees(&mut self, mut claim: impl FnMut(&Reference)) {
        let trees = self.known.trees;
        let spans: HashSet<Span> = trees.l1.iter().map(|table| table.tree.l1.span()).collect();
        for (tree, pointer) in trees.all.iter().filter(|(tree, _)| spans.contains(&tree.l1.span())) {
            claim(&self.cx.references.l1_table(tree.l1, *pointer));
        }
        for table in &self.l2_tables {
            let TableKind::L2 { tree, l1_index } = table.kind else { continue };
            claim(&self.cx.references.l2_table(tree, l1_index, table.span.at));
            let read = self.cx.image.entries(*table).for_each(|entry| {
                self.cx.references.entry(table, &entry).iter().for_each(&mut claim);
                Ok(())
            });
            if let Err(error) = read {
                self.reporter.stop(error, Structure::L2Table);
            }
        }
    }

    /// Finds the rule that each sharing breaks. Data that two trees share is what snapshots are for: only where one
    /// tree maps the cluster twice is that a breach.
    fn judge_claims(&mut self, clusters: &mut BTreeMap<u64, Claims>) {
        clusters.values_mut().for_each(Claims::judge);
        let is_data = |claims: &&mut Claims| claims.rule == Some(&DATA_CLUSTER_SHARED_IN_TREE);
        let lists: Vec<Sharers> =
            clusters.values_mut().filter(is_data).map(|claims| std::mem::take(&mut claims.tables)).collect();
        if lists.is_empty() {
            return;
        }
        let answers = one_tree_has_two(self.cx.image, &lists, &self.known.trees.l1_trees(), self.reporter);
        for (claims, is_one_tree) in clusters.values_mut().filter(is_data).zip(answers) {
            claims.rule = claims.rule.filter(|_| is_one_tree);
        }
    }

    /// Takes note of the guest data of all owners whose sharing is a breach, named or not, and of those named that share
    /// data without a refcount for each. Where more own a cluster than are named, that takes one more walk, since only the
    /// last of them may have made it a breach.
    fn doubt(&mut self, search: &Search, losses: &mut Losses) {
        for owner in search.doubtful().flat_map(|claims| &claims.owners) {
            losses.doubt(owner);
        }
        if search.is_crowded() {
            self.trees(|reference| {
                if search.has_crowded_breach(reference.span) {
                    losses.doubt(&reference.into());
                }
            });
        }
    }
}

/// The finding of clusters side by side whose sharing breaks this rule.
fn conflict(
    rule: &'static Rule,
    run: &[(u64, Claims)],
    geometry: Geometry,
    names: &SnapshotNames,
) -> Option<Finding> {
    let (first, claims) = run.first()?;
    let len = to_u64(run.len());
    let at = geometry.host_offset(*first)?;
    let mut owners: Vec<String> = claims.owners.iter().map(|owner| owner.words(names).to_string()).collect();
    if claims.further != 0 {
        owners.push(format!("{} more", claims.further));
    }
    let found = format!("cluster {at}: {}", owners.join(" and "));
    let data = claims.owners.iter().find(|owner| owner.guest.is_some());
    let span = Span::new(at, len.saturating_mul(geometry.cluster_size()));
    let mut finding = Finding::new(rule, rule.attributes.shared, span, found, "one owner");
    finding.guest = data.and_then(|owner| Some(Guest { tree: owner.tree?, span: owner.guest? }));
    finding.consequences = len;
    Some(finding)
}
