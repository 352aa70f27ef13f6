//! Which spans of the file a walk has been through, so that it goes through none of them twice, or only so often.

use std::collections::BTreeMap;

use super::{Image, Table};
use crate::format::qemu;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree};

/// Spans that do not overlap, each with a note of who came by.
///
/// Tables of a hostile image may share all their bytes, in different phases; whoever walks only what is
/// [`first`](Self::first) does work in proportion to the file, and not to its square.
#[derive(Clone, Debug)]
pub struct Visited<T> {
    spans: BTreeMap<HostOffset, (HostOffset, T)>,
    limit: usize,
}

impl<T: Copy> Visited<T> {
    /// Nothing visited yet; at most `limit` spans are remembered.
    pub fn new(limit: usize) -> Self {
        Self { spans: BTreeMap::new(), limit }
    }

    /// Who visited a byte of `span` before, and in which span; if nobody did, it counts as visited from now on.
    pub fn first(&mut self, span: Span, visitor: T) -> Option<(Span, T)> {
        let before = self.spans.range(..span.end()).next_back();
        if let Some((at, (end, earlier))) = before
            && *end > span.at
        {
            return Some((Span::new(*at, end.0.saturating_sub(at.0)), *earlier));
        }
        if !self.is_full() && span.len > 0 {
            self.spans.insert(span.at, (span.end(), visitor));
        }
        None
    }

    /// Whether nothing more is remembered.
    pub fn is_full(&self) -> bool {
        self.spans.len() >= self.limit
    }
}

/// Bytes of a table that is read again for which it counts as one: QEMU's largest cluster.
const REPEATED_LEN: u64 = 1 << qemu::MAX_CLUSTER_BITS;

/// How often tables are read that no byte of the file pays for: QEMU reads them, but whoever reads all of them does work
/// without end. So many may be.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    count: u64,
    limit: u64,
}

impl Repeats {
    /// None yet.
    pub fn new(limit: u64) -> Self {
        Self { count: 0, limit }
    }

    /// Whether one more may be read, of `len` bytes in the file.
    pub fn may_read(&mut self, len: u64) -> bool {
        self.count = self.count.saturating_add(1).saturating_add(len / REPEATED_LEN);
        !self.is_spent()
    }

    /// Whether one came that may not be read.
    pub fn is_spent(&self) -> bool {
        self.count > self.limit
    }
}

/// What is done with tables beside the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// They are not read.
    Unread,
    /// The bytes of the file are read as a table once, whatever else points at them.
    Once,
    /// As often as something points at them, as QEMU does, up to this number of tables beyond the first reading.
    Again(u64),
}

impl Tables {
    /// How many may be read again; `None` where none is meant to be.
    const fn again(self) -> Option<u64> {
        match self {
            Self::Unread | Self::Once => None,
            Self::Again(limit) => Some(limit),
        }
    }
}

/// The table that had bytes of another before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Whether it has just the same bytes of the file.
    pub is_same: bool,
    /// The tree that it belongs to.
    pub tree: Option<Tree>,
    /// Its place: of the entry that leads to it, or in its list.
    pub index: u64,
}

/// Which bytes were handed out as tables of one kind.
pub(super) struct Seen {
    /// Each with its tree and its place, since there may be very many.
    pub(super) visited: Visited<(Option<Tree>, u64)>,
    file_len: u64,
    /// `None`: each is handed out once, by design.
    again: Option<Repeats>,
}

impl Seen {
    /// None yet.
    pub(super) fn new<R: ReadAt>(image: &Image<R>, tables: Tables) -> Self {
        let visited = Visited::new(image.limits().remembered_tables);
        Self { visited, file_len: image.file_len(), again: tables.again().map(Repeats::new) }
    }

    /// Whether one came that may not be read again.
    pub(super) fn is_spent(&self) -> bool {
        self.again.is_some_and(|again| again.is_spent())
    }

    /// The table that had bytes of this one before, unless it may be read again.
    pub(super) fn earlier(&mut self, table: &Table) -> Option<Earlier> {
        let here = table.span.within(self.file_len);
        let (span, (tree, index)) = self.visited.first(here, (table.kind.tree(), table.kind.place()))?;
        let earlier = Earlier { is_same: span == here, tree, index };
        let may_read = self.again.as_mut().is_some_and(|again| again.may_read(here.len));
        (!may_read).then_some(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(at: u64, len: u64) -> Span {
        Span::new(HostOffset(at), len)
    }

    #[test]
    fn whoever_overlaps_comes_second() {
        let mut visited = Visited::new(3);
        assert_eq!(visited.first(span(100, 10), 'a'), None);
        assert_eq!(visited.first(span(110, 10), 'b'), None);
        assert_eq!(visited.first(span(90, 10), 'c'), None);
        for (at, len, earlier) in
            [(100, 10, 'a'), (109, 1, 'a'), (95, 100, 'b'), (80, 11, 'c'), (119, 9, 'b')]
        {
            assert_eq!(visited.first(span(at, len), 'd').map(|(_, who)| who), Some(earlier), "{at}+{len}");
        }
        assert!(visited.is_full());
        assert_eq!(visited.first(span(200, 1), 'e'), None);
        assert_eq!(visited.first(span(200, 1), 'f'), None, "past the limit nothing is remembered");
    }
}
