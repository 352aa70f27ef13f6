//! What was found to own the clusters in conflict, and which rule their sharing breaks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::sharing::Sharers;
use crate::finding::{Rule, Severity};
use crate::image::SnapshotNames;
use crate::references::{Reference, Role};
use crate::rules::named::{
    BITMAP_OVERLAP, COMPRESSED_OVERLAP, DATA_CLUSTER_SHARED_IN_TREE, DATA_OVER_METADATA,
    L2_TABLE_OVER_METADATA, METADATA_OVERLAP, REFCOUNT_BLOCK_SHARED,
};
use crate::units::{Geometry, GuestSpan, HostOffset, Span, Tree};

/// How many owners of a cluster are named: at least one of each kind, which are fewer.
const NAMED: usize = 8;

/// An owner of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
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

impl From<&Reference> for Owner {
    fn from(reference: &Reference) -> Self {
        let Reference { role, pointer, tree, guest, .. } = *reference;
        Self { role, pointer, tree, guest }
    }
}

impl Owner {
    /// What it is, in words; `names` are those of the image's snapshots.
    pub(super) fn words(&self, names: &SnapshotNames) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "{}", self.role)?;
            if let Some(guest) = self.guest {
                write!(f, " of guest {}+{:#x}", guest.start, guest.len)?;
            }
            self.tree.map_or(Ok(()), |tree| write!(f, " ({})", names.words(tree)))
        })
    }
}

/// Roles that the rules do not tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Compressed,
    L2Table,
    RefcountBlock,
    Bitmap,
    Other,
}

impl From<Role> for Kind {
    fn from(role: Role) -> Self {
        match role {
            Role::Data | Role::KeptForData => Self::Data,
            Role::Compressed => Self::Compressed,
            Role::L2Table => Self::L2Table,
            Role::RefcountBlock => Self::RefcountBlock,
            Role::BitmapTable(_) | Role::BitmapData(_) => Self::Bitmap,
            Role::Header
            | Role::HeaderExtensions
            | Role::BackingFileName
            | Role::L1Table
            | Role::RefcountTable
            | Role::SnapshotTable
            | Role::Luks
            | Role::BitmapDirectory => Self::Other,
        }
    }
}

/// How many owners are of each kind. All are counted, however few are named: an image must not hide the one that
/// makes the sharing a breach behind others.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    data: u64,
    compressed: u64,
    l2_tables: u64,
    refcount_blocks: u64,
    bitmaps: u64,
    others: u64,
}

impl Tally {
    fn add(&mut self, kind: Kind) {
        let count = match kind {
            Kind::Data => &mut self.data,
            Kind::Compressed => &mut self.compressed,
            Kind::L2Table => &mut self.l2_tables,
            Kind::RefcountBlock => &mut self.refcount_blocks,
            Kind::Bitmap => &mut self.bitmaps,
            Kind::Other => &mut self.others,
        };
        *count = count.saturating_add(1);
    }

    /// The rule that such a sharing breaks; `None` where it turned out to be legal.
    fn rule(&self) -> Option<&'static Rule> {
        let Self { data, compressed, l2_tables, refcount_blocks, bitmaps, others } = *self;
        let guest = data.saturating_add(compressed);
        let metadata = [l2_tables, refcount_blocks, bitmaps, others].into_iter().fold(0, u64::saturating_add);
        match () {
            () if guest.saturating_add(metadata) < 2 => None,
            () if refcount_blocks != 0 => Some(&REFCOUNT_BLOCK_SHARED),
            () if bitmaps != 0 => Some(&BITMAP_OVERLAP),
            () if guest != 0 && metadata != 0 => Some(&DATA_OVER_METADATA),
            () if data != 0 && compressed != 0 => Some(&COMPRESSED_OVERLAP),
            () if data != 0 => Some(&DATA_CLUSTER_SHARED_IN_TREE),
            () if compressed != 0 => None,
            () if l2_tables != 0 => Some(&L2_TABLE_OVER_METADATA),
            () => Some(&METADATA_OVERLAP),
        }
    }
}

