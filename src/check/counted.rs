//! The references that were counted so far, and which clusters they put in conflict.

use std::ops::Range;

use super::conflicts::Conflicts;
use super::context::Context;
use super::counts::Clusters;
use super::reporter::Reporter;
use crate::Limits;
use crate::source::ReadAt;
use crate::units::Span;

/// What is known of each host cluster.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) clusters: Clusters,
    /// One more than the highest cluster with a reference.
    pub(super) touched_end: u64,
    pub(super) conflicts: Conflicts,
}

impl Counted {
    /// No reference yet.
    pub(super) fn new(limits: &Limits) -> Self {
        let (clusters, conflicts) = (Clusters::new(limits.counted_pages), Conflicts::new(limits.conflicts));
        Self { clusters, touched_end: 0, conflicts }
    }

    /// Whether a limit kept a cluster from being counted, so that no count can be relied on.
    pub(super) fn is_spent(&self) -> bool {
        self.clusters.is_spent()
    }

    /// Counts references to every cluster of a region; `false` where it lies behind the end of the file, so that
    /// QEMU calls it an error and counts nothing.
    pub(super) fn refer<R: ReadAt>(
        &mut self,
        cx: &Context<'_, R>,
        span: Span,
        times: u64,
        reporter: &mut Reporter<'_>,
    ) -> bool {
        if span.len == 0 {
            return true;
        }
        if cx.is_past_file(span) {
            reporter.qemu.corrupt(times);
            return false;
        }
        for cluster in cx.geometry.clusters_of(span) {
            let Some((page, slot)) = self.clusters.at(cluster) else { return true };
            page.add(slot, times);
            self.touched_end = self.touched_end.max(cluster.saturating_add(1));
        }
        true
    }

    /// The same for a region of metadata, which no other may share.
    pub(super) fn claim<R: ReadAt>(
        &mut self,
        cx: &Context<'_, R>,
        span: Span,
        times: u64,
        reporter: &mut Reporter<'_>,
    ) {
        if self.refer(cx, span, times, reporter) && span.len != 0 {
            self.mark(cx, span, times > 1);
        }
    }

    /// Marks a region as metadata.
    pub(super) fn mark<R: ReadAt>(&mut self, cx: &Context<'_, R>, span: Span, is_shared: bool) {
        for cluster in cx.geometry.clusters_of(span) {
            let Some((page, slot)) = self.clusters.at(cluster) else { return };
            if page.metadata.set(slot) || is_shared {
                self.conflicts.add(cluster);
            }
        }
    }

    /// Counts so many references to each of these clusters, and marks them as metadata.
    pub(super) fn claim_clusters(&mut self, clusters: Range<u64>, times: u64) {
        let end = clusters.end;
        for cluster in clusters {
            let Some((page, slot)) = self.clusters.at(cluster) else { return };
            page.add(slot, times);
            if page.metadata.set(slot) || times > 1 {
                self.conflicts.add(cluster);
            }
        }
        self.touched_end = self.touched_end.max(end);
    }
}
