//! The images that are damaged: most are written by the kit, which is fast, and the others by QEMU.

use qcow2_inspect::units::{to_u64, to_usize};
use qcow2_testkit::Rng;
use qcow2_testkit::writer::{EntryPlan, Fill, Plan, SnapshotPlan, StreamPlan, TablePlan, TreePlan, Version3};

use super::older;
use super::places::{Place, places};
use super::truth::{Reader, bytes};

/// A sound image.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) file: Vec<u8>,
    pub(crate) places: Vec<Place>,
    /// What it is, for people.
    pub(crate) told: String,
    /// The file as it was after each step that led to it, where that is known.
    history: Vec<Vec<u8>>,
}

impl Base {
    pub(crate) fn new(file: Vec<u8>, told: String, history: Vec<Vec<u8>>) -> Self {
        let places = places(&file, &Reader::open(&file).unwrap());
        Self { file, places, told, history }
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::open(&self.file).unwrap()
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        self.reader().cluster_size()
    }

    /// What stood in these bytes of a place some writes before; `None` where nothing else did.
    pub(crate) fn older(&self, place: &Place, at: u64, len: u64, rng: &mut Rng) -> Option<Vec<u8>> {
        let now = bytes(&self.file, at, len);
        if self.history.is_empty() {
            let was = older::cluster(self, place, rng)?;
            let was = bytes(&was, at - place.at, len);
            return (was != now).then_some(was);
        }
        let versions = self.history.iter().map(|file| bytes(file, at, len));
        let mut others: Vec<Vec<u8>> =
            versions.filter(|was| *was != now && was.iter().any(|byte| *byte != 0)).collect();
        let any = to_usize(rng.below(to_u64(others.len())));
        (any < others.len()).then(|| others.swap_remove(any))
    }
}

/// An image that the kit writes, and its description.
pub(crate) fn written(rng: &mut Rng) -> (Base, Plan) {
    let plan = Draw { rng, fills: 0, room: 0 }.plan();
    let told = format!(
        "kit: clusters of {}{}{}{}, {} L1 entries, {} snapshots, refcounts of {} bits, disk of {} bytes",
        plan.cluster_size(),
        if plan.geometry().extended_l2() { ", extended L2" } else { "" },
        if plan.v3.is_none() { ", version 2" } else { "" },
        if plan.streams.is_empty() { "" } else { ", compressed" },
        plan.active.l1_size,
        plan.snapshots.len(),
        1 << plan.refcount_order(),
        plan.size
    );
    (Base::new(plan.write().bytes, told, Vec::new()), plan)
}

/// Draws what is in an image.
struct Draw<'r> {
    rng: &'r mut Rng,
    fills: u16,
    /// Clusters of guest data that there is still room for.
    room: u64,
}

