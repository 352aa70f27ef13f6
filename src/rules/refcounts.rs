//! The refcount table and its blocks by themselves: R01 to R03, R08, R10. Whether the refcounts are right, only
//! counting the references tells.

use crate::Image;
use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::header::field;
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::image::RefcountRun;
use crate::rules::codes::{R01, R02, R03, R08, R10};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

/// Judges refcount table entries and refcounts, each by itself.
#[derive(Clone, Copy, Debug)]
pub struct RefcountRules {
    geometry: Geometry,
    width: Option<RefcountWidth>,
    file_clusters: u64,
}

impl RefcountRules {
    /// The rules for this image; `None` where `cluster_bits` makes no sense, and there are no tables.
    pub fn new<R: ReadAt>(image: &Image<R>) -> Option<Self> {
        let geometry = image.geometry()?;
        let file_clusters = geometry.clusters_for(image.file_len());
        Some(Self { geometry, width: image.refcount_width(), file_clusters })
    }

    /// Judges the refcount table entry with this index, which stands at `at`.
    pub fn table_entry(&self, index: u64, at: HostOffset, entry: RefcountTableEntry, out: &mut Vec<Finding>) {
        if entry.0 == 0 {
            return;
        }
        let finding = |rule: &'static Rule, wanted: String| {
            Finding::new(rule, Structure::RefcountTable, Span::new(at, 8), Evidence::Hex(entry.0), wanted)
        };
        if entry.reserved() != 0 {
            out.push(finding(&R01, format!("zero in the bits {:#x}", entry.reserved())));
        }
        let (block, cluster_size) = (entry.block_offset(), self.geometry.cluster_size());
        if !block.is_aligned(cluster_size) {
            out.push(finding(&R02, format!("a multiple of {cluster_size:#x}")));
        }
        // Not the rule for other tables: QEMU reads a block that lies partly in the file, and says nothing.
        let file_end = self.file_clusters.saturating_mul(cluster_size);
        if block.0 >= file_end {
            out.push(finding(&R03, format!("less than {file_end:#x} for entry {index}")));
        }
    }

    /// R08: judges equal refcounts of the block that starts at `block`.
    pub fn run(&self, block: HostOffset, run: &RefcountRun, out: &mut Vec<Finding>) {
        let behind = run.first_cluster.max(self.file_clusters);
        let inside = behind.saturating_sub(run.first_cluster);
        let count = run.count.saturating_sub(inside);
        let Some(width) = self.width.filter(|_| run.value != 0 && count != 0) else { return };
        let found = format!("{} for cluster {behind}", run.value);
        let wanted = format!("0 from cluster {} on", self.file_clusters);
        let at = width.span(block, run.index.saturating_add(inside), count);
        let mut finding = Finding::new(&R08, Structure::RefcountBlock, at, found, wanted);
        finding.consequences = count;
        out.push(finding);
    }
}

/// R10: whether the refcount table is long enough for the file. One without any clusters is H29.
pub fn check_refcount_table_cover<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let (Some(geometry), Some(width)) = (image.geometry(), image.refcount_width()) else { return };
    let table_clusters = image.header().v2.refcount_table_clusters;
    let wanted = table_clusters_for(geometry.clusters_for(image.file_len()), geometry, width);
    if table_clusters != 0 && u64::from(table_clusters) < wanted {
        let at = image.header().span(field::REFCOUNT_TABLE_CLUSTERS);
        let wanted = format!("at least {wanted}");
        out.push(Finding::new(&R10, Structure::Header, at, table_clusters, wanted));
    }
}

/// Clusters of a refcount table that covers `clusters` of the file.
fn table_clusters_for(clusters: u64, geometry: Geometry, width: RefcountWidth) -> u64 {
    let blocks = clusters.div_ceil(width.block_entry_count(geometry).max(1));
    geometry.clusters_for(blocks.saturating_mul(8))
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use super::super::testing_tables as testing;
    use super::*;

    #[test]
    fn each_damage_breaks_its_rule() {
        testing::each_damage_breaks_its_rule("R", &["R01", "R02", "R03", "R08", "R10"]);
    }

    #[test]
    fn a_run_past_the_end_tells_its_first_cluster() {
        let geometry = Geometry::new(16, false).unwrap();
        let rules = RefcountRules { geometry, width: RefcountWidth::new(4), file_clusters: 10 };
        let mut out = Vec::new();
        let mut run = |first_cluster, count, value| {
            let (at, host_offset) = (Span::default(), HostOffset(0));
            let run = RefcountRun { index: first_cluster, count, value, at, first_cluster, host_offset };
            rules.run(HostOffset(0x2_0000), &run, &mut out);
            std::mem::take(&mut out)
        };
        assert_eq!(run(0, 10, 1), []);
        assert_eq!(run(10, u64::MAX, 0), []);
        let found = run(8, 4, 7);
        assert_eq!((found[0].at, found[0].consequences), (Some(Span::new(HostOffset(0x2_0014), 4)), 2));
        assert_eq!(found[0].found, "7 for cluster 10".to_owned().into());
        assert_eq!(run(u64::MAX, u64::MAX, 1)[0].consequences, u64::MAX);
    }
}
