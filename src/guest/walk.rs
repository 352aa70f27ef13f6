//! The way along the guest's offsets through the L1 and L2 tables, in bounded memory.

use super::cluster::{Cluster, Extent, Reading, State};
use super::l1_range::L1Range;
use super::table::{Ahead, TableWindow};
use crate::Error;
use crate::format::mapping::{L1Entry, L2Entry, SubclusterBitmap};
use crate::image::{Image, L1Table};
use crate::rules::named::{L2_TABLE_BEYOND_FILE, L2_TABLE_UNALIGNED};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, GuestPlace, GuestSpan, HostOffset, to_u64, to_usize};

/// Goes from extent to extent; neighbours may belong together.
#[derive(Debug)]
pub(super) struct ExtentWalk<'i, R> {
    image: &'i Image<R>,
    reading: Reading,
    l1: L1Range,
    at: u64,
    end: u64,
    l1_table: TableWindow,
    l2_table: TableWindow,
    /// The L1 entry that `l2_table` belongs to.
    l1_index: Option<u64>,
    /// Whether each compressed cluster comes alone, with its stream.
    streams: bool,
}

impl<'i, R: ReadAt> ExtentWalk<'i, R> {
    /// The way through an L1 table of which so many entries are wanted.
    pub(super) fn new(
        image: &'i Image<R>,
        geometry: Geometry,
        (l1, wanted): (L1Table, u64),
        range: GuestSpan,
        streams: bool,
    ) -> Self {
        Self {
            image,
            reading: Reading::new(image, geometry),
            l1: L1Range::new(l1, geometry, wanted),
            at: range.start.0,
            end: range.start.0.saturating_add(range.len),
            l1_table: TableWindow::new("an L1 table", l1.span(), 8),
            l2_table: TableWindow::new(
                "an L2 table",
                geometry.cluster_at(HostOffset(0)),
                geometry.l2_entry_len(),
            ),
            l1_index: None,
            streams,
        }
    }

    /// The next run of guest offsets that one part of a table decides; after an error comes what lies behind it.
    pub(super) fn step(&mut self) -> Result<Option<Extent>, Error> {
        // What stands behind the end is not asked for, and may be unreadable.
        if self.at >= self.end {
            return Ok(None);
        }
        let run = self.runs()?.next();
        if let Some(extent) = run {
            self.at = self.at.saturating_add(extent.guest.len);
        }
        Ok(run)
    }

    /// Hands all further runs to `visit`, up to its first error: at less cost for each than [`Self::step`], since a
    /// table's entries are gone through where they lie.
    pub(super) fn for_each<E: From<Error>>(
        mut self,
        mut visit: impl FnMut(Extent) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.at < self.end {
            let mut at = self.at;
            for extent in self.runs()? {
                at = at.saturating_add(extent.guest.len);
                visit(extent)?;
            }
            self.at = at;
        }
        Ok(())
    }

