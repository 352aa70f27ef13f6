//! Why guest bytes cannot be had.

use super::super::StreamFault;
use crate::Error;
use crate::finding::Rule;
use crate::rules::named::{COMPRESSED_DATA_BROKEN, DATA_CLUSTER_CUT, UNKNOWN_COMPRESSION_TYPE};
use crate::units::{GuestSpan, HostOffset};

/// Guest bytes that cannot be had, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest offset {}, {} bytes: {cause}", .guest.start, .guest.len)]
#[non_exhaustive]
pub struct Fault {
    /// The bytes.
    pub guest: GuestSpan,
    /// Why.
    pub cause: Cause,
}

/// Why guest bytes cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The tables break this rule.
    #[error("{}: {}", .0.code, .0.title)]
    Tables(&'static Rule),
    /// The compressed stream is no good.
    #[error("{}: {fault}, compressed at {at}", COMPRESSED_DATA_BROKEN.code)]
    Stream {
        /// Where it starts.
        at: HostOffset,
        /// What is wrong with it.
        fault: StreamFault,
    },
    /// Nobody knows how the stream is compressed.
    #[error("{code}: compression type {0} is unknown", code = UNKNOWN_COMPRESSION_TYPE.code)]
    Method(u8),
    /// They are in the backing file.
    #[error("it comes from the backing file, which is never opened")]
    Backing,
    /// They are in an external data file, which was not given.
    #[error("it is in the external data file, which was not given")]
    DataFile,
    /// They are behind the end of the external data file.
    #[error("{}: it lies behind the end of the data file", DATA_CLUSTER_CUT.code)]
    BehindDataFile,
    /// They are encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// The image could not be read.
    #[error("{0}")]
    Read(Error),
}
