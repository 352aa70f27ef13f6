//! The compressed clusters of all trees, in the order of the file: which of them share bytes (O04), and which
//! cannot be decompressed (L15).

use super::Engine;
use super::deep::Deep;
use super::sharing::{Sharers, one_tree_has_two};
use super::trees::L2Use;
use crate::Error;
use crate::finding::{Finding, Guest, Rule, Structure};
use crate::format::mapping::Compressed;
use crate::guest::Outcome;
use crate::rules::codes::{L15, O04, T01};
use crate::rules::guest;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, to_u64, to_usize};

/// Bytes of the last sector that need not belong to a stream.
const SECTOR_REST: u64 = 511;

/// A compressed cluster, by its L2 entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    /// Where it starts, and in the low bits how many further sectors it takes: 62 bits.
    place: u64,
    /// The table, by its place in the order of the walk.
    table: u32,
    /// The entry there.
    index: u32,
}

/// All compressed clusters.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) all: Vec<Stream>,
    sector_bits: u32,
    limit: usize,
    is_spent: bool,
}

/// The bytes of the file that streams took so far, and whose entry says so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    end: u64,
    entry: HostOffset,
}

impl Streams {
    /// None yet; `limit` are remembered.
    pub(super) fn new(geometry: Geometry, limit: usize) -> Self {
        let sector_bits = geometry.cluster_bits().saturating_sub(8);
        Self { all: Vec::new(), sector_bits, limit, is_spent: false }
    }

    /// Takes one more, which lies in the file.
    pub(super) fn push(&mut self, stream: Compressed, table: u32, index: u64) {
        if self.all.len() >= self.limit {
            return self.is_spent = true;
        }
        let sectors = stream.at.0 & SECTOR_REST;
        let sectors = stream.len.saturating_add(sectors) / 512;
        let place = stream.at.0.unbounded_shl(self.sector_bits) | sectors.saturating_sub(1);
        // A table has 2^27 entries at most.
        self.all.push(Stream { place, table, index: u32::try_from(index).unwrap_or(u32::MAX) });
    }

    /// The bytes that the entry gives it: whole sectors at the end.
    pub(super) fn span(&self, stream: Stream) -> Span {
        let at = stream.place.unbounded_shr(self.sector_bits);
        let sectors = stream.place & !u64::MAX.unbounded_shl(self.sector_bits);
        let len = sectors.saturating_add(1).saturating_mul(512).saturating_sub(at & SECTOR_REST);
        Span::new(HostOffset(at), len)
    }

    /// The entry, without bit 63.
    fn entry(&self, stream: Stream) -> u64 {
        let offset_bits = 62_u32.saturating_sub(self.sector_bits);
        let at = stream.place.unbounded_shr(self.sector_bits);
        1 << 62 | stream.place.unbounded_shl(offset_bits) & !(3 << 62) | at
    }
}

impl Stream {
    /// Whether both are the same bytes of the file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

/// Where the entry of a stream stands, and what it maps.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: Span,
    guest: Guest,
    /// Where the table starts, and what it maps first.
    table: u64,
    start: u64,
    /// Whether the table stands for no other guest range.
    is_sure: bool,
}

impl Place {
    /// Whether two entries are copies of one, in tables that no tree has both.
    fn is_copy(&self, other: &Self) -> bool {
        self.is_sure && other.is_sure && self.guest.span.start == other.guest.span.start
    }
}

impl<R: ReadAt> Engine<'_, '_, R> {
    /// Judges all compressed clusters, in the order of the file.
    pub(super) fn judge_streams(&mut self) {
        let mut all = std::mem::take(&mut self.streams.all);
        all.sort_unstable();
        let tables = self.ordered_tables();
        if let Some(threads) = self.options.deep {
            Deep::new(self, &all, &tables).run(threads);
        } else {
            let mut taken = Taken::default();
            all.chunk_by(Stream::is_same).for_each(|same| self.stream(&mut taken, &tables, same, None));
        }
        self.settle_grouped();
        self.same_streams(&all, &tables);
        if self.streams.is_spent {
            let value = to_u64(self.streams.limit);
            let error = Error::Budget { limit: "compressed_clusters", value, at: HostOffset(0) };
            self.totals.stop(error, Structure::L2Table, &T01);
        }
    }

