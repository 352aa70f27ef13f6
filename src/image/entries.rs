//! The one walk over the entries of a table: as far as the file goes, in pieces, and over its holes without reading them.

use super::{Bitmap, DiskTree, Image};
use crate::Error;
use crate::finding::Structure;
use crate::format::bitmap::BitmapFlags;
use crate::format::mapping::SubclusterBitmap;
use crate::format::refcount::RefcountWidth;
use crate::source::{Metered, ReadAt};
use crate::units::{Geometry, HostOffset, Span, Tree, to_u64, to_usize};

/// Bytes that are read at a time: a multiple of every entry's length.
const CHUNK_LEN: u64 = 64 << 10;

/// A table of entries, and what leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which one it is.
    pub kind: TableKind,
    /// Its bytes, which may lie behind the end of the file.
    pub span: Span,
    /// Bytes of an entry, a power of two. Refcounts that share a byte have 1.
    pub entry_len: u64,
}

/// Which table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// The refcount table.
    Refcounts,
    /// The refcount block that the entry with this index of the refcount table leads to.
    RefcountBlock(u64),
    /// The L1 table of a tree.
    L1(DiskTree),
    /// An L2 table.
    L2 {
        /// A tree that has it.
        tree: DiskTree,
        /// The index of the L1 entry that leads to it there.
        l1_index: u64,
    },
    /// The table of a bitmap.
    Bitmap {
        /// The bitmap's place in the directory.
        index: u32,
        /// Whether the bitmap was not saved, so that QEMU does not load the table.
        in_use: bool,
    },
}

impl TableKind {
    /// The structure that findings about its entries name.
    pub const fn structure(self) -> Structure {
        match self {
            Self::Refcounts => Structure::RefcountTable,
            Self::RefcountBlock(_) => Structure::RefcountBlock,
            Self::L1(_) => Structure::L1Table,
            Self::L2 { .. } => Structure::L2Table,
            Self::Bitmap { .. } => Structure::BitmapTable,
        }
    }

    /// Its place: the index of the entry that leads to it, or its number in a list.
    pub fn place(self) -> u64 {
        match self {
            Self::RefcountBlock(index) | Self::L2 { l1_index: index, .. } => index,
            Self::Bitmap { index, .. } => index.into(),
            Self::Refcounts | Self::L1(_) => 0,
        }
    }

    /// The tree that it belongs to.
    pub const fn tree(self) -> Option<Tree> {
        match self {
            Self::L1(tree) | Self::L2 { tree, .. } => Some(tree.l1.tree),
            _ => None,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Refcounts => "the refcount table",
            Self::RefcountBlock(_) => "a refcount block",
            Self::L1(_) => "an L1 table",
            Self::L2 { .. } => "an L2 table",
            Self::Bitmap { .. } => "a bitmap table",
        }
    }
}

impl Table {
    /// The L1 table of a tree.
    pub fn l1(tree: DiskTree) -> Self {
        Self { kind: TableKind::L1(tree), span: tree.l1.span(), entry_len: 8 }
    }

    /// The L2 table at `at`, to which the entry `l1_index` of this tree leads.
    pub const fn l2(tree: DiskTree, l1_index: u64, at: HostOffset, geometry: Geometry) -> Self {
        let span = geometry.cluster_at(at);
        Self { kind: TableKind::L2 { tree, l1_index }, span, entry_len: geometry.l2_entry_len() }
    }

    /// The refcount block at `at`, to which the entry `index` of the refcount table leads.
    pub fn refcount_block(index: u64, at: HostOffset, geometry: Geometry, width: RefcountWidth) -> Self {
        let span = geometry.cluster_at(at);
        Self { kind: TableKind::RefcountBlock(index), span, entry_len: width.byte_len() }
    }

    /// The table of a bitmap.
    pub fn bitmap(bitmap: &Bitmap) -> Self {
        let in_use = bitmap.head.flags.has(BitmapFlags::IN_USE);
        Self { kind: TableKind::Bitmap { index: bitmap.index, in_use }, span: bitmap.table(), entry_len: 8 }
    }

    /// How many entries it has, in the file and behind it.
    pub const fn entry_count(&self) -> u64 {
        self.span.len.unbounded_shr(self.entry_len.trailing_zeros())
    }

    /// Where the entry with this index stands.
    pub const fn entry_at(&self, index: u64) -> HostOffset {
        self.span.at.saturating_add(index.saturating_mul(self.entry_len))
    }
}

