//! How much work and memory an input may cost.

use qcow2_inspect::units::to_u64;

use super::run::Run;

/// Bytes that may be read of an input of `len` bytes. Each structure is read for its meaning, again for its
/// bytes with `--hex`, and the lists once more for each section that walks along them; a list is read in
/// windows, of which each may be read twice where an entry straddles their border.
pub const fn read_bound(len: u64) -> u64 {
    len.saturating_mul(24).saturating_add(64 << 10)
}

/// Rows that an input of `len` bytes may have: every table of 64-bit entries and every bit of a refcount block
/// may be a row with another before it for entries left out.
pub const fn row_bound(len: u64) -> u64 {
    len.saturating_mul(24).saturating_add(4096)
}

/// Bytes of memory that may be in use at once while an input of `len` bytes is exercised: 8 MiB for the fixed
/// buffers and what the limits bound, and 4 KiB for each byte of the input, which the longest reports need that
/// this kit keeps to compare them. A count that is trusted passes it at once.
pub fn memory_bound(len: usize) -> usize {
    len.saturating_mul(4 << 10).saturating_add(8 << 20)
}

/// # Panics
/// Where a run cost more than its bounds.
pub(super) fn check_bounds(len: usize, run: &Run) {
    let len = to_u64(len);
    assert!(run.bytes_read <= read_bound(len), "{:?} read {} bytes of {len}", run.format, run.bytes_read);
    assert!(run.rows <= row_bound(len), "{:?} wrote {} rows for {len} bytes", run.format, run.rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Format;
    use crate::oracle::planted::report_of;
    use crate::{Draft, Model};
    use qcow2_inspect::format::Layout;
    use qcow2_inspect::format::header::field;
    use qcow2_inspect::format::snapshot::SnapshotHead;
    use qcow2_inspect::units::HostOffset;

    /// A run over an image of 100 bytes that cost so much.
    fn check(bytes_read: u64, rows: u64) {
        let (out, findings) = (Vec::new(), Vec::new());
        let run =
            Run { format: Format::Walk, out, findings, complete: true, bytes_read, rows, overlaps: false };
        check_bounds(100, &run);
    }

    #[test]
    fn what_a_run_may_cost_passes() {
        check(read_bound(100), row_bound(100));
    }

    #[test]
    #[should_panic = "Walk read 67937 bytes of 100"]
    fn a_byte_too_many_is_seen() {
        check(read_bound(100) + 1, 0);
    }

    #[test]
    #[should_panic = "Walk wrote 6497 rows for 100 bytes"]
    fn a_row_too_many_is_seen() {
        check(0, row_bound(100) + 1);
    }

    /// 300 snapshots share an L1 table whose 64 entries share an L2 table: a walk that forgets where it was reads
    /// the L2 table 19,200 times, and passes the bounds.
    #[test]
    fn tables_that_are_shared_are_walked_once() {
        let mut draft = Draft::new(Model::small_from_seed(3).unwrap().write());
        let (l1, l2, table) = (draft.add_clusters(1), draft.add_clusters(1), draft.add_clusters(50));
        (0..64).for_each(|n| draft.put_u64(l1 + n * 8, l2));
        let l1_table_offset = HostOffset(l1);
        let head = SnapshotHead { l1_table_offset, l1_size: 64, extra_data_size: 16, ..Default::default() };
        let entry = [head.encode(), vec![0; 16]].concat();
        draft.put(table, &entry.repeat(300));
        draft.set_header(field::SNAPSHOTS_OFFSET, table);
        draft.set_header(field::NB_SNAPSHOTS, 300);
        let run = report_of(&draft.bytes);
        assert!(run.rows > 600, "{} rows", run.rows);
        check_bounds(draft.bytes.len(), &run);
    }
}
