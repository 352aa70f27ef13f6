//! From the model to a plan: what is mapped, now and in the snapshots.
#![expect(clippy::indexing_slicing, reason = "every index comes from the pool itself")]

use qcow2_inspect::units::Geometry;

use super::{Kind, Model, Relation, Snapshot, Write};
use crate::writer::{EntryPlan, Fill, Plan, SnapshotPlan, StreamPlan, TablePlan, TreePlan};

/// L1 entries that the VM state of a snapshot may take.
const MAX_VM_STATE_ENTRIES: u64 = 160;

/// Bytes of the file that L2 tables, guest data and bitmaps may take, roughly.
const BUDGET: u32 = 64 << 10;

/// Clusters that may still be used.
pub(super) struct Budget(u32);

impl Budget {
    pub(super) fn new(cluster_bits: u32) -> Self {
        Self((BUDGET >> cluster_bits).clamp(6, 100))
    }

    /// Whether there are so many, which are then taken.
    pub(super) fn take(&mut self, clusters: u32) -> bool {
        let left = self.0.checked_sub(clusters);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Puts the trees of a plan together.
pub(super) struct Trees<'m> {
    model: &'m Model,
    plan: &'m mut Plan,
    budget: &'m mut Budget,
    geometry: Geometry,
    /// L1 entries that the disk needs; the next one is the first for VM state.
    disk_l1: u64,
    /// Whether a refcount can count all trees.
    can_share: bool,
}

impl<'m> Trees<'m> {
    pub(super) fn new(model: &'m Model, plan: &'m mut Plan, budget: &'m mut Budget) -> Self {
        let geometry = plan.geometry();
        let disk_l1 = geometry.l1_entries_for(plan.size);
        Self { model, plan, budget, geometry, disk_l1, can_share: false }
    }

    /// Adds the active tree and those of the snapshots.
    pub(super) fn build(mut self, snapshots: &[Snapshot]) {
        let spare = u64::from(self.model.spare_l1_entries.saturating_sub(240));
        self.plan.active.l1_size = narrow(self.disk_l1 + spare);
        for write in &self.model.writes {
            self.write(write);
        }
        let snapshots: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| snapshot.present).collect();
        self.can_share = u64::try_from(snapshots.len()).is_ok_and(|count| count < self.plan.refcount_max());
        for (index, snapshot) in (0..).zip(snapshots) {
            // Its entry of the snapshot table, and its L1 table.
            if self.budget.take(2) {
                let plan = self.snapshot(index, snapshot);
                self.plan.snapshots.push(plan);
            }
        }
        if self.model.restored_vm_state && self.can_share {
            self.restore_vm_state();
        }
    }

    /// Adds an entry to the active tree.
    fn write(&mut self, write: &Write) {
        if self.disk_l1 == 0 {
            return;
        }
        let l1_index = scale((write.table % 4) * 85, self.disk_l1);
        let per_table = self.geometry.l2_entry_count();
        let clusters = self.geometry.clusters_for(self.plan.size) - l1_index * per_table;
        let l2_index = scale(write.slot, clusters.min(per_table));
        let taken = self.plan.active.l1.get(&l1_index).copied();
        if taken.is_some_and(|table| self.plan.tables[table].entries.contains_key(&l2_index)) {
            return;
        }
        if taken.is_none() && !self.budget.take(1) {
            return;
        }
        if let Some(entry) = self.entry(write.kind, l1_index == 0 && l2_index == 0) {
            let table = taken.unwrap_or_else(|| self.add_table(TablePlan::default()));
            self.plan.active.l1.insert(l1_index, table);
            self.plan.tables[table].entries.insert(l2_index, entry);
        }
    }