/// One entry of a table, of 64 bits, or of 128 with extended L2 entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the table.
    pub index: u64,
    /// Where it stands in the file.
    pub at: HostOffset,
    /// Its 64 bits, or the first of them.
    pub raw: u64,
    /// The second 64 bits of an extended L2 entry.
    pub bitmap: Option<SubclusterBitmap>,
}

impl Entry {
    /// The entry that has these halves, of which there is one, or two.
    #[inline]
    fn decode(index: u64, at: HostOffset, halves: &[[u8; 8]]) -> Option<Self> {
        let half = |n: usize| halves.get(n).map(|half| u64::from_be_bytes(*half));
        Some(Self { index, at, raw: half(0)?, bitmap: half(1).map(SubclusterBitmap) })
    }

    fn is_zero(&self) -> bool {
        self.raw == 0 && self.bitmap.unwrap_or_default().0 == 0
    }
}

/// Some entries of a table that stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryChunk<'b> {
    /// The place of the first one in the table.
    pub first: u64,
    /// Where that stands in the file.
    pub at: HostOffset,
    /// Whole entries: where the file ends within the last one, its other bytes are zeros, as QEMU reads them.
    pub bytes: &'b [u8],
    entry_len: u64,
}

impl<'b> EntryChunk<'b> {
    /// How many entries they are.
    pub fn count(&self) -> u64 {
        to_u64(self.bytes.len()).unbounded_shr(self.entry_len.trailing_zeros())
    }

    /// Those that are not zero.
    pub fn entries(self) -> impl Iterator<Item = Entry> + 'b {
        let is_wide = self.entry_len == 16;
        let (halves, _) = self.bytes.as_chunks::<8>();
        let per_entry = if is_wide { 2 } else { 1 };
        (self.first..).zip(halves.chunks_exact(per_entry)).filter_map(move |(index, halves)| {
            let at = self.at.saturating_add(index.saturating_sub(self.first).saturating_mul(self.entry_len));
            Entry::decode(index, at, halves).filter(|entry| !entry.is_zero())
        })
    }
}

/// Reads a table piece by piece. What the file has as a hole, or as zeros for a whole piece, is passed over: the pieces
/// need not follow on each other.
#[derive(Debug)]
pub struct Entries<'i, R> {
    source: &'i Metered<R>,
    table: Table,
    /// Bytes from the start of the table to the next piece, and to the end of the last entry that the file holds.
    next: u64,
    end: u64,
    is_last_zero: bool,
    buf: Vec<u8>,
}

impl<R: ReadAt> Image<R> {
    /// The entries of a table, as far as the file goes.
    pub fn entries(&self, table: Table) -> Entries<'_, R> {
        let there = table.span.within(self.source.len()).len;
        let end = there.checked_next_multiple_of(table.entry_len).unwrap_or(there);
        Entries { source: &self.source, table, next: 0, end, is_last_zero: false, buf: Vec::new() }
    }
}

impl<R: ReadAt> Image<R> {
    /// One entry of a table whose entries have 64 or 128 bits. What the end of the file cuts off is zero, as QEMU reads it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn entry(&self, table: &Table, index: u64) -> Result<Entry, Error> {
        let (mut bytes, at) = ([0; 16], table.entry_at(index));
        let bytes = bytes.split_at_mut(to_usize(table.entry_len).min(16)).0;
        self.source.read(table.kind.words(), at, bytes)?;
        let entry = Entry::decode(index, at, bytes.as_chunks::<8>().0);
        Ok(entry.unwrap_or(Entry { index, at, raw: 0, bitmap: None }))
    }
}

