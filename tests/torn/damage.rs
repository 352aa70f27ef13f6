//! One write that goes wrong.

use qcow2_inspect::units::{to_u64, to_usize};
use qcow2_testkit::Rng;

use super::places::{Hit, Place};
use super::seeds::Base;
use super::spans::Spans;
use super::truth::{SECTOR, bytes};

/// What stands there afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Zeros,
    Noise,
    Text,
    /// What an L1 or L2 table holds, another one.
    Table,
    /// What a refcount block holds.
    Refcounts,
    /// What stood there before the last writes.
    Older,
    /// What should have gone elsewhere, and is missing there.
    Elsewhere,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Zeros, Self::Noise, Self::Text, Self::Table, Self::Refcounts, Self::Older, Self::Elsewhere];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Noise => "noise",
            Self::Text => "text",
            Self::Table => "another table",
            Self::Refcounts => "refcounts",
            Self::Older => "older version",
            Self::Elsewhere => "misdirected",
        }
    }
}

/// A damaged image.
pub(crate) struct Torn {
    pub(crate) kind: Kind,
    pub(crate) hit: Hit,
    pub(crate) file: Vec<u8>,
    /// What was written over, or should have been.
    pub(crate) written: Spans,
    /// What was done, for people.
    pub(crate) told: String,
}

/// Damages an image by a write of this kind.
pub(crate) fn tear(base: &Base, kind: Kind, rng: &mut Rng) -> Torn {
    for _ in 0..200 {
        if let Some(torn) = attempt(base, kind, rng) {
            return torn;
        }
    }
    panic!("nothing to damage with {}: {}", kind.as_str(), base.told);
}

/// `None` where nothing would be changed.
fn attempt(base: &Base, kind: Kind, rng: &mut Rng) -> Option<Torn> {
    let place = pick(&base.places, rng, |_| true)?;
    let (at, len) = extent(base, &place, rng);
    let mut torn = Torn {
        kind,
        hit: place.hit,
        file: base.file.clone(),
        written: Spans::default(),
        told: String::new(),
    };
    // The same part of another place, as far as that has one.
    let part = |other: &Place| other.at + (at - place.at) % other.len.next_multiple_of(len).max(len);
    let of = |other: &Place| bytes(&base.file, part(other), len);
    let (new, told) = match kind {
        Kind::Zeros => (vec![0; to_usize(len)], String::new()),
        Kind::Noise => {
            let mut noise = vec![0; to_usize(len)];
            rng.fill(&mut noise);
            (noise, String::new())
        }
        Kind::Text => {
            let line = format!("{:05} the quick brown fox jumps over the lazy dog\n", rng.below(100_000));
            (line.bytes().cycle().take(to_usize(len)).collect(), String::new())
        }
        Kind::Table | Kind::Refcounts => {
            let is_wanted = |other: &Place| match kind {
                Kind::Table => other.hit.is_mapping() && other.at != place.at,
                _ => other.hit == Hit::RefcountBlock,
            };
            let other = pick(&base.places, rng, is_wanted)?;
            (of(&other), format!(" with the {} at {:#x}", other.hit.as_str(), other.at))
        }
        Kind::Older => (base.older(&place, at, len, rng)?, String::new()),
        Kind::Elsewhere => {
            if place.hit == Hit::Extensions {
                return None;
            }
            let is_metadata = |other: &Place| {
                !matches!(other.hit, Hit::Data | Hit::Header | Hit::Extensions) && other.at != place.at
            };
            let other = pick(&base.places, rng, is_metadata)?;
            let (new, missed) = (of(&other), part(&other));
            // Of what was written once, nothing was there before.
            let stays = base.older(&other, missed, len, rng).unwrap_or_else(|| vec![0; to_usize(len)]);
            torn.put(missed, &stays);
            (new, format!(" with what belongs to the {} at {missed:#x}", other.hit.as_str()))
        }
    };
    torn.put(at, &new);
    let unit = if len == SECTOR { "sector" } else { "cluster" };
    torn.told = format!("{} over the {unit} at {at:#x} ({}){told}", kind.as_str(), place.hit.as_str());
    (bytes(&torn.file, at, len) != bytes(&base.file, at, len)).then_some(torn)
}

/// One of the places, of a kind by its weight, and of those of a kind any.
fn pick(places: &[Place], rng: &mut Rng, is_wanted: impl Fn(&Place) -> bool) -> Option<Place> {
    let wanted: Vec<&Place> = places.iter().filter(|place| is_wanted(place)).collect();
    let mut kinds: Vec<Hit> = wanted.iter().map(|place| place.hit).collect();
    kinds.dedup();
    let mut lot = rng.below(kinds.iter().map(|hit| hit.weight()).sum());
    let chosen = kinds.into_iter().find(|hit| {
        let is_it = lot < hit.weight();
        lot = lot.saturating_sub(hit.weight());
        is_it
    })?;
    let same: Vec<&Place> = wanted.into_iter().filter(|place| place.hit == chosen).collect();
    same.get(to_usize(rng.below(to_u64(same.len())))).copied().copied()
}

/// The bytes that are written there: a sector that means something, or a cluster.
fn extent(base: &Base, place: &Place, rng: &mut Rng) -> (u64, u64) {
    let cluster_size = base.cluster_size();
    match place.hit {
        Hit::Header => return (0, SECTOR),
        // A sector behind the one with the fixed fields, or what the first has behind them.
        Hit::Extensions if cluster_size == SECTOR => return (112, SECTOR - 112),
        Hit::Extensions => return if rng.below(2) == 0 { (112, SECTOR - 112) } else { (SECTOR, SECTOR) },
        _ => {}
    }
    let clusters = place.len.div_ceil(cluster_size).max(1);
    let at = place.at + rng.below(clusters) * cluster_size;
    if cluster_size == SECTOR || rng.below(2) == 0 {
        return (at, cluster_size);
    }
    let sectors = (place.len - (at - place.at)).min(cluster_size).div_ceil(SECTOR).max(1);
    let is_used = |n: &u64| bytes(&base.file, at + n * SECTOR, SECTOR).iter().any(|byte| *byte != 0);
    let used: Vec<u64> = (0..sectors).filter(is_used).collect();
    // Now and then one that has nothing yet.
    match used.get(to_usize(rng.below(to_u64(used.len())))) {
        Some(n) if rng.below(8) != 0 => (at + n * SECTOR, SECTOR),
        _ => (at + rng.below(sectors) * SECTOR, SECTOR),
    }
}

impl Torn {
    fn put(&mut self, at: u64, new: &[u8]) {
        let end = to_usize(at) + new.len();
        if self.file.len() < end {
            self.file.resize(end, 0);
        }
        self.file[to_usize(at)..end].copy_from_slice(new);
        self.written.add(at, to_u64(new.len()));
    }
}
