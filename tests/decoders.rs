//! The decoders against the C libraries that QEMU uses: the same bytes, or a refusal from both, for sound, cut,
//! damaged, padded, chained and overlong streams. Only damage that the C library does not see, although the
//! specification of Zstandard names it, may be refused by ours alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::explicit_write,
    reason = "what fails here is the test"
)]

use std::io::{Write, stderr};

use flate2::{Decompress, FlushDecompress, Status};
use qcow2_inspect::guest::{Compression, Decoder, StreamFault};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// Streams of each method that are damaged, per content and cluster size.
const DAMAGES: u64 = 300;

#[test]
fn zlib_decodes_as_the_c_library_does() {
    compare(Compression::Zlib, zlib_streams, reference_zlib);
}

#[test]
fn zstd_decodes_as_the_c_library_does() {
    compare(Compression::Zstd, zstd_streams, reference_zstd);
}

/// Decodes every stream of every content twice over.
fn compare(
    method: Compression,
    streams: fn(&[u8]) -> Vec<Vec<u8>>,
    reference: fn(&[u8], &mut [u8]) -> Result<(), String>,
) {
    let mut decoder = Decoder::new(method);
    let (mut taken, mut refused, mut known, mut differences) = (0_u64, 0_u64, 0_u64, Vec::new());
    for size in [512, 4096, 65536, 2 << 20] {
        for (name, content) in contents(size) {
            let mut noise = Noise(size as u64 ^ content.len() as u64 ^ u64::from(content[size / 2]));
            for (kind, stream) in variants(&streams(&content), size, &mut noise) {
                let (mut ours, mut theirs) = (vec![0xaa; size], vec![0xaa; size]);
                let verdicts = (decoder.decompress(&stream, &mut ours), reference(&stream, &mut theirs));
                match verdicts {
                    (Ok(()), Ok(())) if ours == theirs => taken += 1,
                    (Err(_), Err(_)) => refused += 1,
                    (ours, theirs) if kind == "damaged" && is_known(method, size, &ours, &theirs) => {
                        known += 1
                    }
                    (ours, theirs) => differences.push(format!(
                        "{size} {name} {kind}, {} bytes: {ours:?}, the C library {theirs:?}: {:02x?}",
                        stream.len(),
                        &stream[..stream.len().min(60)],
                    )),
                }
            }
        }
    }
    let first: Vec<_> = differences.iter().take(40).cloned().collect();
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        taken + refused,
        first.join("\n")
    );
    assert!(taken > 1000 && refused > 5000, "{taken} taken, {refused} refused");
    assert!(known < refused / 50, "{known} known differences");
    // Written past the capture of the harness, which would keep it from whoever reads the log.
    let more = format!("{known} damaged ones in known other ways");
    writeln!(stderr(), "{method:?}: {taken} streams taken, {refused} refused, as the C library does; {more}")
        .unwrap();
}

/// The differences that are known and stay, in streams that are damaged.
fn is_known(
    method: Compression,
    size: usize,
    ours: &Result<(), StreamFault>,
    theirs: &Result<(), String>,
) -> bool {
    match (method, ours, theirs) {
        // The C library does not see every bitstream that ends in the wrong place, as the specification has it.
        (Compression::Zstd, Err(StreamFault::Damaged { .. }), Ok(())) => true,
        // The cluster is full, and the next symbol refers to what lies before its start.
        (Compression::Zlib, Err(StreamFault::Damaged { after }), Ok(())) => *after == size as u64,
        // A table without an end-of-block code, whose block is cut by damage all the same.
        (Compression::Zlib, Ok(()), Err(why)) => why.contains("missing end-of-block"),
        _ => false,
    }
}

