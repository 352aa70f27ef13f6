//! What a persistent dirty bitmap says: the guest ranges that were written.

use super::table::{Ahead, TableWindow};
use crate::Error;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::image::{Bitmap, Image};
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, Span};

/// Bits of a byte, and of the words that are looked at at once.
const BYTE: u64 = 8;
const WORD: u64 = 64;

/// The dirty ranges of a bitmap, in order, each as long as can be; bits behind the end of the disk are left out.
/// Memory: two windows of 64 KiB. An error ends them.
#[derive(Debug)]
pub struct DirtyRuns<'i, R> {
    image: &'i Image<R>,
    bits: Bits,
    table: TableWindow,
    data: TableWindow,
    /// The table entry that `data` belongs to.
    entry: Option<u64>,
    /// Bits from here on were not looked at.
    at: u64,
}

/// How bits, table entries and guest offsets relate.
#[derive(Clone, Copy, Debug)]
struct Bits {
    granularity_bits: u32,
    disk_len: u64,
    /// Bits that the disk needs.
    count: u64,
    /// Bits of a table entry.
    per_entry: u64,
    /// Bits that the table has entries for.
    in_table: u64,
    cluster_size: u64,
}

impl Bits {
    fn new<R: ReadAt>(image: &Image<R>, bitmap: &Bitmap) -> Option<Self> {
        let cluster_size = image.geometry()?.cluster_size();
        let granularity_bits = u32::from(bitmap.head.granularity_bits.0);
        let disk_len = image.disk_len();
        let per_entry = cluster_size.saturating_mul(BYTE);
        let in_table = u64::from(bitmap.head.bitmap_table_size).saturating_mul(per_entry);
        Some(Self {
            granularity_bits,
            disk_len,
            count: bitmap.head.bit_count_for(disk_len)?,
            per_entry,
            in_table,
            cluster_size,
        })
    }

    /// The guest offset of a bit, or the end of the disk.
    fn guest(&self, bit: u64) -> u64 {
        let offset = bit.checked_mul(1_u64.unbounded_shl(self.granularity_bits));
        offset.unwrap_or(u64::MAX).min(self.disk_len)
    }
}

impl<R: ReadAt> Image<R> {
    /// The dirty ranges of one of its bitmaps; `None` where its granularity or the cluster size makes no sense.
    pub fn dirty_runs(&self, bitmap: &Bitmap) -> Option<DirtyRuns<'_, R>> {
        let bits = Bits::new(self, bitmap)?;
        Some(DirtyRuns {
            image: self,
            bits,
            table: TableWindow::new("a bitmap table", bitmap.table(), 8),
            data: TableWindow::new("a bitmap's data", Span::default(), WORD / BYTE),
            entry: None,
            at: 0,
        })
    }
}

impl<R: ReadAt> DirtyRuns<'_, R> {
    /// The first bit from `from` on that is `wanted`; the count of bits where there is none.
    fn find(&mut self, from: u64, wanted: bool) -> Result<u64, Error> {
        let end = self.bits.count;
        let mut bit = from;
        while bit < end {
            if bit >= self.bits.in_table {
                // What the table has no entries for was never written.
                return Ok(if wanted { end } else { bit });
            }
            let shift = self.bits.per_entry.trailing_zeros();
            let entry = bit.unbounded_shr(shift);
            let entry_end = entry.saturating_add(1).saturating_mul(self.bits.per_entry);
            let data = match self.table.part(self.image, entry.saturating_mul(8))? {
                // What is not in the file reads as zeros; the judge tells of it.
                Ahead::Zeros(len) | Ahead::Behind(len) => {
                    if !wanted {
                        return Ok(bit);
                    }
                    let entries = (len / 8).max(1);
                    bit = entry.saturating_add(entries).saturating_mul(self.bits.per_entry);
                    continue;
                }
                Ahead::Bytes(bytes) => {
                    let raw =
                        bytes.first_chunk::<8>().map(|raw| u64::from_be_bytes(*raw)).unwrap_or_default();
                    BitmapTableEntry(raw).data()
                }
            };
            match data {
                BitmapData::Zeroes if wanted => bit = entry_end,
                BitmapData::Ones if !wanted => bit = entry_end,
                BitmapData::Zeroes | BitmapData::Ones => return Ok(bit),
                BitmapData::Serialized(at) => {
                    if self.entry.replace(entry) != Some(entry) {
                        self.data.turn_to(Span::new(at, self.bits.cluster_size));
                    }
                    let in_entry = bit & self.bits.per_entry.saturating_sub(1);
                    let found = self.find_in_data(in_entry, wanted)?;
                    bit = entry_end.saturating_sub(self.bits.per_entry).saturating_add(found);
                    if found < self.bits.per_entry {
                        return Ok(bit.min(end));
                    }
                }
            }
        }
        Ok(end)
    }

    /// The first such bit of a cluster of data; the count of its bits where there is none.
    fn find_in_data(&mut self, from: u64, wanted: bool) -> Result<u64, Error> {
        let mut bit = from;
        while bit < self.bits.per_entry {
            // Windows begin on words, since clusters have whole ones.
            let word_at = (bit / WORD).saturating_mul(8);
            let in_word = u32::try_from(bit % WORD).unwrap_or_default();
            match self.data.part(self.image, word_at)? {
                Ahead::Zeros(_) | Ahead::Behind(_) if !wanted => return Ok(bit),
                Ahead::Zeros(len) | Ahead::Behind(len) => {
                    bit = word_at.saturating_add(len & !7).max(word_at.saturating_add(8)).saturating_mul(BYTE)
                }
                Ahead::Bytes(bytes) => {
                    let words = bytes.as_chunks::<8>().0;
                    let flip = if wanted { 0 } else { u64::MAX };
                    let mut mask = u64::MAX.unbounded_shl(in_word);
                    let mut passed = 0_u64;
                    for word in words {
                        let hits = (u64::from_le_bytes(*word) ^ flip) & mask;
                        if hits != 0 {
                            let base =
                                word_at.saturating_mul(BYTE).saturating_add(passed.saturating_mul(WORD));
                            return Ok(base.saturating_add(hits.trailing_zeros().into()));
                        }
                        mask = u64::MAX;
                        passed = passed.saturating_add(1);
                    }
                    bit = word_at.saturating_mul(BYTE).saturating_add(passed.max(1).saturating_mul(WORD));
                }
            }
        }
        Ok(self.bits.per_entry)
    }

    fn run(&mut self) -> Result<Option<GuestSpan>, Error> {
        let first = self.find(self.at, true)?;
        if first >= self.bits.count {
            self.at = self.bits.count;
            return Ok(None);
        }
        self.at = self.find(first, false)?;
        let (start, end) = (self.bits.guest(first), self.bits.guest(self.at));
        Ok(Some(GuestSpan { start: GuestOffset(start), len: end.saturating_sub(start) }))
    }
}

