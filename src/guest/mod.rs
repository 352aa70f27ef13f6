//! What the guest sees: from guest offsets to the bytes of the file, for the active disk and every snapshot.
#![warn(clippy::arithmetic_side_effects)]

mod decompress;
mod zstd;

pub use decompress::{Compression, Decoder, StreamFault, decompress};
