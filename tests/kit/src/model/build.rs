//! From the model to a plan: header, other files and bitmaps, and how large everything may be.

use qcow2_inspect::format::bitmap::BitmapFlags;
use qcow2_inspect::format::extension;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::units::{to_u64, to_usize};

use super::trees::{Budget, Trees, text_name};
use super::{Backing, Bitmap, Cell, Extension, Files, Model, Size};
use crate::writer::{self, BitmapCluster, BitmapPlan, DataFile, Fill, LayoutPlan, Plan, Version3};

/// Names of other files: each is the name of a file that can be made.
const NAMES: [&str; 4] = ["base.raw", "b", "\u{fc}ber all.img", "a-name-that-is-a-little-longer.raw"];
/// Clusters of a bitmap at most.
const MAX_BITMAP_CLUSTERS: u64 = 6;
impl Model {
    /// The description of the image for the writer.
    pub fn plan(&self) -> Plan {
        let v3 = self.v3();
        let cluster_bits = self.chosen_cluster_bits(v3.as_ref());
        let mut plan = Plan::new(cluster_bits, 0);
        plan.v3 = v3;
        plan.layout = self.layout();
        plan.backing = match self.files {
            Files::Backing(backing) | Files::DataAndBacking { backing, .. } => Some(backing.plan()),
            _ => None,
        };
        let mut budget = Budget::new(cluster_bits);
        let has_snapshots = plan.data_file().is_none() && cluster_bits < 17;
        plan.size = self.chosen_size(&plan, if has_snapshots { 128 } else { 1024 });
        if plan.v3.is_some() && plan.size > 0 {
            let bitmaps = (0..).zip(&self.bitmaps).filter(|(_, bitmap)| bitmap.present);
            plan.bitmaps = bitmaps.filter_map(|(n, bitmap)| bitmap.plan(n, &plan, &mut budget)).collect();
        }
        Trees::new(self, &mut plan, &mut budget).build(if has_snapshots { &self.snapshots } else { &[] });
        self.fill_head(&mut plan);
        plan
    }

    /// Mostly the smallest clusters, in which little space has every depth.
    fn chosen_cluster_bits(&self, v3: Option<&Version3>) -> u32 {
        let choice = u32::from(self.cluster_bits);
        let bits = match choice {
            0..176 => 9,
            176..208 => 10 + choice % 4,
            208..242 => 13 + choice % 4,
            _ => 17 + choice % 5,
        };
        if v3.is_some_and(|v3| v3.extended_l2) { bits.max(14 + choice % 2) } else { bits }
    }

    fn v3(&self) -> Option<Version3> {
        if self.version_2 >= 208 {
            return None;
        }
        let [choice, bit] = self.more_features.to_be_bytes();
        let data_file = match self.files {
            Files::Data { name, raw } => Some(DataFile { name: file_name(name, "data "), raw }),
            Files::DataAndBacking { name, .. } => {
                Some(DataFile { name: file_name(name, "data "), raw: false })
            }
            _ => None,
        };
        // An image with an external data file has no compressed clusters, but may name a way to make them.
        let zstd = self.zstd;
        let header_length = match self.header_length {
            0..96 => 112,
            96..176 if !zstd => 104,
            length => 112 + u32::from(length % 8) * 8,
        };
        Some(Version3 {
            header_length,
            refcount_order: u32::from(self.refcount_order % 7),
            extended_l2: self.extended_l2 >= 208,
            zstd,
            dirty: self.dirty,
            lazy_refcounts: self.lazy_refcounts,
            more_compatible: if choice >= 224 { 1 << (1 + bit % 63) } else { 0 },
            more_autoclear: if choice >= 240 { 1 << (2 + bit % 62) } else { 0 },
            data_file,
        })
    }

    fn layout(&self) -> LayoutPlan {
        LayoutPlan {
            refcounts_first: self.refcounts_first,
            rotate: usize::from(self.rotate % 6),
            gap_every: if self.gap_every >= 192 { u32::from(self.gap_every % 8) } else { 0 },
            spare_refcount_table_clusters: u32::from(self.spare_refcount_table_clusters >= 224),
            tail_clusters: u32::from(self.tail_clusters.saturating_sub(250)),
            trim: self.trim,
        }
    }

