//! Damages of L15: compressed streams that QEMU cannot read.

use qcow2_inspect::rules::named::COMPRESSED_DATA_BROKEN;

use super::{Damage, Draft};
use crate::writer::stored;

/// Puts a stream where a guest cluster of 1 KiB has its own.
fn replace(draft: &mut Draft, index: u64, stream: &[u8]) {
    let at = draft.add_clusters(2);
    draft.put(at, stream);
    // The bits behind the offset are the number of further sectors: three in all.
    draft.put_u64(draft.l2_entry(index), 1 << 62 | 2 << 60 | at);
    draft.agree();
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &COMPRESSED_DATA_BROKEN,
        variant: "zlib-short",
        base: "valid/v3-zlib",
        breaks: |draft| replace(draft, 3, &stored(&[7; 1023], false)),
        nearly: |draft| replace(draft, 3, &stored(&[7; 1025], false)),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_DATA_BROKEN,
        variant: "zlib-damaged",
        base: "valid/v3-zlib",
        // A block of the type that there is not.
        breaks: |draft| draft.put(draft.get(draft.l2_entry(0), 8) & 0xffff_ffff, &[7]),
        // Behind the last stream.
        nearly: |draft| {
            let last = draft.bytes.len() - 1;
            draft.bytes.truncate(last);
            draft.bytes.push(7);
        },
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_DATA_BROKEN,
        variant: "zstd-long",
        base: "valid/v3-zstd",
        breaks: |draft| replace(draft, 3, &stored(&[7; 1025], true)),
        nearly: |draft| replace(draft, 3, &stored(&[7; 1024], true)),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_DATA_BROKEN,
        variant: "zstd-cut",
        base: "valid/v3-zstd",
        breaks: |draft| replace(draft, 3, &[stored(&[7; 512], true), stored(&[8; 511], true)].concat()),
        nearly: |draft| {
            replace(draft, 3, &[stored(&[7; 512], true), stored(&[8; 512], true), vec![9; 9]].concat())
        },
        also: &[],
    },
];
