//! Offsets that 64 bits cannot hold: what no guest and no file can have is told of no place, and not of the last one.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::collections::BTreeMap;
use std::io;

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::report::{self, JsonSink, Subject};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{HostOffset, to_u64, to_usize};
use qcow2_inspect::{Image, Limits};

/// A long file of which some pieces are stored.
#[derive(Default)]
struct Far {
    len: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Far {
    fn put(&mut self, at: u64, bytes: impl Into<Vec<u8>>) {
        self.pieces.insert(at, bytes.into());
    }

    fn put_u64(&mut self, at: u64, value: u64) {
        self.put(at, value.to_be_bytes());
    }
}

impl ReadAt for Far {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = (self.len.saturating_sub(offset)).min(to_u64(buf.len()));
        let buf = &mut buf[..to_usize(len)];
        buf.fill(0);
        for (at, bytes) in self.pieces.range(..offset + len) {
            for (byte, at) in bytes.iter().zip(*at..).filter(|(_, at)| *at >= offset) {
                if let Some(to) = buf.get_mut(to_usize(at - offset)) {
                    *to = *byte;
                }
            }
        }
        Ok(buf.len())
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        let ends = |(at, bytes): (&u64, &Vec<u8>)| at + to_u64(bytes.len()) > offset;
        self.pieces.iter().find(|piece| ends(*piece)).map(|(at, _)| offset.max(*at))
    }

    fn next_hole(&self, offset: u64) -> u64 {
        let here = self.pieces.range(..=offset).next_back();
        here.map_or(offset, |(at, bytes)| offset.max(at + to_u64(bytes.len())))
    }
}

fn header(cluster_bits: u32, refcount_order: u32, change: impl FnOnce(&mut HeaderV2)) -> Vec<u8> {
    let mut v2 = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(cluster_bits),
        size: ByteSize(1 << 45),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    change(&mut v2);
    let v3 = HeaderV3 { header_length: 104, refcount_order, ..Default::default() };
    [v2.encode(), v3.encode()].concat()
}

/// A block whose first cluster starts at 2^64.
#[test]
fn refcounts_of_no_cluster_have_no_place() {
    const MIB: u64 = 1 << 20;
    let mut file = Far { len: 12 * MIB, ..Far::default() };
    file.put(
        0,
        header(21, 0, |header| {
            (header.refcount_table_offset, header.refcount_table_clusters) = (HostOffset(2 * MIB), 3);
        }),
    );
    file.put_u64(2 * MIB + (1 << 19) * 8, 8 * MIB);
    file.put(8 * MIB, [0x10]);
    let image = Image::open(&file, Limits::default()).unwrap();
    let (mut out, subject) = (Vec::new(), Subject { path: b"far", len: image.file_len() });
    report::dump(&image, &subject, &report::Options::default(), &mut JsonSink::new(&mut out)).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"block\":524288") && !text.contains(&u64::MAX.to_string()), "{text}");
}
