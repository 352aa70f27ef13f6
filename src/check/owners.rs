//! Who owns a cluster in conflict: a second walk, only where there is a conflict.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::fmt;

use serde::{Serialize, Serializer};

use super::claims::{Claims, Search};
use super::conflicts::Conflicts;
use super::context::Context;
use super::lists::Lists;
use super::lost::Losses;
use super::repeated::Repeated;
use super::reporter::Reporter;
use super::sharing::{Sharers, one_tree_has_two};
use super::stored::Stored;
use super::tables::L2Reading;
use super::trees::Trees;
use crate::finding::{Finding, Guest, Rule, Structure};
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::header::{CRYPT_LUKS, field};
use crate::format::mapping::{L2Entry, Mapping};
use crate::image::{DiskTree, Part, Section, Table, TableKind, Tables, Walk};
use crate::rules::codes::L27;
use crate::rules::guest;
use crate::source::ReadAt;
use crate::text;
use crate::units::{GuestSpan, HostOffset, Span, Tree};
use crate::{Error, Limit};

/// What a cluster is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The header.
    Header,
    /// An L1 table.
    L1Table,
    /// An L2 table.
    L2Table,
    /// The refcount table.
    RefcountTable,
    /// A refcount block.
    RefcountBlock,
    /// The snapshot table.
    SnapshotTable,
    /// The LUKS header.
    Luks,
    /// The bitmap directory.
    BitmapDirectory,
    /// The table of the bitmap with this index.
    BitmapTable(u32),
    /// Data of the bitmap with this index.
    BitmapData(u32),
    /// Guest data.
    Data,
    /// Compressed guest data.
    Compressed,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::L1Table => f.write_str("L1 table"),
            Self::L2Table => f.write_str("L2 table"),
            Self::RefcountTable => f.write_str("refcount table"),
            Self::RefcountBlock => f.write_str("refcount block"),
            Self::SnapshotTable => f.write_str("snapshot table"),
            Self::Luks => f.write_str("LUKS header"),
            Self::BitmapDirectory => f.write_str("bitmap directory"),
            Self::BitmapTable(index) => write!(f, "table of bitmap {index}"),
            Self::BitmapData(index) => write!(f, "data of bitmap {index}"),
            Self::Data => f.write_str("data"),
            Self::Compressed => f.write_str("compressed data"),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An owner of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// What the cluster is to it.
    pub role: Role,
    /// Where the pointer to the cluster stands.
    pub pointer: HostOffset,
    /// The tree that it belongs to, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// What guest data depends on it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestSpan>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)?;
        if let Some(guest) = self.guest {
            write!(f, " of guest {}+{:#x}", guest.start, guest.len)?;
        }
        if let Some(tree) = self.tree {
            write!(f, " ({tree})")?;
        }
        Ok(())
    }
}

/// The search for the owners of the clusters in conflict.
pub(super) struct Owners<'p, 'a, 'w, R> {
    pub(super) cx: &'p Context<'a, R>,
    pub(super) lists: &'p Lists,
    pub(super) stored: &'p Stored,
    pub(super) trees: &'p Trees,
    pub(super) conflicts: &'p Conflicts,
    pub(super) losses: &'p mut Losses,
    pub(super) repeated: &'p mut Repeated,
    pub(super) reporter: &'p mut Reporter<'w>,
    /// Names of snapshots that own a cluster in conflict.
    pub(super) names: BTreeMap<u32, String>,
    pub(super) found: Vec<(u64, Vec<Owner>)>,
}

