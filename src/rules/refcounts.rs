//! The refcount table and its blocks by themselves: R01 to R03, R08, R10. Whether the refcounts are right, only
//! counting the references tells.

use crate::Image;
use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::rules::codes::{R01, R02, R03, R08, R10};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

/// Judges refcount table entries and refcounts, each by itself.
#[derive(Clone, Copy, Debug)]
pub struct RefcountRules {
    geometry: Geometry,
    file_clusters: u64,
}

impl RefcountRules {
    /// The rules for this image; `None` where `cluster_bits` makes no sense, and there are no tables.
    pub fn new<R: ReadAt>(image: &Image<R>) -> Option<Self> {
        let geometry = image.geometry()?;
        Some(Self { geometry, file_clusters: geometry.clusters_for(image.file_len()) })
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

    /// Judges `count` equal refcounts at `at`, of the clusters from `first_cluster` on.
    pub fn run(&self, at: Span, first_cluster: u64, count: u64, value: u64, out: &mut Vec<Finding>) {
        let end = first_cluster.saturating_add(count);
        if value == 0 || end <= self.file_clusters {
            return;
        }
        let first = first_cluster.max(self.file_clusters);
        let found = format!("{value} for cluster {first}");
        let wanted = format!("0 from cluster {} on", self.file_clusters);
        let mut finding = Finding::new(&R08, Structure::RefcountBlock, at, found, wanted);
        finding.consequences = end.saturating_sub(first);
        out.push(finding);
    }
}

/// R10: whether the refcount table is long enough for the file. One without any clusters is H29.
pub fn check_refcount_table_cover<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let (Some(geometry), Some(width)) = (image.geometry(), image.refcount_width()) else { return };
    let table_clusters = image.header().v2.refcount_table_clusters;
    let wanted = table_clusters_for(geometry.clusters_for(image.file_len()), geometry, width);
    if table_clusters != 0 && u64::from(table_clusters) < wanted {
        let at = image.header().span("refcount_table_clusters");
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
        let rules = RefcountRules { geometry: Geometry::new(16, false).unwrap(), file_clusters: 10 };
        let at = Span::new(HostOffset(0x2_0010), 8);
        let mut out = Vec::new();
        rules.run(at, 0, 10, 1, &mut out);
        rules.run(at, 10, u64::MAX, 0, &mut out);
        assert_eq!(out, []);
        rules.run(at, 8, 4, 7, &mut out);
        assert_eq!((out[0].at, out[0].consequences), (Some(at), 2));
        assert_eq!(out[0].found, "7 for cluster 10".to_owned().into());
        rules.run(at, u64::MAX, u64::MAX, 1, &mut out);
        assert_eq!(out[1].consequences, 0);
    }
}
