//! What the guest sees: from guest offsets to the bytes of the file, for the active disk and every snapshot.
#![warn(clippy::arithmetic_side_effects)]

mod cluster;
mod decompress;
mod disk;
mod extents;
mod holes;
mod table;
mod walk;
mod zstd;

pub use cluster::State;
pub use decompress::{Compression, Decoder, StreamFault, decompress};
pub use disk::{Disk, find_snapshot};
pub use extents::{Extent, Extents};
pub use holes::{Holes, is_preallocated};