impl<R: ReadAt> Owners<'_, '_, '_, R> {
    /// Tells which rule each sharing breaks, and answers the clusters with their owners.
    pub(super) fn find(mut self) -> Vec<(u64, Vec<Owner>)> {
        if self.conflicts.len() != 0 {
            self.name_owners();
        }
        if self.conflicts.further() != 0 {
            self.reporter.spent(self.cx.image, Limit::Conflicts, Structure::File);
        }
        self.found
    }

    fn name_owners(&mut self) {
        let of = |cluster: &u64| (*cluster, Claims::new(self.conflicts.is_short(*cluster)));
        let clusters = self.conflicts.clusters().iter().map(of).collect();
        let mut search = Search::new(clusters, self.cx.geometry.cluster_bits());
        self.own_structures(&mut search);
        self.own_trees(|span, owner, table| search.claim(span, owner, table));
        self.load_names(&search.clusters);
        self.judge_claims(&mut search.clusters);
        self.doubt_owners(&search);
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
        for run in runs {
            let Some(rule) = run.first().and_then(|(_, claims)| claims.rule) else { continue };
            self.conflict_finding(rule, &run);
            self.found.extend(run.into_iter().map(|(cluster, claims)| (cluster, claims.owners)));
        }
    }

    /// Finds the rule that each sharing breaks. Data that two trees share is what snapshots are for: only where one
    /// tree maps the cluster twice is that a breach.
    fn judge_claims(&mut self, clusters: &mut BTreeMap<u64, Claims>) {
        clusters.values_mut().for_each(Claims::judge);
        let is_data = |claims: &&mut Claims| claims.rule == Some(&L27);
        let lists: Vec<Sharers> =
            clusters.values_mut().filter(is_data).map(|claims| std::mem::take(&mut claims.tables)).collect();
        if lists.is_empty() {
            return;
        }
        let answers = one_tree_has_two(self.cx, self.trees, &lists, self.reporter);
        for (claims, is_one_tree) in clusters.values_mut().filter(is_data).zip(answers) {
            claims.rule = claims.rule.filter(|_| is_one_tree);
        }
    }

    fn conflict_finding(&mut self, rule: &'static Rule, run: &[(u64, Claims)]) {
        let Some((first, claims)) = run.first() else { return };
        let cluster_size = self.cx.geometry.cluster_size();
        let len = crate::units::to_u64(run.len());
        let at = Span::new(self.cx.host_offset(*first), len.saturating_mul(cluster_size));
        let mut owners: Vec<String> = claims.owners.iter().map(|owner| self.shown(owner)).collect();
        if claims.further != 0 {
            owners.push(format!("{} more", claims.further));
        }
        let found = format!("cluster {}: {}", at.at, owners.join(" and "));
        let data = claims.owners.iter().find(|owner| owner.guest.is_some());
        let mut finding = Finding::new(rule, rule.attributes.shared, at, found, "one owner");
        finding.guest = data.and_then(|owner| Some(Guest { tree: owner.tree?, span: owner.guest? }));
        finding.consequences = len;
        self.reporter.push(finding);
    }

    /// Takes note of the guest data of all owners whose sharing is a breach, named or not, and of those named that share
    /// data without a refcount for each. Where each has its name that is at hand; else it takes one more walk, since only the last owner may have made it a breach.
    fn doubt_owners(&mut self, search: &Search) {
        for owner in search.doubtful().flat_map(|claims| &claims.owners) {
            self.losses.doubt(owner);
        }
        if search.is_crowded() {
            let mut owners = Vec::new();
            self.own_trees(|span, owner, _| {
                if search.has_crowded_breach(span) {
                    owners.push(owner);
                }
            });
            owners.iter().for_each(|owner| self.losses.doubt(owner));
        }
    }

    /// An owner with the name of its snapshot.
    fn shown(&self, owner: &Owner) -> String {
        let name = match owner.tree {
            Some(Tree::Snapshot(index)) => self.names.get(&index),
            _ => None,
        };
        match name {
            Some(name) => format!("{owner} '{name}'"),
            None => owner.to_string(),
        }
    }

    /// Looks up the names of the snapshots that own any of these.
    fn load_names(&mut self, clusters: &BTreeMap<u64, Claims>) {
        let owners = clusters.values().flat_map(|claims| &claims.owners);
        let wanted: BTreeSet<u32> = owners
            .filter_map(|owner| match owner.tree {
                Some(Tree::Snapshot(index)) => Some(index),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        for snapshot in self.cx.image.snapshots() {
            let snapshot = match snapshot {
                Ok(snapshot) => snapshot,
                Err(Error::Cut { .. }) => break,
                Err(error) => return self.reporter.stop(error, Structure::Snapshot),
            };
            if wanted.contains(&snapshot.index) {
                self.names.insert(snapshot.index, text::shown(&snapshot.name));
            }
        }
    }

    fn own_structures(&mut self, search: &mut Search) {
        let (image, cluster_size) = (self.cx.image, self.cx.geometry.cluster_size());
        let header = image.header();
        search.plain(Role::Header, HostOffset(0), Span::new(HostOffset(0), cluster_size));
        let pointer = header.span(field::SNAPSHOTS_OFFSET).at;
        search.plain(Role::SnapshotTable, pointer, self.lists.snapshot_table);
        if let Some(table) = image.refcount_table() {
            search.plain(Role::RefcountTable, header.span(field::REFCOUNT_TABLE_OFFSET).at, table.span);
        }
        if let Some((at, extension)) = image.crypto_extension()
            && header.v2.crypt_method == CRYPT_LUKS
        {
            search.plain(Role::Luks, at, Span::new(extension.offset, extension.length));
        }
        for block in self.stored.blocks.iter().filter(|block| block.is_aligned && block.entry.reserved() == 0)
        {
            let span = Span::new(block.entry.block_offset(), cluster_size);
            search.plain(Role::RefcountBlock, block.entry_at, span);
        }
        if header.has_v3() && image.bitmaps_are_loaded() {
            self.own_bitmaps(search);
        }
    }

    fn own_bitmaps(&mut self, search: &mut Search) {
        let (image, cluster_size) = (self.cx.image, self.cx.geometry.cluster_size());
        let Some((at, extension)) = image.bitmaps_extension() else { return };
        let directory = Span::new(extension.bitmap_directory_offset, extension.bitmap_directory_size);
        search.plain(Role::BitmapDirectory, at, directory);
        let mut walk = Walk::new(image, Tables::Again(image.limits().odd_tables));
        let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            match part {
                Part::Bitmap(bitmap) => {
                    search.plain(Role::BitmapTable(bitmap.index), bitmap.at, bitmap.table());
                }
                Part::Entry(Table { kind: TableKind::Bitmap { index, .. }, .. }, entry) => {
                    if let BitmapData::Serialized(data) = BitmapTableEntry(entry.raw).data() {
                        search.plain(Role::BitmapData(*index), entry.at, Span::new(data, cluster_size));
                    }
                }
                Part::Stopped(structure, error) => self.reporter.stop(error, structure),
                Part::End(_, Some(error)) if !matches!(error, Error::Cut { .. }) => {
                    self.reporter.stop(error, Structure::Bitmap);
                }
                _ => {}
            }
            Ok(())
        });
        self.repeated.is_spent |= walk.is_spent;
    }

    fn own_trees(&mut self, mut claim: impl FnMut(Span, Owner, Option<u64>)) {
        let spans: HashSet<Span> = self.trees.l1.iter().map(|table| table.tree.l1.span()).collect();
        for l1 in self.trees.all.iter().map(|tree| tree.l1) {
            let pointer = match l1.tree {
                Tree::Active => self.cx.image.header().span(field::L1_TABLE_OFFSET).at,
                // Its entry's first field; where the entry stands, the table of snapshots tells.
                Tree::Snapshot(_) => HostOffset(0),
            };
            if spans.contains(&l1.span()) {
                let owner = Owner { role: Role::L1Table, pointer, tree: Some(l1.tree), guest: None };
                claim(l1.span(), owner, None);
            }
        }
        let cluster_size = self.cx.geometry.cluster_size();
        for (at, table) in self.trees.ordered() {
            let table = L2Reading::new(self.cx, self.trees, at, &table);
            let maps = self.cx.l1_guest(&table.tree, table.l1_index);
            let pointer = table.tree.l1.at.saturating_add(table.l1_index.saturating_mul(8));
            let owner = Owner { role: Role::L2Table, pointer, tree: Some(maps.tree), guest: Some(maps.span) };
            claim(table.l2.span, owner, None);
            let mut entries = self.cx.image.entries(table.l2);
            while let Some(chunk) = entries.next() {
                let chunk = match chunk {
                    Ok(chunk) => chunk,
                    Err(error) => {
                        self.reporter.stop(error, Structure::L2Table);
                        break;
                    }
                };
                for entry in chunk.entries() {
                    let (role, span) = match self.cx.image.mapping(self.cx.geometry, L2Entry(entry.raw)) {
                        Mapping::Data(at) | Mapping::ZeroAllocated(at) if !self.cx.has_external_data => {
                            (Role::Data, Span::new(at, cluster_size))
                        }
                        Mapping::Compressed(stream) => (Role::Compressed, Span::new(stream.at, stream.len)),
                        _ => continue,
                    };
                    let DiskTree { l1, disk_size } = table.tree;
                    let start = table.guest_offset(entry.index, self.cx.geometry);
                    let guest = guest(l1.tree, start, cluster_size, disk_size);
                    let owner =
                        Owner { role, pointer: entry.at, tree: Some(l1.tree), guest: Some(guest.span) };
                    claim(span, owner, Some(table.at().0));
                }
            }
        }
    }
}
