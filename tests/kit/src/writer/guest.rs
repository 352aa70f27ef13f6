//! What the guest reads.

use qcow2_inspect::units::{to_u64, to_usize};

use super::{EntryPlan, Plan, TreePlan};

impl Plan {
    /// What the guest reads, the whole disk, from the backing file's bytes where the image has none.
    pub fn guest(&self, tree: &TreePlan) -> Vec<u8> {
        let backing = self.backing.as_ref().map(super::Backing::bytes).unwrap_or_default();
        let mut disk = vec![0; to_usize(self.size)];
        for (index, out) in (0..).zip(disk.chunks_mut(self.cluster_size())) {
            let start = to_usize(index * to_u64(self.cluster_size()));
            let below = backing.get(start..).unwrap_or_default();
            out.iter_mut().zip(below).for_each(|(to, from)| *to = *from);
            self.read_cluster(tree, index, out);
        }
        disk
    }

    /// The entry of a guest cluster.
    pub fn entry(&self, tree: &TreePlan, index: u64) -> Option<EntryPlan> {
        let per_table = self.geometry().l2_entry_count();
        let table = *tree.l1.get(&(index / per_table))?;
        self.tables[table].entries.get(&(index % per_table)).copied()
    }

    /// Reads a guest cluster over `out`, which holds what the backing file has.
    fn read_cluster(&self, tree: &TreePlan, index: u64, out: &mut [u8]) {
        let cluster_size = self.cluster_size();
        match self.entry(tree, index) {
            None => {}
            Some(EntryPlan::Zero | EntryPlan::ZeroAllocated(_)) => out.fill(0),
            Some(EntryPlan::Data(cluster)) => copy(out, &self.clusters[cluster].bytes(cluster_size)),
            Some(EntryPlan::Compressed(stream)) => copy(out, &self.streams[stream].fill.bytes(cluster_size)),
            Some(EntryPlan::Subclusters { cluster, allocated, zero }) => {
                let content = cluster.map(|cluster| self.clusters[cluster].bytes(cluster_size));
                let len = cluster_size / 32;
                for (n, part) in out.chunks_mut(len).enumerate() {
                    match &content {
                        Some(content) if allocated >> n & 1 == 1 => copy(part, &content[n * len..]),
                        _ if zero >> n & 1 == 1 => part.fill(0),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The clusters of the external data file that hold something, each with its offset.
    pub fn data_file_clusters(&self) -> Vec<(u64, Vec<u8>)> {
        let per_table = self.geometry().l2_entry_count();
        let mut clusters = Vec::new();
        for (l1_index, table) in self.data_file().into_iter().flat_map(|_| &self.active.l1) {
            for (l2_index, entry) in &self.tables[*table].entries {
                let index = l1_index * per_table + l2_index;
                if entry.cluster().is_some() {
                    // What is not allocated has to read as zeros where the file is raw.
                    let mut bytes = vec![0; self.cluster_size()];
                    self.read_cluster(&self.active, index, &mut bytes);
                    clusters.push((index * to_u64(self.cluster_size()), bytes));
                }
            }
        }
        clusters
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
