//! The refcount table's place, and the blocks as runs of equal refcounts.

use super::{Entries, Image, Table, TableKind};
use crate::Error;
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, to_usize};

/// Neighbouring clusters with the same refcount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefcountRun {
    /// The first one's place in its block.
    pub index: u64,
    /// How many they are.
    pub count: u64,
    /// Their refcount.
    pub value: u64,
    /// The bytes of the block that hold it; narrow refcounts share a byte.
    pub at: Span,
    /// The first cluster's number, or 2^64 - 1 where that is less.
    pub first_cluster: u64,
    /// Where the first cluster starts; `None` past 2^64.
    pub host_offset: Option<HostOffset>,
}

/// Reads a refcount block run by run.
#[derive(Debug)]
pub struct RefcountRuns<'i, R> {
    entries: Entries<'i, R>,
    geometry: Geometry,
    width: RefcountWidth,
    /// The cluster that the block counts first; `None` past 2^64.
    first_cluster: Option<u64>,
    at: HostOffset,
    /// The place in the block of the next refcount.
    index: u64,
    /// The refcounts in memory, and the place of the first of them. Those before it that did not come are zeros.
    bytes: Vec<u8>,
    from: u64,
    is_last: bool,
    /// What ended a run, and comes behind it.
    fault: Option<Error>,
    done: bool,
}

impl<R: ReadAt> Image<R> {
    /// The refcount table; `None` where the cluster size makes no sense.
    pub fn refcount_table(&self) -> Option<Table> {
        let header = &self.header.v2;
        let len = u64::from(header.refcount_table_clusters).saturating_mul(self.geometry?.cluster_size());
        let span = Span::new(header.refcount_table_offset, len);
        Some(Table { kind: TableKind::Refcounts, span, entry_len: 8 })
    }

    /// The refcounts of the block that the refcount table's entry `block` says to be at `at`, as far as the file
    /// goes; `None` where their width makes no sense.
    pub fn refcount_runs(&self, block: u64, at: HostOffset) -> Option<RefcountRuns<'_, R>> {
        let (geometry, width) = self.geometry.zip(self.refcount_width())?;
        Some(RefcountRuns {
            entries: self.entries(Table::refcount_block(block, at, geometry, width)),
            geometry,
            width,
            first_cluster: width.clusters_of_block(block, geometry).map(|clusters| clusters.start),
            at,
            index: 0,
            bytes: Vec::new(),
            from: 0,
            is_last: false,
            fault: None,
            done: false,
        })
    }
}

impl<R: ReadAt> Image<R> {
    /// The stored refcount of a cluster; `None` where no block has it, or none that is read.
    ///
    /// # Errors
    /// Where the refcount table or the block cannot be read.
    pub fn refcount(&self, cluster: u64) -> Result<Option<u64>, Error> {
        let Some((geometry, width)) = self.geometry.zip(self.refcount_width()) else { return Ok(None) };
        let (index, place) = width.place_of(cluster, geometry);
        let Some(table) = self.refcount_table().filter(|table| index < table.entry_count()) else {
            return Ok(None);
        };
        let block = RefcountTableEntry(self.entry(&table, index)?.raw).block_offset();
        if block.0 == 0 { Ok(None) } else { self.refcount_in(block, place) }
    }

    /// The refcount in this place of the block at `block`, with zeros for what is behind the end of the file, as QEMU has
    /// it; `None` where nobody reads it, since the block is not on a cluster boundary.
    pub(crate) fn refcount_in(&self, block: HostOffset, place: u64) -> Result<Option<u64>, Error> {
        let Some((geometry, width)) = self.geometry.zip(self.refcount_width()) else { return Ok(None) };
        if !block.is_aligned(geometry.cluster_size()) {
            return Ok(None);
        }
        let Span { at, len } = width.span(block, place, 1);
        let mut bytes = [0; 8];
        self.source.read("a refcount block", at, bytes.split_at_mut(to_usize(len).min(8)).0)?;
        Ok(width.get(&bytes, width.index_in_byte(place)))
    }
}