    /// An entry of this kind, or of one that the image can have. `first`: for the disk's first cluster.
    fn entry(&mut self, kind: Kind, first: bool) -> Option<EntryPlan> {
        let external = self.plan.data_file().is_some();
        let extended = self.geometry.extended_l2();
        match kind {
            Kind::Nothing => None,
            Kind::Compressed { fill, style, apart, skip } if !external => {
                // The stream may pass into one more cluster.
                if !self.budget.take(1) {
                    return None;
                }
                let (fill, apart, skip) = (Fill(fill), apart >= 208, u16::from(skip).saturating_sub(128));
                self.plan.streams.push(StreamPlan { fill, style, apart, skip });
                Some(EntryPlan::Compressed(self.plan.streams.len() - 1))
            }
            Kind::Zero if extended => {
                Some(EntryPlan::Subclusters { cluster: None, allocated: 0, zero: u32::MAX })
            }
            Kind::ZeroAllocated(fill) if extended => {
                let cluster = Some(self.add_cluster(fill)?);
                Some(EntryPlan::Subclusters { cluster, allocated: 0, zero: u32::MAX })
            }
            Kind::Subclusters { fill, host, allocated, zero } if extended => {
                let cluster = if host { Some(self.add_cluster(fill)?) } else { None };
                let allocated = if host { allocated } else { 0 };
                Some(EntryPlan::Subclusters { cluster, allocated, zero: zero & !allocated })
            }
            Kind::Data(fill) | Kind::Compressed { fill, .. } if extended => {
                let cluster = Some(self.add_cluster(fill)?);
                Some(EntryPlan::Subclusters { cluster, allocated: u32::MAX, zero: 0 })
            }
            Kind::Zero => self.plan.v3.is_some().then_some(EntryPlan::Zero),
            // Offset 0 of an external data file does not count as a host cluster under the zero flag.
            Kind::ZeroAllocated(_) if external && first => Some(EntryPlan::Zero),
            Kind::ZeroAllocated(fill) if self.plan.v3.is_some() => {
                Some(EntryPlan::ZeroAllocated(self.add_cluster(fill)?))
            }
            Kind::Data(fill)
            | Kind::ZeroAllocated(fill)
            | Kind::Compressed { fill, .. }
            | Kind::Subclusters { fill, .. } => Some(EntryPlan::Data(self.add_cluster(fill)?)),
        }
    }

    fn add_table(&mut self, table: TablePlan) -> usize {
        self.plan.tables.push(table);
        self.plan.tables.len() - 1
    }

    fn add_cluster(&mut self, fill: u16) -> Option<usize> {
        self.budget.take(1).then(|| {
            self.plan.clusters.push(Fill(fill));
            self.plan.clusters.len() - 1
        })
    }

    fn snapshot(&mut self, index: u64, model: &Snapshot) -> SnapshotPlan {
        let mut tree = TreePlan::default();
        let active: Vec<(u64, usize)> = self.plan.active.l1.iter().map(|(l1, table)| (*l1, *table)).collect();
        for ((l1_index, table), relation) in active.into_iter().zip(model.relations) {
            if let Some(table) = self.related(table, relation) {
                tree.l1.insert(l1_index, table);
            }
        }
        let version_2 = self.plan.v3.is_none();
        let extra_len = match model.extra_len {
            0..128 => 24,
            128..160 if version_2 => 0,
            160..176 if version_2 => 8,
            128..208 => 16,
            len => 24 + u32::from(len - 208) % 40,
        };
        let most = MAX_VM_STATE_ENTRIES * self.geometry.l2_coverage();
        let vm_state = match u64::from(model.vm_state) {
            0..112 => 0,
            few @ 112..176 => (few - 111) * 1000,
            // More than 32 bits can say.
            huge @ 232.. => (huge - 228) << 30,
            many => (1 << (many % 32)) + many,
        };
        let vm_state_size = vm_state.min(most).min(if extra_len < 8 { u32::MAX.into() } else { u64::MAX });
        let vm_entries = self.geometry.l1_entries_for(vm_state_size);
        if let Some(fill) = model.vm_data
            && vm_entries > 0
            && self.budget.take(1)
            && let Some(entry) = self.entry(Kind::Data(fill), false)
        {
            let table = self.add_table(TablePlan { entries: [(0, entry)].into() });
            tree.l1.insert(self.disk_l1, table);
        }
        let disk_size = match model.smaller_disk {
            208.. if vm_entries == 0 => self.smallest_disk(&tree),
            _ => self.plan.size,
        };
        tree.l1_size = narrow(self.disk_l1 + vm_entries);
        let icount = if model.icount >> 62 == 0 { u64::MAX } else { model.icount };
        SnapshotPlan {
            id: (u64::from(model.id) * 4 + index).to_string().into_bytes(),
            name: text_name(model.name, index),
            date_sec: model.date_sec,
            date_nsec: model.date_nsec % 1_000_000_000,
            vm_clock_nsec: model.vm_clock_nsec,
            vm_state_size,
            // What an entry without the field means by that.
            disk_size: if extra_len < 16 { self.plan.size } else { disk_size },
            icount,
            extra_len,
            tree,
            stale_copied: model.stale_copied,
        }
    }

