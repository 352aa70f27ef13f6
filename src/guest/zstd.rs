//! Zstandard frames of a cluster: where each ends is read off its block headers, so that bytes behind the last
//! frame are left alone.
//!
//! One difference from the C library is known, and stays: where damage leaves a Huffman or sequence bitstream that
//! does not end where the specification (RFC 8878, 4.2.2) says that it must, the C library may not notice, and hands
//! out wrong bytes. Here such a frame is damaged.

use zrip::{DecompressContext, DecompressError};

use super::stream_fault::StreamFault;
use crate::units::{to_u64, to_usize};

const MAGIC: u32 = 0xfd2f_b528;
/// Magics of frames that are passed over, but for the lowest four bits.
const SKIPPABLE: u32 = 0x184d_2a50;
/// The largest window that a stream of unknown length may want, as in the C library.
const MAX_WINDOW_LOG: u8 = 27;
/// The largest that the C library knows at all.
const MAX_KNOWN_WINDOW_LOG: u8 = 31;
/// Bytes that a block may hold, or as many as the window where that is smaller.
const MAX_BLOCK_LEN: u64 = 128 << 10;
/// Where the window descriptor stands in a frame that has one.
const WINDOW_AT: usize = 5;

/// Decompresses clusters, keeping its tables and one cluster of output.
pub(super) struct ZstdDecoder {
    context: DecompressContext,
    out: Vec<u8>,
}

/// What stands at the start of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A frame that is passed over.
    Skippable {
        /// Its bytes.
        len: usize,
    },
    /// A frame with output.
    Frame {
        /// Its bytes.
        len: usize,
        /// Whether its window is one that only a frame of known length may want.
        wide: bool,
        /// More than its blocks may hold between them.
        limit: u64,
    },
}

impl ZstdDecoder {
    pub(super) fn new() -> Self {
        Self { context: DecompressContext::new(), out: Vec::new() }
    }

    /// Frame after frame until the cluster is full, which has to be at the end of a frame. Answers how many bytes
    /// of `input` these frames take.
    pub(super) fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, StreamFault> {
        self.out.clear();
        let mut rest = input;
        while self.out.len() < out.len() {
            let after = to_u64(self.out.len());
            let len = match first_part(rest, after)? {
                Part::Skippable { len } => len,
                Part::Frame { len, wide, limit } => {
                    let frame = rest.get(..len).unwrap_or_default();
                    self.frame(frame, wide, out.len().saturating_sub(self.out.len()))?;
                    if to_u64(self.out.len()).saturating_sub(after) > limit {
                        return Err(StreamFault::Damaged { after });
                    }
                    len
                }
            };
            rest = rest.get(len..).unwrap_or_default();
        }
        match self.out.get(..out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(StreamFault::Damaged { after: 0 }),
        }
        Ok(input.len().saturating_sub(rest.len()))
    }

    /// Appends what one frame holds, at most `room` bytes.
    fn frame(&mut self, frame: &[u8], wide: bool, room: usize) -> Result<(), StreamFault> {
        let after = to_u64(self.out.len());
        let narrowed = wide.then(|| {
            // The length of the frame bounds what it can refer to; the window says no more than that.
            let mut copy = frame.to_vec();
            copy.iter_mut().skip(WINDOW_AT).take(1).for_each(|descriptor| *descriptor = 0);
            copy
        });
        let frame = narrowed.as_deref().unwrap_or(frame);
        match self.context.decompress_into_with_limit(frame, &mut self.out, room) {
            Ok(_) => Ok(()),
            Err(DecompressError::OutputTooSmall) => Err(StreamFault::Long),
            Err(DecompressError::ChecksumMismatch { .. }) => Err(StreamFault::Checksum),
            Err(
                DecompressError::WindowTooLarge { .. }
                | DecompressError::DictRequired
                | DecompressError::DictMismatch { .. },
            ) => Err(StreamFault::Unsupported),
            Err(_) => Err(StreamFault::Damaged { after }),
        }
    }
}

/// The frame at the start of `input`; `after` is told in a fault.
fn first_part(input: &[u8], after: u64) -> Result<Part, StreamFault> {
    let short = StreamFault::Short { after };
    let magic = u32::from_le_bytes(*input.first_chunk().ok_or(short)?);
    if magic & !0xf == SKIPPABLE {
        let len = input.get(4..).and_then(<[u8]>::first_chunk).ok_or(short)?;
        let len = to_usize(u64::from(u32::from_le_bytes(*len)).saturating_add(8));
        return if len <= input.len() { Ok(Part::Skippable { len }) } else { Err(short) };
    }
    if magic != MAGIC {
        return Err(StreamFault::Damaged { after });
    }
    let descriptor = *input.get(4).ok_or(short)?;
    let is_single = descriptor & 0x20 != 0;
    let dictionary_len = [0_usize, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default();
    let size_len = match descriptor >> 6 {
        0 => usize::from(is_single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let (mut wide, mut block_len) = (false, MAX_BLOCK_LEN);
    if !is_single {
        let window = *input.get(WINDOW_AT).ok_or(short)?;
        let log = (window >> 3).saturating_add(10);
        let above = log > MAX_WINDOW_LOG || (log == MAX_WINDOW_LOG && window & 7 != 0);
        wide = above && log <= MAX_KNOWN_WINDOW_LOG && size_len > 0;
        // An eighth of the power of two for each step in between.
        let eighth = 1_u64.unbounded_shl(u32::from(log).saturating_sub(3));
        block_len = block_len.min(eighth.saturating_mul(u64::from(window & 7).saturating_add(8)));
    }
    let mut at = WINDOW_AT.saturating_add(usize::from(!is_single)).saturating_add(dictionary_len);
    at = at.saturating_add(size_len);
    let mut limit = 0_u64;
    loop {
        let [a, b, c] = *input.get(at..).and_then(<[u8]>::first_chunk).ok_or(short)?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let len = match header >> 1 & 3 {
            // One byte, repeated.
            1 => 1,
            3 => return Err(StreamFault::Damaged { after }),
            _ => to_usize(u64::from(header >> 3)),
        };
        at = at.saturating_add(3).saturating_add(len);
        limit = limit.saturating_add(block_len);
        if header & 1 == 1 {
            break;
        }
    }
    let checksum_len = if descriptor & 4 == 0 { 0 } else { 4 };
    let len = at.saturating_add(checksum_len);
    if len <= input.len() { Ok(Part::Frame { len, wide, limit }) } else { Err(short) }
}
