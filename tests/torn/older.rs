//! What a part of an image may have held before the last writes, where nobody kept it: entries that were not there yet, and what
//! was there when a snapshot was taken.

use qcow2_inspect::units::{to_u64, to_usize};
use qcow2_testkit::Rng;

use super::places::{Hit, Place, trees};
use super::seeds::Base;
use super::truth::{L1, Reader, bytes, number};

const COPIED: u64 = 1 << 63;

/// The clusters of a place as they were; `None` where they were not written before.
pub(crate) fn cluster(base: &Base, place: &Place, rng: &mut Rng) -> Option<Vec<u8>> {
    let image = base.reader();
    let mut was = bytes(&base.file, place.at, place.len.next_multiple_of(image.cluster_size()));
    match place.hit {
        Hit::Header => {
            // Before the last snapshots.
            let count = rng.below(to_u64(image.snapshots.len()).checked_sub(1)? + 1);
            put(&mut was, 60, &count.to_be_bytes()[4..]);
            if count == 0 {
                put(&mut was, 64, &[0; 8]);
            }
        }
        Hit::SnapshotTable => {
            let kept = rng.below(to_u64(image.snapshots.len()));
            let from = image.snapshots.get(to_usize(kept))?.at - place.at;
            was[to_usize(from)..].fill(0);
        }
        Hit::RefcountTable => {
            let from = place.len.checked_sub(8).filter(|from| *from != 0)?;
            put(&mut was, from, &[0; 8]);
        }
        Hit::RefcountBlock => refcounts(&image, &base.file, &mut was, rng)?,
        Hit::L1 | Hit::L2 | Hit::SharedL2 | Hit::SnapshotL2 => {
            let then = if rng.below(2) == 0 { then(&image, &base.file, place) } else { None };
            let width = if place.hit == Hit::L1 { 8 } else { image.entry_len() };
            entries(&mut was, then, to_usize(width), rng)?;
        }
        Hit::SnapshotL1 | Hit::Extensions | Hit::Data => return None,
    }
    Some(was)
}

fn put(bytes: &mut [u8], at: u64, new: &[u8]) {
    bytes[to_usize(at)..][..new.len()].copy_from_slice(new);
}

/// Without the last references: those to the last clusters, or those of a snapshot.
fn refcounts(image: &Reader<'_>, file: &[u8], was: &mut [u8], rng: &mut Rng) -> Option<()> {
    let order = if number(file, 4, 4) == 3 { number(file, 96, 4) } else { 4 };
    let width = to_usize(1 << order.saturating_sub(3));
    if !image.snapshots.is_empty() && order >= 3 && rng.below(2) == 0 {
        for count in was.chunks_mut(width) {
            let last = count.last_mut()?;
            *last -= u8::from(*last > 1);
        }
        return Some(());
    }
    let used = was.chunks(width).rposition(|count| count.iter().any(|byte| *byte != 0))? + 1;
    let kept = to_usize(rng.below(to_u64(used)));
    was[kept * width..].fill(0);
    Some(())
}

/// The table that a snapshot has in this one's place.
fn then(image: &Reader<'_>, file: &[u8], place: &Place) -> Option<Vec<u8>> {
    let snapshots: Vec<L1> = trees(image).into_iter().skip(1).collect();
    if place.hit == Hit::L1 {
        let last = snapshots.last()?;
        return Some(bytes(file, last.at, last.size * 8));
    }
    let (index, _) = image.l2_tables(image.active).find(|(_, at)| *at == place.at)?;
    let others = snapshots.into_iter().flat_map(|l1| image.l2_tables(l1).collect::<Vec<_>>());
    let (_, other) = others.into_iter().find(|(other, at)| *other == index && *at != place.at)?;
    Some(bytes(file, other, place.len))
}

/// Some entries as they were at the snapshot, or without those that came last.
fn entries(was: &mut [u8], then: Option<Vec<u8>>, width: usize, rng: &mut Rng) -> Option<()> {
    if let Some(then) = then {
        for (entry, old) in was.chunks_mut(width).zip(then.chunks(width)).filter(|(now, old)| now != old) {
            if rng.below(3) != 0 {
                entry.copy_from_slice(old);
                let shared = number(old, 0, 8) & !COPIED;
                entry[..8].copy_from_slice(&shared.to_be_bytes());
            }
        }
        return Some(());
    }
    let host = |entry: &[u8]| number(entry, 0, 8) & ((1 << 54) - 1);
    let mut hosts: Vec<u64> = was.chunks(width).map(host).filter(|at| *at != 0).collect();
    hosts.sort_unstable();
    let first_lost = *hosts.get(to_usize(rng.below(to_u64(hosts.len()))))?;
    for entry in was.chunks_mut(width) {
        if host(entry) >= first_lost {
            entry.fill(0);
        }
    }
    Some(())
}
