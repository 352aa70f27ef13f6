//! What every pass of a check knows of the image.

use std::ops::RangeInclusive;

use super::CheckOptions;
use crate::Image;
use crate::image::ends_past_file;
use crate::references::References;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

/// The image and what follows from its header.
#[derive(Debug)]
pub(super) struct Context<'a, R> {
    pub(super) image: &'a Image<R>,
    pub(super) options: CheckOptions,
    pub(super) geometry: Geometry,
    pub(super) references: References<'a, R>,
    /// Clusters of the file, the last one perhaps in part.
    pub(super) file_clusters: u64,
    pub(super) has_external_data: bool,
}

impl<'a, R: ReadAt> Context<'a, R> {
    /// `None` where `cluster_bits` makes no sense, and no table can be found.
    pub(super) fn new(image: &'a Image<R>, options: CheckOptions) -> Option<Self> {
        let (geometry, references) = (image.geometry()?, References::new(image)?);
        let file_clusters = geometry.clusters_for(image.file_len());
        Some(Self {
            image,
            options,
            geometry,
            references,
            file_clusters,
            has_external_data: image.has_external_data(),
        })
    }

    /// The cluster that an offset is in.
    #[inline]
    pub(super) fn cluster(&self, at: HostOffset) -> u64 {
        at.0.unbounded_shr(self.geometry.cluster_bits())
    }

    /// Where a cluster starts.
    pub(super) fn host_offset(&self, cluster: u64) -> HostOffset {
        HostOffset(cluster.saturating_mul(self.geometry.cluster_size()))
    }

    /// The clusters that bytes are in; the one at their place where there are none.
    pub(super) fn clusters_of(&self, span: Span) -> RangeInclusive<u64> {
        let last = span.at.saturating_add(span.len.saturating_sub(1));
        self.cluster(span.at)..=self.cluster(last)
    }

    /// The cluster that starts at an offset, on a boundary or not.
    pub(super) fn cluster_at(&self, at: HostOffset) -> Span {
        Span::new(at, self.geometry.cluster_size())
    }

    /// Whether bytes lie behind the end of the file by a cluster or more, where QEMU counts an error and no reference.
    pub(super) fn is_past_file(&self, span: Span) -> bool {
        ends_past_file(self.image.file_len(), span, self.geometry)
    }
}