    /// Bytes of the disk: what `max_l1` L1 entries can map at most.
    fn chosen_size(&self, plan: &Plan, max_l1: u64) -> u64 {
        let geometry = plan.geometry();
        let wanted = match self.size {
            Size::Clusters(count) => (1 + u64::from(count)) * geometry.cluster_size(),
            // A disk that ends within a sector is rare, and has no bitmaps: how many bits those have is then a
            // matter of opinion.
            Size::Bytes(bytes) => {
                let has_bitmaps = plan.v3.is_some() && self.bitmaps.iter().any(|bitmap| bitmap.present);
                let unit = if bytes.is_multiple_of(2) || has_bitmaps { 512 } else { 1 };
                u64::from(bytes % (4 << 20)).next_multiple_of(unit)
            }
            Size::Tables(count) => u64::from(1 + count % 8) * geometry.l2_coverage(),
            Size::Log2(bits) => 512 << (bits % 52),
            Size::Zero => 0,
        };
        // The data file has the size of the disk, and not every file system has room for it.
        let most = if plan.data_file().is_some() { 1 << 40 } else { u64::MAX };
        wanted.min(max_l1 * geometry.l2_coverage()).min(most)
    }

    /// Adds what the first cluster has room for.
    fn fill_head(&self, plan: &mut Plan) {
        plan.feature_names = usize::from(self.feature_names % 9);
        for extension in self.unknown_extensions.iter().filter(|extension| extension.present) {
            let (magic, data) = extension.plan();
            if plan.unknown_extensions.iter().all(|(other, _)| *other != magic) {
                plan.unknown_extensions.push((magic, data));
            }
        }
        loop {
            plan.end_marker = self.end_marker || !ends_without_marker(plan);
            if plan.head_len() <= plan.cluster_size() {
                break;
            }
            if plan.unknown_extensions.pop().is_none() {
                plan.feature_names -= 1;
            }
        }
    }
}

/// Whether something else ends the extensions: the backing file's name right behind them, or the cluster.
fn ends_without_marker(plan: &mut Plan) -> bool {
    plan.end_marker = false;
    match &plan.backing {
        Some(backing) => backing.gap == 0,
        None => plan.head_len() == plan.cluster_size(),
    }
}

impl Backing {
    fn plan(&self) -> writer::Backing {
        writer::Backing {
            name: file_name(self.name, ""),
            format: Some(b"raw".to_vec()),
            gap: if self.gap >= 192 { u32::from(self.gap % 16) } else { 0 },
            len: self.len.into(),
            fill: Fill(self.fill),
        }
    }
}

impl Extension {
    fn plan(&self) -> (Magic, Vec<u8>) {
        let known = extension::name(Magic(self.magic)).is_some();
        let magic = if known { Magic(self.magic ^ 1 << 31) } else { Magic(self.magic) };
        (magic, Fill(self.fill).bytes(usize::from(self.len % 40)))
    }
}

impl Bitmap {
    /// `None` where there is no room for it.
    fn plan(&self, index: u64, plan: &Plan, budget: &mut Budget) -> Option<BitmapPlan> {
        let bits_per_cluster = to_u64(plan.cluster_size()) * 8;
        let clusters = |bits: u8| plan.size.div_ceil(1 << bits).div_ceil(bits_per_cluster);
        let smallest = 9 + self.granularity % 23;
        let granularity_bits = (smallest..=31).find(|bits| clusters(*bits) <= MAX_BITMAP_CLUSTERS)?;
        let cells = self.cells.iter().cycle().take(to_usize(clusters(granularity_bits)));
        let table: Vec<BitmapCluster> = cells.map(Cell::plan).collect();
        let stored = table.iter().filter(|cell| matches!(cell, BitmapCluster::Serialized(_))).count();
        if !budget.take(2 + u32::try_from(stored).ok()?) {
            return None;
        }
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let in_use = flag(self.in_use >= 208, BitmapFlags::IN_USE);
        let flags = BitmapFlags(in_use | flag(self.auto, BitmapFlags::AUTO));
        Some(BitmapPlan { name: text_name(self.name, index), granularity_bits, flags, table })
    }
}

impl Cell {
    fn plan(&self) -> BitmapCluster {
        match *self {
            Self::Zeroes => BitmapCluster::Zeroes,
            Self::Ones => BitmapCluster::Ones,
            Self::Serialized(fill) => BitmapCluster::Serialized(Fill(fill)),
        }
    }
}

fn file_name(choice: u8, prefix: &str) -> Vec<u8> {
    let name = NAMES.iter().cycle().nth(choice.into()).unwrap_or(&"b");
    format!("{prefix}{name}").into_bytes()
}
