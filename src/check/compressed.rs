//! Compressed clusters: which of them share bytes (O04), and which cannot be decompressed (L15).

use super::context::Context;
use super::lost::Losses;
use super::reporter::Reporter;
use super::sharing::{Sharers, one_tree_has_two};
use super::streams::{SECTOR_REST, Stream, StreamList};
use super::tables::L2Reading;
use super::tree_tables::{L2Use, Trees};
use crate::Limit;
use crate::finding::{Finding, Guest, Rule, Structure};
use crate::guest::Outcome;
use crate::rules::named::{COMPRESSED_DATA_BROKEN, COMPRESSED_OVERLAP};
use crate::source::ReadAt;
use crate::units::{GuestOffset, HostOffset, Span, to_usize};

/// The bytes of the file that streams took so far, and whose entry says so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastStream {
    end: u64,
    entry: HostOffset,
}

/// Where the entry of a stream stands, and what it maps.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: Span,
    guest: Option<Guest>,
    /// Its index, behind that of the L1 entry that leads to its table.
    index: (u32, u32),
    /// Where the table starts, and what it maps first.
    table: u64,
    start: Option<GuestOffset>,
    /// Whether the table stands for no other guest range.
    is_sure: bool,
}

impl Place {
    /// Whether two entries are copies of one, in tables that no tree has both.
    fn is_copy(&self, other: &Self) -> bool {
        self.is_sure && other.is_sure && self.index == other.index
    }

    /// For which guest offset the entry is.
    fn shown(&self) -> String {
        self.guest.map_or("no guest".to_owned(), |guest| format!("guest {}", guest.span.start))
    }
}

/// The judging of all compressed clusters, in the order of the file.
pub(super) struct StreamJudge<'p, 'a, 'w, R> {
    pub(super) cx: &'p Context<'a, R>,
    pub(super) trees: &'p Trees,
    /// The tables in the order in which streams number them.
    pub(super) tables: &'p [(u64, L2Use)],
    pub(super) streams: &'p StreamList,
    pub(super) losses: &'p mut Losses,
    pub(super) reporter: &'p mut Reporter<'w>,
    pub(super) taken: LastStream,
}

impl<R: ReadAt> StreamJudge<'_, '_, '_, R> {
    /// Judges one stream, which several entries may have, and what came of decompressing it.
    pub(super) fn stream(&mut self, same: &[Stream], outcome: Outcome) {
        let Some(stream) = same.first() else { return };
        let Span { at, len: room } = self.streams.span(*stream);
        let before = self.reporter.found.len();
        if at.0 < self.taken.end {
            let found = format!("{:#x}, bytes from {at} on", self.streams.entry(*stream));
            let wanted = format!(
                "bytes from {:#x} on, behind those of the entry at {}",
                self.taken.end, self.taken.entry
            );
            self.stream_finding(&COMPRESSED_OVERLAP, same, found, wanted);
        }
        if let Some(Err(fault)) = outcome {
            let found = format!("{fault}; it has {room} bytes at {at}");
            let wanted = format!("the {} bytes of a cluster", self.cx.geometry.cluster_size());
            self.stream_finding(&COMPRESSED_DATA_BROKEN, same, found, wanted);
        }
        // Neighbours with one cause are one finding; where a sound stream comes, it ends.
        if before == self.reporter.found.len() {
            self.reporter.end_table();
        } else {
            self.reporter.keep_few();
        }
        // Decompressing tells exactly how many bytes are its own; else only the last sector is in doubt.
        let len = outcome.and_then(Result::ok).unwrap_or(room.saturating_sub(SECTOR_REST));
        let end = at.saturating_add(len).0;
        if end > self.taken.end
            && let Some(place) = self.place_of(*stream)
        {
            self.taken = LastStream { end, entry: place.entry.at };
        }
    }

    /// A finding at the first entry of a stream, which hurts what each of them maps.
    fn stream_finding(&mut self, rule: &'static Rule, same: &[Stream], found: String, wanted: String) {
        let mut finding = Finding::new(rule, Structure::L2Table, Span::default(), found, wanted);
        for stream in same.iter().rev() {
            let Some(place) = self.place_of(*stream) else { continue };
            (finding.at, finding.guest) = (Some(place.entry), place.guest);
            self.losses.in_table(place.table, place.start, std::slice::from_ref(&finding));
        }
        self.reporter.found.push(finding);
    }

    fn place_of(&self, stream: Stream) -> Option<Place> {
        let (at, table) = self.tables.get(to_usize(stream.table.into()))?;
        let (is_sure, index) = (!table.is_elsewhere, (table.l1_index, stream.index));
        let table = L2Reading::new(self.cx, self.trees, *at, table);
        let entry_len = self.cx.geometry.l2_entry_len();
        let entry = table.l2.entry_at(stream.index.into());
        let start = table.guest_offset(stream.index.into(), self.cx.geometry);
        let (tree, disk_size) = (table.tree.l1.tree, table.tree.disk_size);
        let cluster_size = self.cx.geometry.cluster_size();
        Some(Place {
            entry: Span::new(entry, entry_len),
            guest: start.map(|start| Guest::new(tree, start, cluster_size, disk_size)),
            index,
            table: *at,
            start: table.start,
            is_sure,
        })
    }

    /// O04, where one tree maps two guest clusters to the same stream.
    pub(super) fn same_streams(&mut self, all: &[Stream]) {
        let (mut lists, mut places) = (Vec::new(), Vec::new());
        for same in all.chunk_by(Stream::is_same).filter(|same| same.len() > 1) {
            let mut entries = same.iter().filter_map(|stream| self.place_of(*stream));
            let Some(first) = entries.next() else { continue };
            let Some(other) = entries.find(|place| !first.is_copy(place)) else { continue };
            let limits = self.cx.image.limits();
            if lists.len() >= limits.conflicts {
                self.reporter.stop(limits.spent(Limit::Conflicts, other.entry.at), Structure::L2Table);
                break;
            }
            let mut sharers = Sharers::default();
            same.iter().filter_map(|stream| self.tables.get(to_usize(stream.table.into()))).for_each(
                |(at, _)| {
                    sharers.add(*at);
                },
            );
            lists.push(sharers);
            places.push((same, first, other));
        }
        let answers = one_tree_has_two(self.cx.image, &lists, &self.trees.l1_trees(), self.reporter);
        for ((same, first, other), _) in places.into_iter().zip(answers).filter(|(_, is_one)| *is_one) {
            let Some(stream) = same.first() else { continue };
            let found = format!(
                "{:#x} for {} and again at {} for {}",
                self.streams.entry(*stream),
                first.shown(),
                other.entry.at,
                other.shown()
            );
            self.stream_finding(&COMPRESSED_OVERLAP, same, found, "bytes of its own for each".to_owned());
            self.reporter.keep_few();
        }
        self.reporter.end_table();
    }
}
