//! Images that end within a table, at each byte of its entries: QEMU reads zeros for what is missing of an entry.

use std::fs;
use std::path::Path;

use qcow2_inspect::format::header::field;
use qcow2_testkit::Draft;

use super::Comparison;
use super::damaged::{compare, corpus};

/// The images, and the tables that are cut: standard and extended L2 entries, refcounts of 16 and of 64 bits.
const TABLES: [(&str, &[&str]); 3] =
    [("v3-512", &[L1, L2, BLOCK]), ("v3-extended-l2", &[L1, L2, BLOCK]), ("v3-refcount-64", &[BLOCK])];
const L1: &str = "L1 table";
const L2: &str = "L2 table";
const BLOCK: &str = "refcount block";

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const RESERVED: u64 = 0x3f << 56;
/// Some that are zeros, and some that are allocated.
const SUBCLUSTERS: u64 = 0xff00_0000_00ff_00ff;

/// Compares all of them, made under `dir`.
pub(crate) fn images(dir: &Path) -> Vec<Comparison> {
    let mut jobs = Vec::new();
    for (name, kinds) in TABLES {
        for kind in kinds {
            let (bytes, table) = with_last(kind, name);
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap().max(table) + 1;
            for len in table..=used {
                jobs.push((format!("{name} {} bytes of the {kind}", len - table), bytes[..len].to_vec()));
            }
        }
    }
    compare(dir, jobs)
}

/// The image with a table of this kind at its end, and where that starts.
fn with_last(kind: &str, name: &str) -> (Vec<u8>, usize) {
    let mut draft = Draft::new(fs::read(corpus().join(format!("valid/{name}.qcow2"))).unwrap());
    let cluster_size = draft.cluster_size();
    // The last two bytes of an offset that are not zero tell these clusters apart.
    let far = [128, 129].map(|cluster| cluster * cluster_size);
    if kind != BLOCK {
        let there = u64::try_from(draft.bytes.len()).unwrap().div_ceil(cluster_size);
        draft.add_clusters(130 - there);
    }
    let leading = match kind {
        L1 => draft.image().header().span(field::L1_TABLE_OFFSET).at.0,
        L2 => draft.l1_entry(0),
        _ => draft.refcount_table_entry(0),
    };
    let entry = draft.get(leading, 8);
    let from = usize::try_from(entry & OFFSET).unwrap();
    let table = draft.bytes[from..from + usize::try_from(cluster_size).unwrap()].to_vec();
    let at = draft.add_clusters(1);
    draft.put(at, &table);
    draft.put_u64(leading, entry & !OFFSET | at);
    match kind {
        L1 => draft.put_u64(draft.l1_entry(draft.header(field::L1_SIZE) - 1), far[1]),
        L2 => {
            let is_extended = draft.image().geometry().unwrap().extended_l2();
            for (index, entry) in (2..).zip([far[1], COMPRESSED | far[0] | 0x10, RESERVED]) {
                draft.put_u64(draft.l2_entry(index), entry);
                if is_extended {
                    draft.put_u64(draft.l2_entry(index) + 8, SUBCLUSTERS);
                }
            }
        }
        _ => {}
    }
    draft.agree();
    if kind == BLOCK {
        let bits = draft.image().refcount_width().unwrap().bits();
        draft.set_refcounts(5, 1, 1 << (bits - 8) | 1);
    }
    (draft.bytes, usize::try_from(at).unwrap())
}
