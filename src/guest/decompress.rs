//! Compressed clusters. What counts as a valid stream is what QEMU's `qcow2_zlib_decompress` and
//! `qcow2_zstd_decompress` (block/qcow2-threads.c) accept: the cluster must be full, and the stream may be followed
//! by anything, since an L2 entry knows its length in whole sectors alone.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate};

use super::stream_fault::StreamFault;
use super::zstd::ZstdDecoder;
use crate::format::header::{COMPRESSION_ZLIB, COMPRESSION_ZSTD};
use crate::units::to_u64;

/// How the compressed clusters of an image are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Raw deflate streams, without zlib's header.
    Zlib,
    /// Zstandard frames.
    Zstd,
}

impl Compression {
    /// The method for a header's `compression_type`; `None` for one that the specification does not define.
    pub const fn new(compression_type: u8) -> Option<Self> {
        match compression_type {
            COMPRESSION_ZLIB => Some(Self::Zlib),
            COMPRESSION_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Decompresses clusters one after the other, keeping its tables: about 100 KiB, whatever a stream says. With Zstandard
/// it keeps a cluster of output too, and for a frame with a window above 128 MiB it copies that frame.
pub struct Decoder(Method);

enum Method {
    Zlib(Box<DecompressorOxide>),
    Zstd(Box<ZstdDecoder>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Method::Zlib(_) => "Decoder(Zlib)",
            Method::Zstd(_) => "Decoder(Zstd)",
        })
    }
}

impl Decoder {
    /// A decoder of this method.
    pub fn new(method: Compression) -> Self {
        Self(match method {
            Compression::Zlib => Method::Zlib(Box::default()),
            Compression::Zstd => Method::Zstd(Box::new(ZstdDecoder::new())),
        })
    }

    /// Fills `out`, which is one cluster, from the stream at the start of `input`. Bytes behind the stream do not
    /// matter.
    ///
    /// # Errors
    /// Where QEMU would refuse the cluster; `out` then holds nothing of use.
    pub fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), StreamFault> {
        self.measure(input, out).map(|_| ())
    }

    /// The same, and says how many bytes of `input` were used: all behind them could be anything.
    ///
    /// # Errors
    /// As [`Self::decompress`].
    pub fn measure(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, StreamFault> {
        match &mut self.0 {
            Method::Zlib(decoder) => inflate_cluster(decoder, input, out),
            Method::Zstd(decoder) => decoder.decompress(input, out),
        }
    }
}

/// A deflate stream may hold more than the cluster, and may even end without its last block where the cluster is
/// full: QEMU takes all but an error of zlib before that point. Distances are not held to the window of 4 KiB that
/// QEMU's compressor keeps, since zlib does not either as long as all output is in one buffer.
///
/// Two differences from zlib in damaged streams are known, one in some ten thousand: a match that starts before the
/// cluster, right behind its last byte, is damage here; a code table without an end-of-block code is none.
fn inflate_cluster(
    decoder: &mut DecompressorOxide,
    input: &[u8],
    out: &mut [u8],
) -> Result<usize, StreamFault> {
    decoder.init();
    let (status, used, len) = inflate(decoder, input, out, 0, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    let (full, after) = (len == out.len(), to_u64(len));
    match status {
        TINFLStatus::Done | TINFLStatus::HasMoreOutput | TINFLStatus::FailedCannotMakeProgress if full => {
            Ok(used)
        }
        TINFLStatus::Done | TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
            Err(StreamFault::Short { after })
        }
        _ => Err(StreamFault::Damaged { after }),
    }
}
