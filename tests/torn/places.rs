//! Where the parts of an image are that a write can hit.

use std::collections::BTreeMap;

use super::truth::{L1, Reader, Source, number};

/// What a write can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hit {
    Header,
    Extensions,
    L1,
    L2,
    SharedL2,
    SnapshotL2,
    RefcountTable,
    RefcountBlock,
    SnapshotTable,
    SnapshotL1,
    Data,
}

impl Hit {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Extensions => "behind header",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::SharedL2 => "L2 shared",
            Self::SnapshotL2 => "L2 of snapshot",
            Self::RefcountTable => "refcount table",
            Self::RefcountBlock => "refcount block",
            Self::SnapshotTable => "snapshot table",
            Self::SnapshotL1 => "L1 of snapshot",
            Self::Data => "guest data",
        }
    }

    /// How often it is hit, beside the others: where more hangs on it, more often.
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::Header | Self::Extensions => 3,
            Self::L2 => 24,
            Self::L1 | Self::SharedL2 | Self::SnapshotL2 | Self::RefcountBlock => 14,
            Self::RefcountTable | Self::SnapshotTable | Self::SnapshotL1 => 10,
            Self::Data => 6,
        }
    }

    pub(crate) const fn is_mapping(self) -> bool {
        matches!(self, Self::L1 | Self::L2 | Self::SharedL2 | Self::SnapshotL2 | Self::SnapshotL1)
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) hit: Hit,
    pub(crate) at: u64,
    /// The bytes of it that mean something.
    pub(crate) len: u64,
}

/// The L1 tables of the active tree and of the snapshots.
pub(crate) fn trees(image: &Reader<'_>) -> Vec<L1> {
    std::iter::once(image.active).chain(image.snapshots.iter().map(|snapshot| snapshot.l1)).collect()
}

/// All of them, in the order of [`Hit`].
pub(crate) fn places(file: &[u8], image: &Reader<'_>) -> Vec<Place> {
    let cluster_size = image.cluster_size();
    let mut all = vec![
        Place { hit: Hit::Header, at: 0, len: 512 },
        Place { hit: Hit::Extensions, at: 0, len: cluster_size },
        Place { hit: Hit::L1, at: image.active.at, len: image.active.size * 8 },
    ];
    let mut tables: BTreeMap<u64, (bool, u64)> = BTreeMap::new();
    for (n, l1) in trees(image).into_iter().enumerate() {
        for (_, l2) in image.l2_tables(l1) {
            let known = tables.entry(l2).or_default();
            *known = (known.0 || n == 0, known.1 + 1);
        }
    }
    for (at, (is_active, uses)) in tables {
        let hit = match (is_active, uses) {
            (true, 1) => Hit::L2,
            (true, _) => Hit::SharedL2,
            (false, _) => Hit::SnapshotL2,
        };
        all.push(Place { hit, at, len: cluster_size });
    }
    let (table, clusters) = (number(file, 48, 8), number(file, 56, 4));
    let entries = (0..clusters * cluster_size / 8).map(|n| number(file, table + n * 8, 8));
    let blocks: Vec<u64> = entries.take_while(|at| *at != 0).collect();
    let table_len = 8 * blocks.iter().fold(0, |len, _| len + 1);
    all.push(Place { hit: Hit::RefcountTable, at: table, len: table_len });
    all.extend(blocks.into_iter().map(|at| Place { hit: Hit::RefcountBlock, at, len: cluster_size }));
    if let Some(first) = image.snapshots.first() {
        all.push(Place { hit: Hit::SnapshotTable, at: first.at, len: image.snapshots_end - first.at });
    }
    let tables = image.snapshots.iter().map(|snapshot| snapshot.l1).filter(|l1| l1.size != 0);
    all.extend(tables.map(|l1| Place { hit: Hit::SnapshotL1, at: l1.at, len: l1.size * 8 }));
    all.extend(data(image).into_iter().map(|at| Place { hit: Hit::Data, at, len: cluster_size }));
    all.sort_by_key(|place| (place.hit, place.at));
    all
}

/// The host clusters that guest data lies in.
fn data(image: &Reader<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    for guest in (0..image.size).step_by(image.unit().try_into().unwrap()) {
        if let Source::Host(at) | Source::Stream { at, .. } = image.source(image.active, guest) {
            found.push(at - at % image.cluster_size());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