impl Draw<'_> {
    fn is_one_in(&mut self, count: u64) -> bool {
        self.rng.below(count) == 0
    }

    fn plan(mut self) -> Plan {
        let bits = match self.rng.below(100) {
            0..34 => 9,
            34..46 => 10,
            46..54 => 11,
            54..66 => 12,
            66..78 => 14,
            78..94 => 16,
            94..98 => 18,
            _ => 21,
        };
        let is_extended = bits >= 14 && self.is_one_in(3);
        let mut plan = Plan::new(bits, 0);
        plan.v3 = (is_extended || !self.is_one_in(8)).then(|| Version3 {
            refcount_order: if self.is_one_in(3) { self.rng.below(7).try_into().unwrap() } else { 4 },
            extended_l2: is_extended,
            zstd: self.is_one_in(3),
            ..Version3::default()
        });
        let (geometry, cluster_size) = (plan.geometry(), to_u64(plan.cluster_size()));
        let clusters = match bits {
            9..=11 => (1 + self.rng.below(6)) * geometry.l2_entry_count() - self.rng.below(20),
            12 => geometry.l2_entry_count() * (1 + self.rng.below(3)) - self.rng.below(200),
            14..=16 => 16 + self.rng.below(120),
            _ => 4 + self.rng.below(12),
        };
        plan.size = clusters * cluster_size - self.rng.below(3) * 512 % cluster_size;
        plan.active.l1_size = geometry.l1_entries_for(plan.size).try_into().unwrap();
        self.room = match bits {
            9..=12 => 400,
            14 => 120,
            16 => 40,
            18 => 12,
            _ => 4,
        };
        // Streams that share a cluster take a reference each, for which narrow refcounts have no room.
        let is_compressed = plan.refcount_order() >= 4 && self.is_one_in(3);
        let density = 1 + self.rng.below(10);
        for index in 0..u64::from(plan.active.l1_size) {
            // A table in most places; one that is left out has no entry.
            if plan.active.l1_size > 2 && self.is_one_in(6) {
                continue;
            }
            let mut table = TablePlan::default();
            let here =
                clusters.saturating_sub(index * geometry.l2_entry_count()).min(geometry.l2_entry_count());
            for entry in 0..here {
                if self.room > 0 && self.rng.below(10) < density {
                    table.entries.insert(entry, self.entry(&mut plan, is_compressed));
                }
            }
            if !table.entries.is_empty() {
                plan.active.l1.insert(index, plan.tables.len());
                plan.tables.push(table);
            }
        }
        let most = [0, 1, 2, 3][to_usize(self.rng.below(4))].min(plan.refcount_max() - 1);
        for number in 0..if bits > 16 { most.min(1) } else { most } {
            let snapshot = self.snapshot(&mut plan, number);
            plan.snapshots.push(snapshot);
        }
        plan.layout.refcounts_first = !self.is_one_in(3);
        plan.layout.rotate = to_usize(self.rng.below(6));
        plan.layout.trim = self.is_one_in(2);
        plan
    }

    fn fill(&mut self, is_noise: bool) -> Fill {
        self.fills += 1;
        // Text in which no two clusters have a sector in common, or noise.
        Fill(self.fills << 2 | if is_noise { 3 } else { 2 })
    }

    fn cluster(&mut self, plan: &mut Plan) -> usize {
        let is_noise = self.is_one_in(2);
        let fill = self.fill(is_noise);
        plan.clusters.push(fill);
        self.room = self.room.saturating_sub(1);
        plan.clusters.len() - 1
    }

    fn entry(&mut self, plan: &mut Plan, is_compressed: bool) -> EntryPlan {
        if is_compressed && self.is_one_in(2) {
            let (fill, style) = (self.fill(false), [0, 2, 3][to_usize(self.rng.below(3))]);
            plan.streams.push(StreamPlan { fill, style, apart: self.is_one_in(8), skip: 0 });
            return EntryPlan::Compressed(plan.streams.len() - 1);
        }
        if plan.geometry().extended_l2() {
            let cluster = Some(self.cluster(plan));
            let [allocated, zero] = match self.rng.below(3) {
                0 => [u32::MAX, 0],
                _ => [0; 2].map(|_| u32::try_from(self.rng.below(1 << 32)).unwrap()),
            };
            return EntryPlan::Subclusters { cluster, allocated, zero: zero & !allocated };
        }
        match self.rng.below(20) {
            0 if plan.v3.is_some() => EntryPlan::Zero,
            1 if plan.v3.is_some() => EntryPlan::ZeroAllocated(self.cluster(plan)),
            _ => EntryPlan::Data(self.cluster(plan)),
        }
    }

    /// A snapshot: what was written since is not in it, or something else is.
    fn snapshot(&mut self, plan: &mut Plan, number: u64) -> SnapshotPlan {
        let mut tree = TreePlan { l1_size: plan.active.l1_size, ..TreePlan::default() };
        for (index, table) in plan.active.l1.clone() {
            match self.rng.below(10) {
                0..3 => _ = tree.l1.insert(index, table),
                3 => {}
                _ => {
                    let now = plan.tables[table].clone();
                    let mut copy = now.clone();
                    let changed = 1 + self.rng.below(4);
                    for entry in now.entries.keys() {
                        match self.rng.below(8) {
                            lot if lot >= changed => {}
                            0 => _ = copy.entries.remove(entry),
                            _ => _ = copy.entries.insert(*entry, self.entry(plan, false)),
                        }
                    }
                    tree.l1.insert(index, plan.tables.len());
                    plan.tables.push(copy);
                }
            }
        }
        SnapshotPlan {
            id: (number + 1).to_string().into_bytes(),
            name: format!("snapshot {}", number + 1).into_bytes(),
            date_sec: 1_700_000_000,
            disk_size: plan.size,
            extra_len: if plan.v3.is_some() { 24 } else { 16 },
            icount: u64::MAX,
            tree,
            ..SnapshotPlan::default()
        }
    }
}
