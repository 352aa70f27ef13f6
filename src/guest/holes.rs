//! Which data of the guest lies in holes of the image file, and so reads as zeros without being stored.

use super::cluster::{Extent, State};
use crate::Error;
use crate::format::refcount::RefcountTableEntry;
use crate::image::Image;
use crate::source::ReadAt;
use crate::units::HostOffset;

/// Asks where the holes of the file are, remembering the last answer.
#[derive(Debug)]
pub struct Holes<'i, R> {
    image: &'i Image<R>,
    at: HostOffset,
    end: HostOffset,
    is_hole: bool,
}

impl<'i, R: ReadAt> Holes<'i, R> {
    /// Nothing asked yet.
    pub fn new(image: &'i Image<R>) -> Self {
        Self { image, at: HostOffset(0), end: HostOffset(0), is_hole: false }
    }

    /// Takes from the front of `rest` as much as is all in a hole, or all not: that part, and whether its bytes are
    /// zeros because of it. `rest` keeps the remainder, if any.
    ///
    /// # Errors
    /// [`Error::Budget`] for more questions than reads are allowed.
    pub fn split(&mut self, rest: &mut Option<Extent>) -> Result<Option<(Extent, bool)>, Error> {
        let Some(mut extent) = rest.take() else { return Ok(None) };
        let Some(host) = extent.host.filter(|_| extent.state == State::Data) else {
            return Ok(Some((extent, false)));
        };
        if host < self.at || host >= self.end {
            self.ask(host)?;
        }
        let len = self.end.0.saturating_sub(host.0).clamp(1, extent.guest.len.max(1));
        if len < extent.guest.len {
            let mut behind = extent;
            behind.guest.start = behind.guest.start.saturating_add(len);
            behind.guest.len = behind.guest.len.saturating_sub(len);
            behind.host = Some(host.saturating_add(len));
            *rest = Some(behind);
            extent.guest.len = len;
        }
        Ok(Some((extent, self.is_hole)))
    }

    fn ask(&mut self, at: HostOffset) -> Result<(), Error> {
        let source = self.image.source();
        self.at = at;
        match source.next_data(at)? {
            None => (self.is_hole, self.end) = (true, HostOffset(u64::MAX)),
            Some(data) if data > at => (self.is_hole, self.end) = (true, data),
            Some(_) => (self.is_hole, self.end) = (false, source.next_hole(at)?.max(at.saturating_add(1))),
        }
        Ok(())
    }
}

/// Whether far more clusters have a refcount than the file stores, which is how QEMU tells an image with preallocated
/// metadata (block/qcow2-refcount.c, `qcow2_detect_metadata_preallocation`). Its `map` then takes holes of the file
/// for zeros, and with other images does not look for holes.
///
/// Of a block that lies behind the end of the file all refcounts are 0, since QEMU reads zeros there. From one that is not
/// on a cluster boundary it reads none: before it knows enough, that is an error, which it takes for a no.
///
/// # Errors
/// Where the refcounts could not be read, or a limit is spent.
pub fn is_preallocated<R: ReadAt>(image: &Image<R>) -> Result<bool, Error> {
    let Some(geometry) = image.geometry() else { return Ok(false) };
    let Some((stored, table)) = image.source().stored_len().zip(image.refcount_table()) else {
        return Ok(false);
    };
    let stored = stored.checked_div(geometry.cluster_size()).unwrap_or_default();
    let threshold = (stored.saturating_mul(10) / 9).max(stored.saturating_add(2));
    let clusters = geometry.clusters_for(image.file_len());
    let mut counted = 0_u64;
    let mut entries = image.entries(table);
    while let Some(chunk) = entries.next() {
        for entry in chunk?.entries() {
            let at = RefcountTableEntry(entry.raw).block_offset();
            if !at.is_aligned(geometry.cluster_size()) {
                return Ok(false);
            }
            let runs = (at.0 != 0).then(|| image.refcount_runs(entry.index, at)).flatten();
            for run in runs.into_iter().flatten() {
                let run = run?;
                if run.first_cluster >= clusters {
                    return Ok(counted >= threshold);
                }
                if run.value != 0 {
                    let count = run.count.min(clusters.saturating_sub(run.first_cluster));
                    counted = counted.saturating_add(count);
                }
                if counted >= threshold {
                    return Ok(true);
                }
            }
        }
    }
    Ok(counted >= threshold)
}