    /// The snapshot's L2 table where the active tree has this one.
    fn related(&mut self, table: usize, relation: Relation) -> Option<usize> {
        let old = self.plan.tables[table].clone();
        let (changed, fill) = match relation {
            Relation::Absent => return None,
            Relation::Shared if self.can_share => return Some(table),
            Relation::Shared => (u16::MAX, 0),
            Relation::Copied { changed, fill } => (if self.can_share { changed } else { u16::MAX }, fill),
            Relation::Own(fill) => (u16::MAX, fill),
        };
        if !self.budget.take(1) {
            return None;
        }
        let mut new = TablePlan::default();
        for (n, (l2_index, entry)) in (0_u16..).zip(old.entries) {
            let entry = match changed >> (n % 16) & 1 {
                0 => Some(entry),
                _ => self.entry(Kind::Data(fill.wrapping_add(n)), false),
            };
            new.entries.extend(entry.map(|entry| (l2_index, entry)));
        }
        Some(self.add_table(new))
    }

    /// Bytes of the smallest disk that a tree makes sense for.
    fn smallest_disk(&self, tree: &TreePlan) -> u64 {
        let last = tree.l1.iter().filter_map(|(l1_index, table)| {
            let (l2_index, _) = self.plan.tables[*table].entries.last_key_value()?;
            self.geometry.guest_offset(*l1_index, *l2_index)
        });
        last.max().map_or(0, |at| at.0).saturating_add(512).min(self.plan.size)
    }

    /// Lets the active tree have the VM state of a snapshot, as after going back to it.
    fn restore_vm_state(&mut self) {
        let with_state =
            self.plan.snapshots.iter().find(|snapshot| snapshot.tree.l1.contains_key(&self.disk_l1));
        if let Some(snapshot) = with_state {
            let table = snapshot.tree.l1[&self.disk_l1];
            self.plan.active.l1_size = self.plan.active.l1_size.max(snapshot.tree.l1_size);
            self.plan.active.l1.insert(self.disk_l1, table);
        }
    }
}

/// Where 0 to 255 stand for the first to the last of `count`.
fn scale(choice: u8, count: u64) -> u64 {
    (u128::from(choice) * u128::from(count.saturating_sub(1)) / 255).try_into().unwrap_or_default()
}

fn narrow(entries: u64) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

/// A name that no other index gives.
pub(super) fn text_name(choice: u8, index: u64) -> Vec<u8> {
    let stem = match choice % 4 {
        0 => "s",
        1 => "before upgrade ",
        2 => "\u{3a9}-\u{1f4be}-",
        _ => "nightly",
    };
    let repeated = stem.repeat(1 + usize::from(choice / 64));
    format!("{repeated}{index}").into_bytes()
}
