//! The description of an image that is to be written.
//!
//! Tables, host clusters and compressed streams are in pools, and trees and tables refer to them by their index:
//! what two of them refer to is shared. What nothing refers to is not written.

use std::collections::BTreeMap;

use qcow2_inspect::format::bitmap::BitmapFlags;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::units::{Geometry, to_usize};

use super::Fill;

/// An image to be written. Nothing is checked: what makes no sense is written as it stands, or panics.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary logarithm of the cluster size.
    pub cluster_bits: u32,
    /// Bytes of the guest's disk.
    pub size: u64,
    /// What version 3 adds; version 2 without it.
    pub v3: Option<Version3>,
    /// The backing file.
    pub backing: Option<Backing>,
    /// Rows of the feature name table, from the start of the one that QEMU writes; no table with 0.
    pub feature_names: usize,
    /// Extensions that the specification does not define.
    pub unknown_extensions: Vec<(Magic, Vec<u8>)>,
    /// Whether the end of the extensions is marked. It has to be, unless something else ends the area.
    pub end_marker: bool,
    /// What the guest sees now.
    pub active: TreePlan,
    /// The snapshots.
    pub snapshots: Vec<SnapshotPlan>,
    /// The L2 tables.
    pub tables: Vec<TablePlan>,
    /// The host clusters with guest data, or kept for it.
    pub clusters: Vec<Fill>,
    /// The compressed streams.
    pub streams: Vec<StreamPlan>,
    /// The persistent bitmaps.
    pub bitmaps: Vec<BitmapPlan>,
    /// Where in the file everything goes.
    pub layout: LayoutPlan,
}

/// What version 3 adds.
#[derive(Clone, Debug)]
pub struct Version3 {
    /// 104, 112 or more, the rest being zeros.
    pub header_length: u32,
    /// The binary logarithm of the width of a refcount.
    pub refcount_order: u32,
    /// Whether there are subclusters.
    pub extended_l2: bool,
    /// Zstandard frames instead of raw deflate streams. Takes a header of 112 bytes.
    pub zstd: bool,
    /// The dirty bit.
    pub dirty: bool,
    /// The lazy refcounts bit.
    pub lazy_refcounts: bool,
    /// Further compatible feature bits.
    pub more_compatible: u64,
    /// Further autoclear feature bits.
    pub more_autoclear: u64,
    /// The external data file.
    pub data_file: Option<DataFile>,
}

/// An external data file.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Its name.
    pub name: Vec<u8>,
    /// Whether it can be read as a raw image.
    pub raw: bool,
}

/// A backing file, which is a raw image.
#[derive(Clone, Debug)]
pub struct Backing {
    /// Its name.
    pub name: Vec<u8>,
    /// Its format, for the extension.
    pub format: Option<Vec<u8>>,
    /// Zeros in front of the name.
    pub gap: u32,
    /// Bytes of the file.
    pub len: u32,
    /// What it holds.
    pub fill: Fill,
}

/// A whole mapping of guest offsets.
#[derive(Clone, Debug, Default)]
pub struct TreePlan {
    /// Entries of the L1 table.
    pub l1_size: u32,
    /// The L2 table, by its index in the pool, of each L1 entry that has one.
    pub l1: BTreeMap<u64, usize>,
}

/// An L2 table: each entry that is not zero, by its index.
#[derive(Clone, Debug, Default)]
pub struct TablePlan {
    /// The entries.
    pub entries: BTreeMap<u64, EntryPlan>,
}

/// An L2 entry, with indices in the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPlan {
    /// Zeros without a host cluster. Not with subclusters, nor in version 2.
    Zero,
    /// Zeros with a host cluster. Not with subclusters, nor in version 2.
    ZeroAllocated(usize),
    /// A host cluster.
    Data(usize),
    /// A compressed stream.
    Compressed(usize),
    /// Subclusters: which lie in the host cluster, and which read as zeros.
    Subclusters {
        /// The host cluster.
        cluster: Option<usize>,
        /// One bit for each subcluster that lies in it.
        allocated: u32,
        /// One bit for each that reads as zeros.
        zero: u32,
    },
}

/// A compressed cluster.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlan {
    /// What it decompresses to.
    pub fill: Fill,
    /// How it is compressed: which of the equivalent forms.
    pub style: u8,
    /// Whether it starts in a host cluster of its own.
    pub apart: bool,
    /// Bytes left free in front of it otherwise.
    pub skip: u16,
}

