//! Why a compressed cluster cannot be read.

/// Why a compressed cluster has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// The bytes are no stream of this method.
    #[error("the compressed stream is damaged after {after} bytes of output")]
    Damaged {
        /// Whole bytes, or at least those of the frames before, that came out.
        after: u64,
    },
    /// The stream, or the room that the L2 entry gives it, ends before the cluster is full.
    #[error("the compressed stream ends after {after} bytes of output")]
    Short {
        /// Whole bytes, or at least those of the frames before, that came out.
        after: u64,
    },
    /// A Zstandard frame holds more than the cluster. A deflate stream may.
    #[error("the compressed stream holds more than a cluster")]
    Long,
    /// The bytes that came out are not those that went in.
    #[error("the checksum of the compressed stream is wrong")]
    Checksum,
    /// The frame wants something that no image has: a dictionary, or a window above 128 MiB.
    #[error("the compressed stream needs a dictionary or a window of over 128 MiB")]
    Unsupported,
}