/// The owners that were found of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Those that are named.
    pub(super) owners: Vec<Owner>,
    /// How many more there are.
    pub(super) further: u64,
    /// The L2 tables whose entries map it.
    pub(super) tables: Sharers,
    /// The rule that this sharing breaks.
    pub(super) rule: Option<&'static Rule>,
    /// Whether the refcount is too low for so many owners.
    has_low_refcount: bool,
    tally: Tally,
}

impl Claims {
    /// No owner yet.
    pub(super) fn new(has_low_refcount: bool) -> Self {
        Self { has_low_refcount, ..Self::default() }
    }

    fn add(&mut self, owner: Owner) {
        self.tally.add(owner.role.into());
        if self.owners.len() < NAMED {
            return self.owners.push(owner);
        }
        self.further = self.further.saturating_add(1);
        let kind_of = |owner: &Owner| Kind::from(owner.role);
        if self.owners.iter().any(|other| kind_of(other) == kind_of(&owner)) {
            return;
        }
        // One of a kind that has two makes room.
        let mut kinds = self.owners.iter().map(kind_of).enumerate();
        let spare = kinds.rfind(|(n, kind)| self.owners.iter().take(*n).any(|other| kind_of(other) == *kind));
        if let Some((spare, _)) = spare {
            self.owners.remove(spare);
            self.owners.push(owner);
        }
    }

    /// Finds the rule, once all owners have come by.
    pub(super) fn judge(&mut self) {
        self.rule = self.tally.rule();
    }

    fn is_breach(&self) -> bool {
        self.rule.is_some_and(|rule| rule.severity >= Severity::Corruption)
    }

    /// Whether the guest data of the owners that are named is in doubt. Sharing of data, which gives a warning, is
    /// deliberate or L26 where the refcount knows of it.
    fn is_doubtful(&self) -> bool {
        self.is_breach() || self.has_low_refcount && (self.rule.is_some() || self.owners.len() > 1)
    }
}

/// The clusters in conflict, as their owners come by.
pub(super) struct Search {
    pub(super) clusters: BTreeMap<u64, Claims>,
    geometry: Geometry,
}

impl Search {
    pub(super) fn new(clusters: BTreeMap<u64, Claims>, geometry: Geometry) -> Self {
        Self { clusters, geometry }
    }

    /// Takes note of an owner of each cluster that it touches.
    pub(super) fn claim(&mut self, reference: &Reference) {
        let Some(clusters) = self.clusters_in(reference.span) else { return };
        let is_data = matches!(reference.role, Role::Data | Role::Compressed);
        let table = reference.table.filter(|_| is_data);
        for claims in self.clusters.range_mut(clusters).map(|(_, claims)| claims) {
            if let Some(table) = table {
                claims.tables.add(table.0);
            }
            claims.add(reference.into());
        }
    }

