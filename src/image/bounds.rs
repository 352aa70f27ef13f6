//! When a structure counts as lying behind the end of the file.

use super::Image;
use crate::source::ReadAt;
use crate::units::{Geometry, SECTOR, Span};

/// Whether a table passes the end of a file of `file_len` bytes. QEMU writes every table whole, and reads zeros where
/// one is cut: what it maps is lost without a word.
pub fn is_cut(file_len: u64, table: Span) -> bool {
    table.len != 0 && table.end().0 > file_len
}

/// Whether `span` passes the end of a file of `file_len` bytes by a cluster or more, where QEMU's check calls
/// it a corruption. Of data, less is normal: QEMU does not fill up the last cluster, and reads zeros there. The
/// file's length counts in whole sectors (block/qcow2-refcount.c, `inc_refcounts`).
pub fn ends_past_file(file_len: u64, span: Span, geometry: Geometry) -> bool {
    span.end().0.saturating_sub(sector_end(file_len)) >= geometry.cluster_size()
}

/// Where a file ends in whole sectors, as QEMU's check counts: a cluster that starts there or behind is not there.
pub fn sector_end(file_len: u64) -> u64 {
    file_len.div_ceil(SECTOR).saturating_mul(SECTOR)
}

impl<R: ReadAt> Image<R> {
    /// An end that no sound file of this image reaches, however much of it was cut off: twice what is there and what each
    /// tree could need. An entry that leads further is no entry.
    pub fn sound_end(&self) -> u64 {
        let header = &self.header.v2;
        let trees = u64::from(header.nb_snapshots).saturating_add(1);
        self.file_len().saturating_add(header.size.0).saturating_mul(trees).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::HostOffset;

    /// The boundary that qemu-img 10.0.2 showed: an 8-byte L1 table at 0x80000 in clusters of 64 KiB.
    #[test]
    fn the_boundary_is_qemus() {
        let geometry = Geometry::new(16, false).unwrap();
        let table = Span::new(HostOffset(0x8_0000), 8);
        assert!(!ends_past_file(0x7_0001, table, geometry));
        assert!(ends_past_file(0x6_fe00, table, geometry));
        let cluster = Span::new(HostOffset(0x8_0000), 0x1_0000);
        assert!(ends_past_file(0x8_0000, cluster, geometry));
        assert!(!ends_past_file(0x8_0001, cluster, geometry));
    }
}