/// Clusters of several kinds, one of each longer than a cluster and one shorter.
fn contents(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut noise = Noise(size as u64);
    let text: Vec<u8> =
        (0..).flat_map(|n: u32| format!("line {n:06} of {}\n", n % 97).into_bytes()).take(size).collect();
    let code = code(size, &mut noise);
    let incompressible: Vec<u8> = (0..size).map(|_| noise.next() as u8).collect();
    let mut sparse = vec![0; size];
    for _ in 0..size / 256 {
        let at = noise.below(size as u64) as usize;
        sparse[at] = noise.next() as u8;
    }
    let skewed: Vec<u8> = (0..size).map(|_| (noise.next().trailing_zeros() * 5) as u8).collect();
    let longer: Vec<u8> = text.iter().chain(&code).copied().collect();
    let shorter = text[..size - 1].to_vec();
    vec![
        ("text", text),
        ("code", code),
        ("noise", incompressible),
        ("near zero", sparse),
        ("zero", vec![0; size]),
        ("few symbols", skewed),
        ("longer", longer),
        ("one byte short", [shorter, vec![]].concat()),
    ]
}

/// What looks like instructions of x86-64 to a compressor.
fn code(size: usize, noise: &mut Noise) -> Vec<u8> {
    const OPCODES: [&[u8]; 12] = [
        &[0x48, 0x89, 0xe5],
        &[0x48, 0x8b, 0x45],
        &[0xe8],
        &[0x0f, 0x1f, 0x44, 0, 0],
        &[0x55],
        &[0xc3],
        &[0x48, 0x83, 0xec],
        &[0x74],
        &[0x48, 0x8d, 0x3d],
        &[0x41, 0x57, 0x41, 0x56],
        &[0x31, 0xc0],
        &[0x85, 0xc0],
    ];
    let mut code = Vec::with_capacity(size + 16);
    while code.len() < size {
        let n = noise.below(12) as usize;
        code.extend(OPCODES[n]);
        match n {
            1 | 6 | 7 => code.push((noise.next() & 0x78) as u8),
            2 | 8 => code.extend(&(noise.next() as u32 & 0xf_fff8).to_le_bytes()),
            _ => {}
        }
    }
    code.truncate(size);
    code
}

/// The streams themselves, and each of them cut, padded, repeated and damaged.
fn variants(streams: &[Vec<u8>], size: usize, noise: &mut Noise) -> Vec<(&'static str, Vec<u8>)> {
    let mut out = Vec::new();
    // A large cluster takes a hundred times as long.
    let damages = if size > 65536 { DAMAGES / 24 } else { DAMAGES };
    for stream in streams {
        let padding = vec![0; stream.len().next_multiple_of(512) - stream.len()];
        let junk: Vec<u8> = (0..300).map(|_| noise.next() as u8).collect();
        out.push(("as it is", stream.clone()));
        out.push(("padded", [stream.clone(), padding].concat()));
        out.push(("with junk behind", [stream.clone(), junk].concat()));
        out.push(("twice", [stream.clone(), stream.clone()].concat()));
        out.push(("shifted", [vec![0x78, 0x9c], stream.clone()].concat()));
        for cut in 1..16.min(stream.len()) {
            out.push(("cut", stream[..stream.len() - cut].to_vec()));
        }
        for _ in 0..damages / 8 {
            out.push(("cut anywhere", stream[..noise.below(stream.len() as u64) as usize].to_vec()));
        }
        for _ in 0..damages / streams.len() as u64 {
            let mut damaged = stream.clone();
            for _ in 0..=noise.below(3) {
                // Headers are at the start, ends at the end.
                let at = match noise.below(3) {
                    0 => noise.below(stream.len().min(24) as u64) as usize,
                    1 => stream.len() - 1 - noise.below(stream.len().min(8) as u64) as usize,
                    _ => noise.below(stream.len() as u64) as usize,
                };
                damaged[at] ^= if noise.below(2) == 0 { 1 << noise.below(8) } else { noise.next() as u8 };
            }
            out.push(("damaged", damaged));
        }
    }
    out
}