    /// The clusters whose owners' data is in doubt.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = &Claims> {
        self.clusters.values().filter(|claims| claims.is_doubtful())
    }

    /// Whether any whose sharing is a breach has more owners than are named.
    pub(super) fn is_crowded(&self) -> bool {
        self.clusters.values().any(|claims| claims.further != 0 && claims.is_breach())
    }

    /// Whether one of these is among the clusters here.
    pub(super) fn has_crowded_breach(&self, span: Span) -> bool {
        let is_crowded = |(_, claims): (_, &Claims)| claims.further != 0 && claims.is_breach();
        self.clusters_in(span).is_some_and(|clusters| self.clusters.range(clusters).any(is_crowded))
    }

    fn clusters_in(&self, span: Span) -> Option<RangeInclusive<u64>> {
        (span.len != 0).then(|| self.geometry.clusters_of(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The claims of these owners, in this order.
    fn claims(roles: impl IntoIterator<Item = Role>) -> Claims {
        let geometry = Geometry::new(9, false).unwrap();
        let mut search = Search::new(BTreeMap::from([(3, Claims::default())]), geometry);
        for (role, n) in roles.into_iter().zip(0..) {
            let span = Span::new(HostOffset(3 << 9), 512);
            search.claim(&Reference {
                role,
                pointer: HostOffset(n),
                table: None,
                span,
                tree: None,
                guest: None,
                is_followed: true,
                counted: 1,
            });
        }
        let mut claims = search.clusters.remove(&3).unwrap();
        claims.judge();
        claims
    }

    #[test]
    fn the_one_owner_that_decides_counts_however_many_others_there_are() {
        for (many, single, rule) in [
            (Role::Data, Role::L2Table, &DATA_OVER_METADATA),
            (Role::Data, Role::L1Table, &DATA_OVER_METADATA),
            (Role::Compressed, Role::SnapshotTable, &DATA_OVER_METADATA),
            (Role::L1Table, Role::Data, &DATA_OVER_METADATA),
            (Role::Compressed, Role::Data, &COMPRESSED_OVERLAP),
            (Role::Data, Role::Compressed, &COMPRESSED_OVERLAP),
            (Role::Data, Role::RefcountBlock, &REFCOUNT_BLOCK_SHARED),
            (Role::L2Table, Role::RefcountBlock, &REFCOUNT_BLOCK_SHARED),
            (Role::Data, Role::BitmapData(0), &BITMAP_OVERLAP),
            (Role::L2Table, Role::BitmapTable(7), &BITMAP_OVERLAP),
            (Role::L1Table, Role::L2Table, &L2_TABLE_OVER_METADATA),
        ] {
            for count in [7, 8, 9, 20] {
                let others = || std::iter::repeat_n(many, count);
                let first = claims([single].into_iter().chain(others()));
                let last = claims(others().chain([single]));
                let amid = claims(others().take(5).chain([single]).chain(others().skip(5)));
                for claims in [first, last, amid] {
                    let case = format!("{count} x {many}, {single}");
                    assert_eq!(claims.rule.map(|rule| rule.code), Some(rule.code), "{case}");
                    assert_eq!(claims.owners.len(), NAMED, "{case}");
                    assert_eq!(
                        claims.owners.len() + usize::try_from(claims.further).unwrap(),
                        count + 1,
                        "{case}"
                    );
                    for role in [many, single] {
                        assert!(claims.owners.iter().any(|owner| owner.role == role), "{case}: {role}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_kind_is_named_if_it_comes_late() {
        let kinds = [
            Role::Compressed,
            Role::L2Table,
            Role::RefcountBlock,
            Role::BitmapData(1),
            Role::BitmapTable(2),
            Role::Header,
            Role::L1Table,
        ];
        let claims = claims(std::iter::repeat_n(Role::Data, 100).chain(kinds));
        let named: Vec<_> = claims.owners.iter().map(|owner| owner.role).collect();
        let late = [Role::Compressed, Role::L2Table, Role::RefcountBlock, Role::BitmapData(1), Role::Header];
        assert_eq!((&named[..3], &named[3..]), (&[Role::Data; 3][..], &late[..]));
        assert_eq!(claims.owners[0].pointer, HostOffset(0), "the first of a kind stays");
        assert_eq!(claims.further, 99);
    }

    #[test]
    fn owners_of_one_kind_break_their_rule_whatever_their_number() {
        for (role, rule) in [
            (Role::Data, Some(&DATA_CLUSTER_SHARED_IN_TREE)),
            (Role::Compressed, None),
            (Role::L1Table, Some(&METADATA_OVERLAP)),
            (Role::L2Table, Some(&L2_TABLE_OVER_METADATA)),
        ] {
            for count in [1, 2, 7, 8, 9, 20] {
                let rule = rule.filter(|_| count > 1).map(|rule| rule.code);
                assert_eq!(
                    claims(std::iter::repeat_n(role, count)).rule.map(|rule| rule.code),
                    rule,
                    "{count} x {role}"
                );
            }
        }
    }
}
