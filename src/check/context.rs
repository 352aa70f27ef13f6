//! What every pass of a check knows of the image.

use super::CheckOptions;
use crate::Image;
use crate::image::ends_past_file;
use crate::references::References;
use crate::source::ReadAt;
use crate::units::{Geometry, Span};

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

    /// Whether bytes lie behind the end of the file by a cluster or more, where QEMU counts an error and no reference.
    pub(super) fn is_past_file(&self, span: Span) -> bool {
        ends_past_file(self.image.file_len(), span, self.geometry)
    }
}