/// An internal snapshot.
#[derive(Clone, Debug, Default)]
pub struct SnapshotPlan {
    /// The id.
    pub id: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
    /// When it was taken: seconds since 1970.
    pub date_sec: u32,
    /// When it was taken: nanoseconds of that second.
    pub date_nsec: u32,
    /// How long the guest had run.
    pub vm_clock_nsec: u64,
    /// Bytes of VM state.
    pub vm_state_size: u64,
    /// Bytes of the disk; written with 16 bytes of extra data or more.
    pub disk_size: u64,
    /// The instruction count; written with 24 bytes of extra data or more.
    pub icount: u64,
    /// Bytes of extra data.
    pub extra_len: u32,
    /// What it maps.
    pub tree: TreePlan,
    /// Whether tables that only this snapshot uses have the COPIED flag, which means nothing there.
    pub stale_copied: bool,
}

/// A persistent bitmap.
#[derive(Clone, Debug)]
pub struct BitmapPlan {
    /// The name.
    pub name: Vec<u8>,
    /// The binary logarithm of the guest bytes that one bit stands for.
    pub granularity_bits: u8,
    /// The flags.
    pub flags: BitmapFlags,
    /// The table.
    pub table: Vec<BitmapCluster>,
}

/// One cluster of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapCluster {
    /// All bits are 0.
    Zeroes,
    /// All bits are 1.
    Ones,
    /// The bits are in the file; those behind the end of the disk are written as 0.
    Serialized(Fill),
}

/// Where in the file everything goes.
#[derive(Clone, Debug, Default)]
pub struct LayoutPlan {
    /// Whether the refcount table and its blocks come right behind the header, or at the end.
    pub refcounts_first: bool,
    /// Which of the other parts comes first; the order turns.
    pub rotate: usize,
    /// A free cluster in front of each so-many-th structure; none with 0.
    pub gap_every: u32,
    /// Clusters of the refcount table beyond those that are needed.
    pub spare_refcount_table_clusters: u32,
    /// Free clusters at the end.
    pub tail_clusters: u32,
    /// Whether the file ends right behind the last structure, which need not fill its cluster.
    pub trim: bool,
}

impl Plan {
    /// An empty image.
    pub fn new(cluster_bits: u32, size: u64) -> Self {
        let mut plan = Self {
            cluster_bits,
            size,
            v3: Some(Version3::default()),
            backing: None,
            feature_names: 0,
            unknown_extensions: Vec::new(),
            end_marker: true,
            active: TreePlan::default(),
            snapshots: Vec::new(),
            tables: Vec::new(),
            clusters: Vec::new(),
            streams: Vec::new(),
            bitmaps: Vec::new(),
            layout: LayoutPlan::default(),
        };
        let entries = plan.geometry().l1_entries_for(size);
        plan.active.l1_size = u32::try_from(entries).unwrap_or(u32::MAX);
        plan
    }

    /// How guest offsets split.
    #[expect(
        clippy::unwrap_used,
        clippy::missing_panics_doc,
        reason = "a plan without geometry cannot be written"
    )]
    pub fn geometry(&self) -> Geometry {
        Geometry::new(self.cluster_bits, self.v3.as_ref().is_some_and(|v3| v3.extended_l2)).unwrap()
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> usize {
        to_usize(self.geometry().cluster_size())
    }

    /// The binary logarithm of the width of a refcount.
    pub fn refcount_order(&self) -> u32 {
        self.v3.as_ref().map_or(4, |v3| v3.refcount_order)
    }

    /// The greatest refcount.
    pub fn refcount_max(&self) -> u64 {
        u64::MAX >> (64 - (1 << self.refcount_order()))
    }

    /// The external data file.
    pub fn data_file(&self) -> Option<&DataFile> {
        self.v3.as_ref()?.data_file.as_ref()
    }

    /// Whether compressed streams are Zstandard frames.
    pub fn zstd(&self) -> bool {
        self.v3.as_ref().is_some_and(|v3| v3.zstd)
    }

    /// The active tree, and each snapshot's.
    pub fn trees(&self) -> impl Iterator<Item = &TreePlan> {
        std::iter::once(&self.active).chain(self.snapshots.iter().map(|snapshot| &snapshot.tree))
    }
}

impl Default for Version3 {
    fn default() -> Self {
        Self {
            header_length: 112,
            refcount_order: 4,
            extended_l2: false,
            zstd: false,
            dirty: false,
            lazy_refcounts: false,
            more_compatible: 0,
            more_autoclear: 0,
            data_file: None,
        }
    }
}

impl Backing {
    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.fill.bytes(to_usize(self.len.into()))
    }
}

impl EntryPlan {
    /// The host cluster.
    pub const fn cluster(self) -> Option<usize> {
        match self {
            Self::ZeroAllocated(cluster) | Self::Data(cluster) => Some(cluster),
            Self::Subclusters { cluster, .. } => cluster,
            Self::Zero | Self::Compressed(_) => None,
        }
    }
}