impl<R: ReadAt> Iterator for DirtyRuns<'_, R> {
    type Item = Result<GuestSpan, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.run();
        if run.is_err() {
            self.at = self.bits.count;
        }
        run.transpose()
    }
}

/// Two sorted lists of ranges as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// What is in the first and not in the second.
    Minus,
    /// What is in both.
    And,
}

/// Combines two sorted lists of ranges, such as [`DirtyRuns`], as they come.
#[derive(Debug)]
pub struct Combined<A, B> {
    how: Combine,
    first: A,
    second: B,
    one: Option<GuestSpan>,
    other: Option<GuestSpan>,
    begun: bool,
    done: bool,
}

impl<A, B> Combined<A, B>
where
    A: Iterator<Item = Result<GuestSpan, Error>>,
    B: Iterator<Item = Result<GuestSpan, Error>>,
{
    /// The two lists.
    pub fn new(how: Combine, first: A, second: B) -> Self {
        Self { how, first, second, one: None, other: None, begun: false, done: false }
    }

    fn step(&mut self) -> Result<Option<GuestSpan>, Error> {
        if !self.begun {
            self.begun = true;
            (self.one, self.other) = (self.first.next().transpose()?, self.second.next().transpose()?);
        }
        while let Some(one) = self.one {
            let one_end = one.start.saturating_add(one.len);
            let Some(other) = self.other else {
                if self.how == Combine::And {
                    return Ok(None);
                }
                self.one = self.first.next().transpose()?;
                return Ok(Some(one));
            };
            let other_end = other.start.saturating_add(other.len);
            let span = |start: GuestOffset, end: GuestOffset| GuestSpan {
                start,
                len: end.0.saturating_sub(start.0),
            };
            // What of the first comes before the second, what is in both, and what is behind.
            let before = span(one.start, one_end.min(other.start));
            let both = span(one.start.max(other.start), one_end.min(other_end));
            if one_end > other_end {
                self.one = Some(span(one.start.max(other_end), one_end));
                self.other = self.second.next().transpose()?;
            } else {
                self.one = self.first.next().transpose()?;
            }
            let found = if self.how == Combine::And { both } else { before };
            if found.len > 0 {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl<A, B> Iterator for Combined<A, B>
where
    A: Iterator<Item = Result<GuestSpan, Error>>,
    B: Iterator<Item = Result<GuestSpan, Error>>,
{
    type Item = Result<GuestSpan, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers are the test's own")]
mod tests {
    use super::*;

    fn list(spans: &[(u64, u64)]) -> Vec<Result<GuestSpan, Error>> {
        spans
            .iter()
            .map(|(start, end)| Ok(GuestSpan { start: GuestOffset(*start), len: end - start }))
            .collect()
    }

    fn combined(how: Combine, one: &[(u64, u64)], other: &[(u64, u64)]) -> Vec<(u64, u64)> {
        Combined::new(how, list(one).into_iter(), list(other).into_iter())
            .map(|span| span.unwrap())
            .map(|span| (span.start.0, span.start.0 + span.len))
            .collect()
    }

    #[test]
    fn ranges_combine_as_sets_of_numbers() {
        // All pairs of lists over eight numbers, against the numbers themselves.
        let lists: Vec<Vec<(u64, u64)>> = (0..256_u64)
            .map(|set| {
                let mut spans: Vec<(u64, u64)> = Vec::new();
                for n in (0..8).filter(|n| set >> n & 1 == 1) {
                    match spans.last_mut() {
                        Some((_, end)) if *end == n => *end += 1,
                        _ => spans.push((n, n + 1)),
                    }
                }
                spans
            })
            .collect();
        let set =
            |spans: &[(u64, u64)]| spans.iter().flat_map(|(a, b)| *a..*b).fold(0, |set, n| set | 1 << n);
        for (a, one) in lists.iter().enumerate() {
            for (b, other) in lists.iter().enumerate() {
                assert_eq!(set(&combined(Combine::And, one, other)), a & b, "{one:?} and {other:?}");
                assert_eq!(set(&combined(Combine::Minus, one, other)), a & !b, "{one:?} minus {other:?}");
            }
        }
    }
}