    /// The runs from here on, which is before the end, that a part of a table in memory decides: at least one.
    fn runs(&mut self) -> Result<Runs<'_>, Error> {
        let geometry = self.reading.geometry;
        let GuestPlace { l1_index, in_l2, l2_index, in_cluster } = geometry.place(GuestOffset(self.at));
        let place = Place { reading: self.reading, at: self.at, within: in_cluster, streams: self.streams };
        let end = self.end;
        if self.l1_index != Some(l1_index)
            && let Some(extent) = self.l1_entry(l1_index, in_l2, geometry.l2_coverage())?
        {
            return Ok(Runs { place, end, rest: Rest::One(extent) });
        }
        let entry_len = geometry.l2_entry_len();
        let entries = |len: u64| len.unbounded_shr(entry_len.trailing_zeros()).max(1);
        let rest = match self.l2_table.part(self.image, l2_index.saturating_mul(entry_len))? {
            Ahead::Zeros(len) => Rest::One(place.extent(State::Unallocated, None, entries(len))),
            Ahead::Behind(len) => {
                Rest::One(place.extent(State::Broken(&L2_TABLE_BEYOND_FILE), None, entries(len)))
            }
            Ahead::Bytes(bytes) if geometry.extended_l2() => Rest::Extended(bytes.as_chunks().0),
            Ahead::Bytes(bytes) => Rest::Standard(bytes.as_chunks().0),
        };
        Ok(Runs { place, end, rest })
    }

    /// Turns to the L2 table of an L1 entry; if there is none, says so for this entry and those like it that follow.
    fn l1_entry(&mut self, l1_index: u64, in_l2: u64, coverage: u64) -> Result<Option<Extent>, Error> {
        let none = |state, count: u64| {
            let len = count.saturating_mul(coverage).saturating_sub(in_l2);
            let guest = GuestSpan { start: GuestOffset(self.at), len };
            Ok(Some(Extent { guest, state, host: None, stream_len: 0 }))
        };
        if let Some((state, count)) = self.l1.beyond(l1_index) {
            return none(state, count);
        }
        let entries = match self.l1_table.part(self.image, l1_index.saturating_mul(8))? {
            Ahead::Zeros(len) => return none(State::Unallocated, (len / 8).max(1)),
            Ahead::Behind(len) => return none(State::Broken(self.l1.cut_rule()), (len / 8).max(1)),
            Ahead::Bytes(bytes) => bytes.as_chunks::<8>().0,
        };
        let offsets = entries.iter().map(|entry| L1Entry(u64::from_be_bytes(*entry)).l2_offset());
        let empty = to_u64(offsets.clone().take_while(|offset| offset.0 == 0).count());
        let at = match offsets.clone().next() {
            Some(at) if at.0 != 0 => at,
            _ => return none(State::Unallocated, empty.max(1)),
        };
        let table = self.reading.geometry.cluster_at(at);
        if !at.is_aligned(table.len) {
            return none(State::Broken(&L2_TABLE_UNALIGNED), 1);
        }
        self.l2_table.turn_to(table);
        self.l1_index = Some(l1_index);
        Ok(None)
    }
}

/// Runs that lie side by side.
struct Runs<'t> {
    place: Place,
    end: u64,
    rest: Rest<'t>,
}

/// What decides them.
enum Rest<'t> {
    /// All is decided: it is one run.
    One(Extent),
    /// L2 entries, the first of them for the place at hand.
    Standard(&'t [[u8; 8]]),
    /// The same with subclusters.
    Extended(&'t [[u8; 16]]),
}

impl Iterator for Runs<'_> {
    type Item = Extent;

    #[inline]
    fn next(&mut self) -> Option<Extent> {
        let left = self.end.saturating_sub(self.place.at);
        if left == 0 {
            return None;
        }
        let mut extent = match self.rest {
            Rest::One(extent) => extent,
            Rest::Standard([]) | Rest::Extended([]) => return None,
            Rest::Standard(entries) => self.place.standard(entries),
            Rest::Extended(entries) => self.place.extended(entries),
        };
        extent.guest.len = extent.guest.len.clamp(1, left);
        let passed = self.place.pass(extent.guest.len);
        match &mut self.rest {
            Rest::One(_) => self.rest = Rest::Standard(&[]),
            Rest::Standard(entries) => *entries = entries.get(passed..).unwrap_or_default(),
            Rest::Extended(entries) => *entries = entries.get(passed..).unwrap_or_default(),
        }
        Some(extent)
    }
}

/// Where a run of L2 entries begins.
struct Place {
    reading: Reading,
    at: u64,
    /// How far into the first cluster that is.
    within: u64,
    streams: bool,
}

impl Place {
    /// Goes on behind so many bytes, and says how many clusters end there.
    fn pass(&mut self, len: u64) -> usize {
        let geometry = self.reading.geometry;
        let within = self.within.saturating_add(len);
        self.at = self.at.saturating_add(len);
        self.within = within & geometry.cluster_size().saturating_sub(1);
        to_usize(within.unbounded_shr(geometry.cluster_bits()))
    }

    /// `count` clusters in one state, the first of them from this place on.
    fn extent(&self, state: State, host: Option<HostOffset>, count: u64) -> Extent {
        let len = count.saturating_mul(self.reading.geometry.cluster_size()).saturating_sub(self.within);
        let host = host.map(|host| host.saturating_add(self.within));
        Extent { guest: GuestSpan { start: GuestOffset(self.at), len }, state, host, stream_len: 0 }
    }

