//! Where each structure of a plan goes, and how often each is used.

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::bitmap::BitmapHead;
use qcow2_inspect::format::snapshot::SnapshotHead;
use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

use super::{BitmapCluster, Plan, stream};

/// How many L1 entries, or L2 entries as seen by each tree, refer to each member of the pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uses {
    /// Of each L2 table.
    pub tables: Vec<u64>,
    /// Of each host cluster.
    pub clusters: Vec<u64>,
    /// Of each compressed stream.
    pub streams: Vec<u64>,
}

impl Uses {
    /// Counts them.
    pub fn of(plan: &Plan) -> Self {
        let mut uses = Self {
            tables: vec![0; plan.tables.len()],
            clusters: vec![0; plan.clusters.len()],
            streams: vec![0; plan.streams.len()],
        };
        for &table in plan.trees().flat_map(|tree| tree.l1.values()) {
            uses.tables[table] += 1;
        }
        for (table, count) in plan.tables.iter().zip(&uses.tables) {
            for entry in table.entries.values() {
                match (*entry, entry.cluster()) {
                    (super::EntryPlan::Compressed(stream), _) => uses.streams[stream] += count,
                    (_, Some(cluster)) => uses.clusters[cluster] += count,
                    _ => {}
                }
            }
        }
        uses
    }
}

/// Where everything is. What is not in the file is at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The refcount table.
    pub refcount_table: HostOffset,
    /// Clusters of the refcount table.
    pub refcount_table_clusters: u64,
    /// The refcount blocks.
    pub refcount_blocks: Vec<HostOffset>,
    /// The active L1 table.
    pub l1: HostOffset,
    /// The L2 tables.
    pub tables: Vec<HostOffset>,
    /// The host clusters.
    pub clusters: Vec<HostOffset>,
    /// The compressed streams, each up to the end of its last sector.
    pub streams: Vec<Span>,
    /// Each snapshot's L1 table.
    pub snapshot_l1: Vec<HostOffset>,
    /// The snapshot table.
    pub snapshot_table: HostOffset,
    /// The bitmap directory.
    pub bitmap_directory: HostOffset,
    /// Each bitmap's table.
    pub bitmap_tables: Vec<HostOffset>,
    /// Each bitmap's clusters.
    pub bitmap_clusters: Vec<Vec<HostOffset>>,
    /// Clusters of the file.
    pub cluster_count: u64,
    /// Bytes of the file.
    pub file_len: u64,
}

/// Bytes of the snapshot table; the last entry has no padding.
pub(super) fn snapshot_table_len(plan: &Plan) -> u64 {
    plan.snapshots.iter().fold(0, |len: u64, snapshot| {
        let entry = SnapshotHead::LEN + u64::from(snapshot.extra_len);
        len.next_multiple_of(8) + entry + to_u64(snapshot.id.len() + snapshot.name.len())
    })
}

/// Bytes of the bitmap directory.
pub(super) fn bitmap_directory_len(plan: &Plan) -> u64 {
    plan.bitmaps.iter().map(|b| (BitmapHead::LEN + to_u64(b.name.len())).next_multiple_of(8)).sum()
}

/// Bytes of an L1 table, or of a bitmap table.
fn table_len(entries: impl Into<u64>) -> u64 {
    entries.into() * 8
}

impl Places {
    /// Finds a place for everything; `streams` are the compressed streams' bytes.
    pub(super) fn new(plan: &Plan, uses: &Uses, streams: &[Vec<u8>]) -> Self {
        let cluster_size = to_u64(plan.cluster_size());
        let tail = u64::from(plan.layout.tail_clusters);
        // Nothing depends on where the parts start but their place, so they are placed twice: only then is it
        // known how many refcounts there are.
        let (mut places, end) = Self::parts(plan, uses, streams, 1);
        let (table_clusters, blocks) = refcount_clusters(plan, end.next_cluster + tail);
        let refcounts = table_clusters + blocks;
        let mut end_of_parts = end;
        let start = if plan.layout.refcounts_first {
            (places, end_of_parts) = Self::parts(plan, uses, streams, 1 + refcounts);
            1
        } else {
            end.next_cluster
        };
        places.refcount_table = HostOffset(start * cluster_size);
        places.refcount_table_clusters = table_clusters;
        let blocks = start + table_clusters..start + refcounts;
        places.refcount_blocks = blocks.map(|cluster| HostOffset(cluster * cluster_size)).collect();
        places.cluster_count = end.next_cluster + refcounts + tail;
        let last_is_part = start == 1 && tail == 0 && end_of_parts.next_cluster > 1 + refcounts;
        places.file_len = if plan.layout.trim && last_is_part {
            end_of_parts.used
        } else {
            places.cluster_count * cluster_size
        };
        places
    }