impl<R: ReadAt> RefcountRuns<'_, R> {
    /// Where the cluster starts that the refcount with this index counts; `None` past 2^64.
    pub fn host_offset(&self, index: u64) -> Option<HostOffset> {
        self.geometry.host_offset(self.first_cluster?.checked_add(index)?)
    }

    /// The refcount at hand, from the next piece of the block where this one is used up.
    fn peek(&mut self) -> Result<Option<u64>, Error> {
        loop {
            let Some(index) = self.index.checked_sub(self.from) else { return Ok(Some(0)) };
            if let Some(value) = self.width.get(&self.bytes, index) {
                return Ok(Some(value));
            }
            if self.is_last {
                return Ok(None);
            }
            self.bytes.clear();
            let bytes_from = match self.entries.next().transpose()? {
                Some(chunk) => {
                    self.bytes.extend_from_slice(chunk.bytes);
                    chunk.at.0.saturating_sub(self.at.0)
                }
                None => {
                    self.is_last = true;
                    self.entries.passed().saturating_mul(self.width.byte_len())
                }
            };
            self.from = self.width.count_in(bytes_from);
        }
    }

    fn run(&mut self) -> Result<Option<RefcountRun>, Error> {
        let Some(value) = self.peek()? else { return Ok(None) };
        let index = self.index;
        loop {
            let equal = match self.index.checked_sub(self.from) {
                Some(index) => self.width.equal_from(&self.bytes, index),
                None => self.from.saturating_sub(self.index),
            };
            self.index = self.index.saturating_add(equal);
            match self.peek() {
                Ok(next) if next == Some(value) => {}
                Ok(_) => break,
                Err(error) => {
                    self.fault = Some(error);
                    break;
                }
            }
        }
        let count = self.index.saturating_sub(index);
        Ok(Some(RefcountRun {
            index,
            count,
            value,
            at: self.width.span(self.at, index, count),
            first_cluster: self.first_cluster.and_then(|first| first.checked_add(index)).unwrap_or(u64::MAX),
            host_offset: self.host_offset(index),
        }))
    }
}

impl<R: ReadAt> Iterator for RefcountRuns<'_, R> {
    type Item = Result<RefcountRun, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Some(error) = self.fault.take() {
            self.done = true;
            return Some(Err(error));
        }
        let run = self.run();
        self.done = !matches!(run, Ok(Some(_)));
        run.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::format::Layout;
    use crate::format::header::{HeaderV2, HeaderV3, MAGIC};
    use crate::format::scalar::ClusterBits;

    #[test]
    fn equal_neighbours_are_one_run_across_chunks() {
        let v2 = HeaderV2 { magic: MAGIC, version: 3, cluster_bits: ClusterBits(18), ..Default::default() };
        let v3 = HeaderV3 { header_length: 104, refcount_order: 1, ..Default::default() };
        let mut file = [v2.encode(), v3.encode()].concat();
        file.resize(1 << 18, 0);
        let mut block = vec![0x55; 70_000];
        block.extend([0x02, 0, 0]);
        file.extend(block);
        let image = Image::open(file, Limits::default()).unwrap();
        let runs: Vec<_> = image.refcount_runs(1, HostOffset(1 << 18)).unwrap().map(Result::unwrap).collect();
        let shown: Vec<_> = runs.iter().map(|run| (run.index, run.count, run.value)).collect();
        assert_eq!(shown, [(0, 280_000, 1), (280_000, 1, 2), (280_001, 11, 0)]);
        assert_eq!(runs[0].at, Span::new(HostOffset(1 << 18), 70_000));
        assert_eq!(runs[1].at, Span::new(HostOffset((1 << 18) + 70_000), 1));
        assert_eq!(runs[1].first_cluster, (1 << 20) + 280_000);
    }
}