impl<R: ReadAt> Entries<'_, R> {
    /// The next entries, or an error, after which nothing comes.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Option<Result<EntryChunk<'_>, Error>> {
        let chunk = self.chunk();
        if let Err(error) = chunk {
            self.end = self.next;
            return Some(Err(error));
        }
        let (from, len) = chunk.ok().flatten()?;
        let Table { span, entry_len, .. } = self.table;
        let bytes = self.buf.get(..len)?;
        let first = from.unbounded_shr(entry_len.trailing_zeros());
        Some(Ok(EntryChunk { first, at: span.at.saturating_add(from), bytes, entry_len }))
    }

    /// How many entries were handed out or passed over so far.
    pub fn passed(&self) -> u64 {
        self.next.unbounded_shr(self.table.entry_len.trailing_zeros())
    }

    /// Hands each entry that is not zero to `visit`.
    ///
    /// # Errors
    /// Where the table cannot be read, and what `visit` says.
    pub fn for_each<E: From<Error>>(
        mut self,
        mut visit: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(chunk) = self.next() {
            chunk?.entries().try_for_each(&mut visit)?;
        }
        Ok(())
    }

    /// Reads the next piece that is not all zeros: where it starts in the table, and its length.
    fn chunk(&mut self) -> Result<Option<(u64, usize)>, Error> {
        while self.next < self.end {
            if std::mem::take(&mut self.is_last_zero) {
                self.pass_hole()?;
                continue;
            }
            let from = self.next;
            self.buf.resize(to_usize(self.end.saturating_sub(from).min(CHUNK_LEN)), 0);
            let at = self.table.span.at.saturating_add(from);
            let there = self.source.read(self.table.kind.words(), at, &mut self.buf)?.len();
            let whole = there.checked_next_multiple_of(to_usize(self.table.entry_len));
            let len = whole.unwrap_or(there).min(self.buf.len());
            self.buf.get_mut(there..len).unwrap_or_default().fill(0);
            self.next = from.saturating_add(to_u64(len));
            if there < self.buf.len() {
                // The file ends here, or has become shorter meanwhile.
                self.end = self.next;
            }
            self.is_last_zero = is_zero(self.buf.get(..len).unwrap_or_default());
            if !self.is_last_zero {
                return Ok(Some((from, len)));
            }
        }
        Ok(None)
    }

    /// Goes on at the entry of the next byte that is stored.
    fn pass_hole(&mut self) -> Result<(), Error> {
        let at = self.table.span.at.saturating_add(self.next);
        self.next = match self.source.next_data(at)? {
            Some(data) => {
                let hole = data.0.saturating_sub(at.0) & !self.table.entry_len.saturating_sub(1);
                self.next.saturating_add(hole).min(self.end)
            }
            None => self.end,
        };
        Ok(())
    }
}

/// Whether there is no entry at all. The first word mostly tells.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.first().is_none_or(|word| *word == [0; 8])
        && rest.iter().all(|byte| *byte == 0)
        && words.iter().fold(0, |bits, word| bits | u64::from_ne_bytes(*word)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::image::L1Table;

    fn l1(at: u64, size: u32) -> Table {
        let l1 = L1Table { tree: Tree::Active, at: HostOffset(at), size };
        Table::l1(DiskTree { l1, disk_size: 0 })
    }

    fn entries(table: Table, bytes: &[u8]) -> (Vec<(u64, u64, u64)>, u64) {
        let source = Metered::new(bytes, Limits::default()).unwrap();
        let there = table.span.within(source.len()).len;
        let end = there.next_multiple_of(table.entry_len);
        let mut entries =
            Entries { source: &source, table, next: 0, end, is_last_zero: false, buf: Vec::new() };
        let mut found = Vec::new();
        while let Some(chunk) = entries.next() {
            found.extend(chunk.unwrap().entries().map(|entry| (entry.index, entry.at.0, entry.raw)));
        }
        (found, entries.passed())
    }

    #[test]
    fn a_cut_entry_is_filled_up_with_zeros() {
        let bytes = [[9; 8].as_slice(), &[0; 7], &[1], &[0; 8], &[2; 3]].concat();
        let cut = 0x0202_0200_0000_0000;
        assert_eq!(entries(l1(8, 9), &bytes), (vec![(0, 8, 1), (2, 24, cut)], 3));
        assert_eq!(entries(l1(8, 2), &bytes), (vec![(0, 8, 1)], 2));
        let wide = Table { entry_len: 16, ..l1(8, 9) };
        assert_eq!(entries(wide, &bytes).0, [(0, 8, 1), (1, 24, cut)]);
        assert_eq!(entries(wide, &bytes[..17]).0, [(0, 8, 1)], "the second half is cut");
    }

    #[test]
    fn pieces_of_zeros_are_passed_over_and_counted() {
        let mut bytes = vec![0; 300_000];
        (bytes[8], bytes[200_007]) = (1, 2);
        let found = vec![(1, 8, 1 << 56), (25_000, 200_000, 2)];
        assert_eq!(entries(l1(0, 50_000), &bytes), (found, 37_500));
    }
}