    /// Judges one stream, which several entries may have, and what came of decompressing it.
    pub(super) fn stream(
        &mut self,
        taken: &mut Taken,
        tables: &[(u64, L2Use)],
        same: &[Stream],
        outcome: Outcome,
    ) {
        let Some(stream) = same.first() else { return };
        let Span { at, len: room } = self.streams.span(*stream);
        let before = self.found.len();
        if at.0 < taken.end {
            let found = format!("{:#x}, bytes from {at} on", self.streams.entry(*stream));
            let wanted =
                format!("bytes from {:#x} on, behind those of the entry at {}", taken.end, taken.entry);
            self.stream_finding(&O04, tables, same, found, wanted);
        }
        if let Some(Err(fault)) = outcome {
            let found = format!("{fault}; it has {room} bytes at {at}");
            let wanted = format!("the {} bytes of a cluster", self.geometry.cluster_size());
            self.stream_finding(&L15, tables, same, found, wanted);
        }
        // Neighbours with one cause are one finding; where a sound stream comes, it ends.
        if before == self.found.len() {
            self.settle_grouped();
        } else {
            self.thin_out();
        }
        // Decompressing tells exactly how many bytes are its own; else only the last sector is in doubt.
        let len = outcome.and_then(Result::ok).unwrap_or(room.saturating_sub(SECTOR_REST));
        let end = at.saturating_add(len).0;
        if end > taken.end
            && let Some(place) = self.place_of(tables, *stream)
        {
            *taken = Taken { end, entry: place.entry.at };
        }
    }

    /// A finding at the first entry of a stream, which hurts what each of them maps.
    fn stream_finding(
        &mut self,
        rule: &'static Rule,
        tables: &[(u64, L2Use)],
        same: &[Stream],
        found: String,
        wanted: String,
    ) {
        let mut finding = Finding::new(rule, Structure::L2Table, Span::default(), found, wanted);
        for stream in same.iter().rev() {
            let Some(place) = self.place_of(tables, *stream) else { continue };
            (finding.at, finding.guest) = (Some(place.entry), Some(place.guest));
            self.losses.in_table(place.table, place.start, std::slice::from_ref(&finding));
        }
        self.found.push(finding);
    }

    fn place_of(&self, tables: &[(u64, L2Use)], stream: Stream) -> Option<Place> {
        let (at, table) = tables.get(to_usize(stream.table.into()))?;
        let (is_sure, table) = (!table.wanders, self.table(*at, table));
        let entry_len = self.geometry.l2_entry_len();
        let entry = table.at.saturating_add(u64::from(stream.index).saturating_mul(entry_len));
        let start = self.guest_of(&table, stream.index.into());
        let (tree, disk_size) = (table.tree.l1.tree, table.tree.disk_size);
        Some(Place {
            entry: Span::new(entry, entry_len),
            guest: guest(tree, start, self.geometry.cluster_size(), disk_size),
            table: *at,
            start: self.guest_of(&table, 0),
            is_sure,
        })
    }

    /// O04, where one tree maps two guest clusters to the same stream.
    fn same_streams(&mut self, all: &[Stream], tables: &[(u64, L2Use)]) {
        let (mut lists, mut places) = (Vec::new(), Vec::new());
        for same in all.chunk_by(Stream::is_same).filter(|same| same.len() > 1) {
            let mut entries = same.iter().filter_map(|stream| self.place_of(tables, *stream));
            let Some(first) = entries.next() else { continue };
            let Some(other) = entries.find(|place| !first.is_copy(place)) else { continue };
            if lists.len() >= self.image.limits().conflicts {
                let value = to_u64(lists.len());
                let error = Error::Budget { limit: "conflicts", value, at: other.entry.at };
                self.totals.stop(error, Structure::L2Table, &T01);
                break;
            }
            let mut sharers = Sharers::default();
            same.iter().filter_map(|stream| tables.get(to_usize(stream.table.into()))).for_each(|(at, _)| {
                sharers.add(*at);
            });
            lists.push(sharers);
            places.push((same, first, other));
        }
        let l1_tables: Vec<_> = self.tables.l1.iter().map(|l1| l1.tree).collect();
        let answers = one_tree_has_two(self.image, &lists, &l1_tables, &mut self.totals);
        for ((same, first, other), _) in places.into_iter().zip(answers).filter(|(_, is_one)| *is_one) {
            let Some(stream) = same.first() else { continue };
            let found = format!(
                "{:#x} for guest {} and again at {} for guest {}",
                self.streams.entry(*stream),
                first.guest.span.start,
                other.entry.at,
                other.guest.span.start
            );
            self.stream_finding(&O04, tables, same, found, "bytes of its own for each".to_owned());
            self.thin_out();
        }
        self.settle_grouped();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::mapping::{L2Entry, Mapping};

    #[test]
    fn an_entry_keeps_its_offset_and_its_sectors() {
        for cluster_bits in [9, 16, 21, 30] {
            let geometry = Geometry::new(cluster_bits, false).unwrap();
            let mut streams = Streams::new(geometry, 3);
            let highest = (1_u64 << 62) - 1;
            for bits in [0, 0x1_2345, highest & !0xfff, highest] {
                let entry = L2Entry(1 << 62 | bits);
                let Mapping::Compressed(stream) = entry.mapping(geometry, false) else { unreachable!() };
                streams.push(stream, 7, 9);
                let kept = streams.all.pop().unwrap();
                assert_eq!(streams.span(kept), Span::new(stream.at, stream.len), "{cluster_bits}: {bits:#x}");
                assert_eq!(streams.entry(kept), entry.0, "{cluster_bits}: {bits:#x}");
            }
        }
    }
}