/// Deflate streams as QEMU's compressor makes them, at other levels, with wider windows, in several blocks.
fn zlib_streams(content: &[u8]) -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for (level, window) in [(9, 12), (1, 12), (0, 12), (6, 15), (3, 9)] {
        let mut out = Vec::with_capacity(content.len() * 2 + 1024);
        let mut compressor =
            flate2::Compress::new_with_window_bits(flate2::Compression::new(level), false, window);
        compressor.compress_vec(content, &mut out, flate2::FlushCompress::Finish).unwrap();
        streams.push(out);
    }
    for flush in [flate2::FlushCompress::Sync, flate2::FlushCompress::Full] {
        let mut out = Vec::with_capacity(content.len() * 2 + 1024);
        let mut compressor = flate2::Compress::new_with_window_bits(flate2::Compression::new(6), false, 12);
        let (first, second) = content.split_at(content.len() / 3);
        compressor.compress_vec(first, &mut out, flush).unwrap();
        compressor.compress_vec(second, &mut out, flush).unwrap();
        streams.push(out.clone());
        compressor.compress_vec(&[], &mut out, flate2::FlushCompress::Finish).unwrap();
        streams.push(out);
    }
    streams
}

/// Zstandard streams as QEMU's compressor makes them, at other levels, with checksums, without lengths, in several
/// frames, with frames to pass over.
fn zstd_streams(content: &[u8]) -> Vec<Vec<u8>> {
    let frame = |part: &[u8], level: i32, checksum: bool, size: bool| {
        let mut context = zstd_safe::CCtx::create();
        context.set_parameter(zstd_safe::CParameter::CompressionLevel(level)).unwrap();
        context.set_parameter(zstd_safe::CParameter::ChecksumFlag(checksum)).unwrap();
        context.set_parameter(zstd_safe::CParameter::ContentSizeFlag(size)).unwrap();
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(part.len()) + 1024);
        context.compress2(&mut out, part).unwrap();
        out
    };
    let (first, second) = content.split_at(content.len() / 3);
    let skippable = [&0x184d_2a53_u32.to_le_bytes()[..], &5_u32.to_le_bytes(), b"hello"].concat();
    let mut wide = frame(content, 3, false, true);
    // A frame of one segment has no window; one is made up, of 2 GiB.
    if wide[4] & 0x20 != 0 && wide[4] >> 6 != 0 {
        wide[4] &= !0x20;
        wide.insert(5, 21 << 3);
    }
    vec![
        frame(content, 3, false, true),
        frame(content, 1, true, true),
        frame(content, 19, false, false),
        frame(content, -5, true, false),
        [frame(first, 3, false, true), frame(second, 3, true, false)].concat(),
        [
            skippable.clone(),
            frame(first, 3, false, false),
            frame(&[], 3, true, true),
            skippable,
            frame(second, 1, false, true),
        ]
        .concat(),
        wide,
    ]
}

/// `qcow2_zlib_decompress` of block/qcow2-threads.c.
fn reference_zlib(input: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut stream = Decompress::new_with_window_bits(false, 12);
    let status = stream.decompress(input, out, FlushDecompress::Finish).map_err(|error| error.to_string())?;
    let full = stream.total_out() == out.len() as u64;
    match status {
        Status::StreamEnd | Status::BufError | Status::Ok if full => Ok(()),
        status => Err(format!("{status:?} after {}", stream.total_out())),
    }
}

/// `qcow2_zstd_decompress` of block/qcow2-threads.c.
fn reference_zstd(input: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut context = DCtx::create();
    let size = out.len();
    let mut output = OutBuffer::around(out);
    let mut input = InBuffer::around(input);
    let mut left = 0;
    while output.pos() < size {
        let before = (input.pos(), output.pos());
        left = context
            .decompress_stream(&mut output, &mut input)
            .map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
        if input.pos() <= before.0 && output.pos() <= before.1 {
            return Err("no progress".to_owned());
        }
    }
    if left == 0 { Ok(()) } else { Err("the frame goes on".to_owned()) }
}

/// Numbers that are the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
