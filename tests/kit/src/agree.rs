//! Making refcounts agree with whatever an image was made to say, so that counting alone finds nothing.

use qcow2_inspect::format::header::field::L1_SIZE;
use qcow2_inspect::format::mapping::{L1Entry, L2Entry};
use qcow2_inspect::references::count;
use qcow2_inspect::units::to_u64;

use super::Draft;

const COPIED: u64 = 1 << 63;

#[expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a draft without clusters is a mistake in the test"
)]
impl Draft {
    /// Writes the references that there are as refcounts, and sets bit 63 in the active tables accordingly.
    pub fn agree(&mut self) {
        let counts = count(&self.image()).unwrap();
        let clusters = to_u64(self.bytes.len()).div_ceil(self.cluster_size());
        self.set_refcounts(0, clusters, 0);
        for &(cluster, count) in &counts {
            self.set_refcounts(cluster, 1, count);
        }
        let is_single = |at: u64, size: u64| counts.binary_search(&(at / size, 1)).is_ok();
        let (size, geometry) = (self.cluster_size(), self.image().geometry().unwrap());
        for index in 0..self.header(L1_SIZE) {
            let entry_at = self.l1_entry(index);
            let table = L1Entry(self.get(entry_at, 8)).l2_offset().0;
            if table == 0 {
                continue;
            }
            self.put_u64(entry_at, if is_single(table, size) { table | COPIED } else { table });
            for n in 0..geometry.l2_entry_count() {
                let at = table + n * geometry.l2_entry_len();
                let entry = L2Entry(self.get(at, 8));
                let host = entry.standard_offset().0;
                if !entry.is_compressed() && host != 0 {
                    self.put_u64(
                        at,
                        if is_single(host, size) { entry.0 | COPIED } else { entry.0 & !COPIED },
                    );
                }
            }
        }
    }
}
