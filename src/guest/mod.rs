//! What the guest sees: from guest offsets to the bytes of the file, for the active disk and every snapshot.
#![warn(clippy::arithmetic_side_effects)]

mod bitmap;
mod cluster;
mod copy;
mod decompress;
mod disk;
mod extents;
mod holes;
mod l1_range;
mod locate;
mod owners;
mod pool;
mod stream_fault;
mod streams;
mod table;
mod walk;
mod zstd;

pub use bitmap::{Combine, Combined, DirtyRuns};
pub use cluster::{Extent, State};
pub use copy::{Cause, Copied, CopyError, CopyOptions, DataFile, Fault, Sink, copy};
pub use decompress::{Compression, Decoder};
pub use disk::{Disk, find_snapshot};
pub use extents::Extents;
pub use holes::{Holes, is_preallocated};
pub use locate::{Step, Trace};
pub use owners::{Owner, Owners, owners};
pub use stream_fault::StreamFault;
pub(crate) use streams::{Batch, Outcome, Streams, decompress_all};