    /// Places all but the refcounts from the cluster `first` on.
    fn parts(plan: &Plan, uses: &Uses, streams: &[Vec<u8>], first: u64) -> (Self, End) {
        let mut places = Self::default();
        let mut bump = Bump::new(plan, first);
        for n in 0..6 {
            match (n + plan.layout.rotate) % 6 {
                0 => places.l1 = bump.take(table_len(plan.active.l1_size)),
                1 => places.tables = bump.take_used(&uses.tables),
                // Guest data lies in the external data file, where there is one.
                2 if plan.data_file().is_some() => places.clusters = vec![HostOffset(0); uses.clusters.len()],
                2 => places.clusters = bump.take_used(&uses.clusters),
                3 => places.streams = bump.streams(plan, uses, streams),
                4 => {
                    places.snapshot_table = bump.take(snapshot_table_len(plan));
                    let sizes = plan.snapshots.iter().map(|snapshot| table_len(snapshot.tree.l1_size));
                    places.snapshot_l1 = sizes.map(|len| bump.take(len)).collect();
                }
                _ => {
                    places.bitmap_directory = bump.take(bitmap_directory_len(plan));
                    for bitmap in &plan.bitmaps {
                        places.bitmap_tables.push(bump.take(table_len(to_u64(bitmap.table.len()))));
                        let stored = |c: &BitmapCluster| u64::from(matches!(c, BitmapCluster::Serialized(_)));
                        let stored: Vec<u64> = bitmap.table.iter().map(stored).collect();
                        places.bitmap_clusters.push(bump.take_used(&stored));
                    }
                }
            }
        }
        (places, bump.end)
    }
}

/// How many clusters the refcount table and its blocks take, which count themselves, beside `others`.
fn refcount_clusters(plan: &Plan, others: u64) -> (u64, u64) {
    let cluster_size = to_u64(plan.cluster_size());
    let per_block = (cluster_size * 8) >> plan.refcount_order();
    let spare = u64::from(plan.layout.spare_refcount_table_clusters);
    let (mut table, mut blocks) = (1, 1);
    loop {
        let wanted_blocks = u64::div_ceil(others + table + blocks, per_block);
        let wanted_table = (wanted_blocks * 8).div_ceil(cluster_size) + spare;
        if (wanted_table, wanted_blocks) == (table, blocks) {
            return (table, blocks);
        }
        // Both only ever grow, and each by less than what made it grow.
        (table, blocks) = (wanted_table, wanted_blocks);
    }
}

/// Where the next structure goes, and where the last one ends.
#[derive(Clone, Copy, Debug)]
struct End {
    next_cluster: u64,
    used: u64,
}

/// Hands out clusters one behind the other.
struct Bump {
    cluster_size: u64,
    gap_every: u32,
    taken: u32,
    end: End,
}

impl Bump {
    fn new(plan: &Plan, first: u64) -> Self {
        let cluster_size = to_u64(plan.cluster_size());
        let end = End { next_cluster: first, used: first * cluster_size };
        Self { cluster_size, gap_every: plan.layout.gap_every, taken: 0, end }
    }

    /// Clusters for a structure of `len` bytes; none, and offset 0, for an empty one.
    fn take(&mut self, len: u64) -> HostOffset {
        if len == 0 {
            return HostOffset(0);
        }
        self.taken += 1;
        if self.gap_every != 0 && self.taken.is_multiple_of(self.gap_every) {
            self.end.next_cluster += 1;
        }
        let at = self.end.next_cluster * self.cluster_size;
        self.end.next_cluster += len.div_ceil(self.cluster_size);
        self.end.used = at + len;
        HostOffset(at)
    }

    /// A cluster for each member that is used.
    fn take_used(&mut self, uses: &[u64]) -> Vec<HostOffset> {
        uses.iter().map(|&uses| self.take(if uses == 0 { 0 } else { self.cluster_size })).collect()
    }

    /// Packs the streams that are used, so that no cluster gets more references than a refcount can hold.
    fn streams(&mut self, plan: &Plan, uses: &Uses, streams: &[Vec<u8>]) -> Vec<Span> {
        let max_sectors = to_u64(stream::max_len(to_usize(self.cluster_size))) / 512;
        let mut open: Option<u64> = None;
        // References of the last cluster that was begun.
        let mut counted = 0;
        let mut spans = Vec::new();
        for ((plan_of, stream), &uses) in plan.streams.iter().zip(streams).zip(&uses.streams) {
            if uses == 0 {
                spans.push(Span::default());
                continue;
            }
            let len = to_u64(stream.len());
            let sectors = |at: u64| (at % 512 + len).div_ceil(512);
            let packed = open
                .map(|at| at + u64::from(plan_of.skip))
                .map(|at| if sectors(at) > max_sectors { at.next_multiple_of(512) } else { at })
                .filter(|at| !plan_of.apart && at / self.cluster_size < self.end.next_cluster)
                .filter(|_| counted + uses <= plan.refcount_max());
            let at = packed.unwrap_or_else(|| {
                counted = 0;
                self.end.next_cluster * self.cluster_size
            });
            let span = Span::new(HostOffset(at), sectors(at) * 512 - at % 512);
            let end_cluster = span.end().0.div_ceil(self.cluster_size);
            if end_cluster > self.end.next_cluster {
                counted = 0;
                self.end.next_cluster = end_cluster;
            }
            counted += uses;
            self.end.used = span.end().0;
            open = Some(at + len);
            spans.push(span);
        }
        spans
    }
}
