//! What a cluster holds, for whoever asks about one alone.

use super::CheckOptions;
use super::contents::{Contents, contents};
use super::context::Context;
use crate::source::ReadAt;
use crate::units::HostOffset;
use crate::{Error, Image};

/// What the cluster that has the byte at `at` looks like, in words; `None` where the file has nothing there, or no
/// cluster can be found. Its start is looked at, up to 64 KiB.
///
/// # Errors
/// Where it cannot be read.
pub fn looks_like<R: ReadAt>(image: &Image<R>, at: HostOffset) -> Result<Option<String>, Error> {
    let Some(cx) = Context::new(image, CheckOptions::default()) else { return Ok(None) };
    let cluster = cx.geometry.cluster_of(at);
    let Some(start) = cx.geometry.host_offset(cluster) else { return Ok(None) };
    let mut chunks = image.chunks("a cluster that nothing refers to", cx.geometry.cluster_at(start));
    let Some(chunk) = chunks.next().transpose()? else { return Ok(None) };
    let holds = contents(&cx, chunk.bytes);
    let is_all = chunk.bytes.len() >= crate::units::to_usize(cx.geometry.cluster_size());
    // Of more than was looked at, the start alone is known.
    let start = if is_all || holds != Contents::Zeros { "" } else { " at its start" };
    Ok(Some(format!("{holds}{start}")))
}