    fn cluster(&self, raw: u64) -> Cluster {
        self.reading.cluster(L2Entry(raw), GuestOffset(self.at.saturating_sub(self.within)))
    }

    fn standard(&self, entries: &[[u8; 8]]) -> Extent {
        let raw = |entry: &[u8; 8]| u64::from_be_bytes(*entry);
        let first = entries.first().map(raw).unwrap_or_default();
        let cluster = self.cluster(first);
        let rest = entries.get(1..).unwrap_or_default().iter().map(raw);
        self.whole(cluster, first, rest)
    }

    /// A run of entries of which the first says `cluster` of its cluster as a whole.
    fn whole(&self, cluster: Cluster, first: u64, rest: impl Iterator<Item = u64>) -> Extent {
        let further = match cluster.state {
            State::Broken(_) => 0,
            State::Compressed if self.streams => {
                let (host, stream_len) = match cluster.stream {
                    Some(stream) => (Some(stream.at), stream.len),
                    None => (None, 0),
                };
                return Extent { host, stream_len, ..self.extent(cluster.state, None, 1) };
            }
            State::Compressed => rest.take_while(|raw| L2Entry(*raw).is_compressed()).count(),
            _ => {
                // An entry of 0 with COPIED is data of an external file, and one of that cluster alone.
                let ignored = if self.reading.external_data { 0 } else { u64::MAX };
                let step = if cluster.host.is_some() { self.reading.geometry.cluster_size() } else { 0 };
                let copied = L2Entry(first).copied();
                let mut wanted = L2Entry(first).mapping_bits();
                rest.take_while(|raw| {
                    wanted = wanted.wrapping_add(step);
                    L2Entry(*raw).mapping_bits() == wanted
                        && (ignored != 0 || L2Entry(*raw).copied() == copied)
                })
                .count()
            }
        };
        self.extent(cluster.state, cluster.host, to_u64(further).saturating_add(1))
    }

    fn extended(&self, entries: &[[u8; 16]]) -> Extent {
        let halves = |entry: &[u8; 16]| {
            let (entry, _) = entry.as_chunks::<8>();
            let half = |n: usize| entry.get(n).map(|half| u64::from_be_bytes(*half)).unwrap_or_default();
            (half(0), half(1))
        };
        let (first, bits) = entries.first().map(halves).unwrap_or_default();
        let (cluster, bitmap) = (self.cluster(first), SubclusterBitmap(bits));
        let rest = entries.get(1..).unwrap_or_default().iter().map(halves);
        if matches!(cluster.state, State::Broken(_) | State::Compressed) {
            let alike = rest.take_while(|(raw, _)| L2Entry(*raw).is_compressed()).map(|(raw, _)| raw);
            return self.whole(cluster, first, alike);
        }
        // Each is below 32, whatever the offset.
        let subcluster_size = self.reading.geometry.subcluster_size().max(1);
        let index = |within: u64| {
            u32::try_from(within.checked_div(subcluster_size).unwrap_or_default()).unwrap_or(31)
        };
        let here = index(self.within);
        let state = Reading::subcluster(cluster, bitmap, here);
        let alike =
            (here..Geometry::SUBCLUSTERS).take_while(|n| Reading::subcluster(cluster, bitmap, *n) == state);
        let to = u64::from(here).saturating_add(to_u64(alike.count()));
        if to < u64::from(Geometry::SUBCLUSTERS) || here > 0 {
            let len = to.saturating_mul(subcluster_size).saturating_sub(self.within);
            let extent = self.extent(state, cluster.host, 1);
            let host = if matches!(state, State::Broken(_)) { None } else { extent.host };
            return Extent { guest: GuestSpan { len, ..extent.guest }, host, ..extent };
        }
        // The whole cluster is of one kind; so are those that follow with the same bitmap.
        let alike = rest.take_while(|(_, further)| *further == bits).map(|(raw, _)| raw);
        let whole = self.whole(Cluster { state, ..cluster }, first, alike);
        if matches!(state, State::Broken(_)) { Extent { host: None, ..whole } } else { whole }
    }
}
