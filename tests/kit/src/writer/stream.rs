//! Compressed streams: raw deflate by a library, Zstandard frames by hand.

use super::StreamPlan;

/// The bytes of a stream, which decompresses to a cluster.
pub(super) fn encode(plan: &StreamPlan, zstd: bool, cluster_size: usize) -> Vec<u8> {
    let content = plan.fill.bytes(cluster_size);
    if zstd {
        return zstd_frames(&content, plan.style);
    }
    // Level 0 stores; the others differ in how they look for matches.
    let level = [1, 0, 6, 9][usize::from(plan.style % 4)];
    miniz_oxide::deflate::compress_to_vec(&content, level)
}

/// A stream that stores these bytes as they are, or that repeats them.
pub(crate) fn stored(content: &[u8], zstd: bool) -> Vec<u8> {
    if zstd { zstd_frames(content, 4) } else { miniz_oxide::deflate::compress_to_vec(content, 0) }
}

/// Frames of stored and run-length blocks, which need no compressor. `style` chooses among what the format
/// allows: how long a block is, whether the header tells the content's length, a skippable frame in front, and
/// two frames.
fn zstd_frames(content: &[u8], style: u8) -> Vec<u8> {
    let block_len = [content.len(), 100, 128 << 10, 1000][usize::from(style % 4)].min(128 << 10);
    let single_segment = style & 4 != 0;
    let mut out = Vec::new();
    if style & 8 != 0 {
        out.extend(0x184d_2a50_u32.to_le_bytes());
        out.extend(3_u32.to_le_bytes());
        out.extend(*b"pad");
    }
    let frames = if style & 16 != 0 { 2 } else { 1 };
    for part in content.chunks(content.len().div_ceil(frames)) {
        zstd_frame(part, block_len, single_segment, &mut out);
    }
    out
}

fn zstd_frame(content: &[u8], block_len: usize, single_segment: bool, out: &mut Vec<u8>) {
    out.extend(0xfd2f_b528_u32.to_le_bytes());
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    if single_segment {
        // The length of the content in four bytes, and no window.
        out.push(0b1010_0000);
        out.extend(len.to_le_bytes());
    } else {
        // A window of a power of two that holds the content, from 1 KiB on.
        let window_bits = len.next_power_of_two().trailing_zeros().max(10);
        let [.., exponent] = (window_bits - 10).to_be_bytes();
        out.extend([0, exponent << 3]);
    }
    let mut blocks = content.chunks(block_len).peekable();
    while let Some(block) = blocks.next() {
        let run = block.iter().all(|byte| block.first() == Some(byte));
        let len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let head = len << 3 | u32::from(run) << 1 | u32::from(blocks.peek().is_none());
        let [a, b, c, _] = head.to_le_bytes();
        out.extend([a, b, c]);
        out.extend(if run { &block[..1] } else { block });
    }
}

/// Bytes that a stream may have at most, which is what the entry's sector count can say.
pub(super) const fn max_len(cluster_size: usize) -> usize {
    2 * cluster_size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::Fill;

    #[test]
    fn streams_stay_within_two_clusters() {
        for cluster_size in [512, 4096, 65536] {
            for style in 0..32 {
                for fill in [0, 1, 2, 3, 0x1203] {
                    let plan = StreamPlan { fill: Fill(fill), style, apart: false, skip: 0 };
                    for zstd in [false, true] {
                        let len = encode(&plan, zstd, cluster_size).len();
                        assert!(len + 511 <= max_len(cluster_size) || cluster_size == 512, "{plan:?}: {len}");
                        assert!(len <= max_len(cluster_size), "{plan:?}: {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn deflate_streams_decompress() {
        for style in 0..4 {
            let plan = StreamPlan { fill: Fill(0x1202), style, apart: false, skip: 0 };
            let stream = encode(&plan, false, 4096);
            let content = miniz_oxide::inflate::decompress_to_vec(&stream).unwrap();
            assert_eq!(content, plan.fill.bytes(4096), "style {style}");
        }
    }
}
