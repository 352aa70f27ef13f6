//! What QEMU reads of an image, by a reading of the bytes that shares no code with the library: block/qcow2.c and
//! block/qcow2-cluster.c as they read, one sector at a time. `proof` holds it to QEMU itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use flate2::{Decompress, FlushDecompress};
use qcow2_inspect::units::{to_u64, to_usize};

use super::spans::Spans;

pub(crate) const SECTOR: u64 = 512;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// An image whose header is one.
pub(crate) struct Reader<'a> {
    file: &'a [u8],
    pub(crate) bits: u32,
    version: u64,
    pub(crate) is_extended: bool,
    is_zstd: bool,
    pub(crate) size: u64,
    pub(crate) active: L1,
    pub(crate) snapshots: Vec<Snapshot>,
    /// Where the snapshot table ends.
    pub(crate) snapshots_end: u64,
    streams: RefCell<Streams>,
}

/// What streams decompress to, by offset and length; `None` where QEMU cannot read them.
type Streams = HashMap<(u64, u64), Option<Rc<[u8]>>>;

/// An L1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct L1 {
    pub(crate) at: u64,
    pub(crate) size: u64,
}

/// A snapshot as QEMU lists it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: Vec<u8>,
    pub(crate) l1: L1,
    /// Where its entry of the table starts.
    pub(crate) at: u64,
}

/// Where the bytes of a part of the guest's disk come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Zeros,
    Host(u64),
    /// From so far into what a stream decompresses to.
    Stream {
        at: u64,
        len: u64,
        skip: u64,
    },
    /// From nowhere: QEMU gives an error.
    Error,
}

/// The big-endian number of `width` bytes at `at`; what lies behind the end of the file is zeros for QEMU.
pub(crate) fn number(file: &[u8], at: u64, width: u64) -> u64 {
    (at..at.saturating_add(width)).fold(0, |value, at| {
        let byte = usize::try_from(at).ok().and_then(|at| file.get(at)).copied().unwrap_or_default();
        value << 8 | u64::from(byte)
    })
}

/// Bytes of the file, with zeros behind its end.
pub(crate) fn bytes(file: &[u8], at: u64, len: u64) -> Vec<u8> {
    let from = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    let mut out = from[..from.len().min(to_usize(len))].to_vec();
    out.resize(to_usize(len), 0);
    out
}

impl<'a> Reader<'a> {
    /// `None` where it is no image that QEMU could open, or one with parts in other files. Whether QEMU opens it is not
    /// said.
    pub(crate) fn open(file: &'a [u8]) -> Option<Self> {
        let field = |at, width| number(file, at, width);
        let (version, bits) = (field(4, 4), u32::try_from(field(20, 4)).ok()?);
        if field(0, 4) != 0x5146_49fb || !matches!(version, 2 | 3) || !(9..=21).contains(&bits) {
            return None;
        }
        let incompatible = if version == 3 { field(72, 8) } else { 0 };
        if incompatible & 4 != 0 || field(8, 8) != 0 {
            return None;
        }
        let mut reader = Self {
            file,
            bits,
            version,
            is_extended: incompatible & 16 != 0,
            is_zstd: incompatible & 8 != 0 && field(104, 1) == 1,
            size: field(24, 8),
            active: L1 { at: field(40, 8), size: field(36, 4) },
            snapshots: Vec::new(),
            snapshots_end: 0,
            streams: RefCell::default(),
        };
        let (count, mut at) = (field(60, 4), field(64, 8));
        for _ in 0..count.min(100) {
            at = at.checked_next_multiple_of(8)?;
            let [id_len, name_len, extra_len] =
                [(12, 2), (14, 2), (36, 4)].map(|(n, width)| field(at + n, width));
            let l1 = L1 { at: field(at, 8), size: field(at + 8, 4) };
            let id = bytes(file, at + 40 + extra_len.min(4096), id_len);
            reader.snapshots.push(Snapshot { id, l1, at });
            at += 40 + extra_len + id_len + name_len;
        }
        reader.snapshots_end = at;
        Some(reader)
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        1 << self.bits
    }

    pub(crate) fn entry_len(&self) -> u64 {
        if self.is_extended { 16 } else { 8 }
    }

    /// Bytes that one entry decides at most in one way.
    pub(crate) fn unit(&self) -> u64 {
        if self.is_extended { self.cluster_size() / 32 } else { self.cluster_size() }
    }

    /// Guest bytes that an L2 table maps.
    pub(crate) fn coverage(&self) -> u64 {
        (self.cluster_size() / self.entry_len()) << self.bits
    }

    /// The offsets of the L2 tables that a tree has, in order.
    pub(crate) fn l2_tables(&self, l1: L1) -> impl Iterator<Item = (u64, u64)> {
        let entry = move |n| (n, number(self.file, l1.at + n * 8, 8) & OFFSET);
        (0..l1.size).map(entry).filter(|(_, at)| *at != 0)
    }

    /// Where the guest bytes from `guest` on come from, up to the end of the unit.
    pub(crate) fn source(&self, l1: L1, guest: u64) -> Source {
        let index = guest / self.coverage();
        if index >= l1.size {
            return Source::Zeros;
        }
        let l2 = number(self.file, l1.at.saturating_add(index * 8), 8) & OFFSET;
        if l2 == 0 {
            return Source::Zeros;
        }
        if !l2.is_multiple_of(self.cluster_size()) {
            return Source::Error;
        }
        let at = l2 + guest % self.coverage() / self.cluster_size() * self.entry_len();
        let entry = number(self.file, at, 8);
        let within = guest % self.cluster_size();
        if entry >> 62 & 1 == 1 {
            let shift = 62 - (self.bits - 8);
            let at = entry & ((1 << shift) - 1);
            let sectors = (entry >> shift & ((1 << (self.bits - 8)) - 1)) + 1;
            return Source::Stream { at, len: sectors * SECTOR - at % SECTOR, skip: within };
        }
        let host = entry & OFFSET;
        let is_astray = !host.is_multiple_of(self.cluster_size());
        if !self.is_extended {
            return match (entry & 1, host) {
                (1, _) if self.version == 2 || is_astray => Source::Error,
                (1, _) | (_, 0) => Source::Zeros,
                _ if is_astray => Source::Error,
                _ => Source::Host(host + within),
            };
        }
        let (zero, allocated) = (number(self.file, at + 8, 4), number(self.file, at + 12, 4));
        let bit = within / self.unit();
        let is_invalid = if host == 0 { allocated != 0 } else { zero & allocated != 0 };
        match (zero >> bit & 1, allocated >> bit & 1) {
            _ if is_invalid || is_astray => Source::Error,
            (_, 1) => Source::Host(host + within),
            _ => Source::Zeros,
        }
    }

    /// The entries that decide about a guest offset, for people.
    pub(crate) fn entries(&self, l1: L1, guest: u64) -> String {
        let index = guest / self.coverage();
        let l1_entry = if index < l1.size { number(self.file, l1.at + index * 8, 8) } else { 0 };
        let l2_index = guest % self.coverage() / self.cluster_size();
        let at = (l1_entry & OFFSET) + l2_index * self.entry_len();
        let told = format!("L1[{index}]={l1_entry:#x} L2[{l2_index}]={:#x}", number(self.file, at, 8));
        if self.is_extended { format!("{told}, {:#x}", number(self.file, at + 8, 8)) } else { told }
    }

    /// `len` bytes from a source; `None` where QEMU gives an error.
    pub(crate) fn content(&self, source: Source, len: u64) -> Option<Vec<u8>> {
        match source {
            Source::Zeros => Some(vec![0; to_usize(len)]),
            Source::Host(at) => Some(bytes(self.file, at, len)),
            Source::Stream { at, len: stream_len, skip } => {
                let stream = self.stream(at, stream_len)?;
                Some(stream[to_usize(skip)..][..to_usize(len)].to_vec())
            }
            Source::Error => None,
        }
    }

    fn stream(&self, at: u64, len: u64) -> Option<Rc<[u8]>> {
        let decode = || {
            let (stored, size) = (bytes(self.file, at, len), to_usize(self.cluster_size()));
            if self.is_zstd { unpack_zstd(&stored, size) } else { inflate(&stored, size) }
        };
        let mut known = self.streams.borrow_mut();
        known.entry((at, len)).or_insert_with(|| decode().map(Rc::from)).clone()
    }

    /// The whole disk, with zeros for what QEMU gives an error for, and where that is.
    pub(crate) fn disk(&self, l1: L1) -> (Vec<u8>, Spans) {
        let (mut disk, mut errors) = (Vec::new(), Spans::default());
        while to_u64(disk.len()) < self.size {
            let guest = to_u64(disk.len());
            let len = self.unit().min(self.size - guest);
            match self.content(self.source(l1, guest), len) {
                Some(content) => disk.extend(content),
                None => {
                    errors.add(guest, len);
                    disk.resize(disk.len() + to_usize(len), 0);
                }
            }
        }
        (disk, errors)
    }
}

fn inflate(stored: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    let mut decoder = Decompress::new_with_window_bits(false, 12);
    // QEMU opens the stream with a window of 4 KiB. Whether it goes on is nothing to QEMU, as long as it gives a whole cluster.
    let _ = decoder.decompress_vec(stored, &mut out, FlushDecompress::Finish).ok()?;
    (out.len() == size).then_some(out)
}

fn unpack_zstd(stored: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut context = zstd_safe::DCtx::create();
    let mut out = vec![0; size];
    let mut input = zstd_safe::InBuffer::around(stored);
    let mut output = zstd_safe::OutBuffer::around(&mut out[..]);
    while output.pos() < size {
        let before = (input.pos(), output.pos());
        context.decompress_stream(&mut output, &mut input).ok()?;
        if before == (input.pos(), output.pos()) {
            return None;
        }
    }
    Some(out)
}

/// The guest's bytes, sector by sector, that are not what they were.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Through the tables.
    pub(crate) by_tables: Spans,
    /// Because the cluster itself was written over, which qcow2 has no checksum for.
    pub(crate) in_data: Spans,
}

/// Compares a tree before and after; `written` is what was written over in the file. Without a tree afterwards, all of
/// it is gone.
pub(crate) fn changes(
    (before, l1): (&Reader<'_>, L1),
    after: Option<(&Reader<'_>, L1)>,
    written: &Spans,
) -> Changes {
    let mut changes = Changes::default();
    let Some((after, after_l1)) = after else {
        changes.by_tables.add(0, before.size);
        return changes;
    };
    let step = before.unit().min(after.unit());
    let mut guest = 0;
    while guest < before.size {
        let len = step.min(before.size - guest);
        let sources = (before.source(l1, guest), after.source(after_l1, guest));
        if sources.0 != sources.1 || is_hit(sources.0, len, written) {
            let is_same = sources.0 == sources.1;
            let changed = if is_same { &mut changes.in_data } else { &mut changes.by_tables };
            compare(before.content(sources.0, len), after.content(sources.1, len), guest, len, changed);
        }
        guest += len;
    }
    changes
}

fn is_hit(source: Source, len: u64, written: &Spans) -> bool {
    let (at, len) = match source {
        Source::Host(at) => (at, len),
        Source::Stream { at, len, .. } => (at, len),
        Source::Zeros | Source::Error => return false,
    };
    written.iter().any(|(start, end)| start < at + len && at < end)
}

fn compare(before: Option<Vec<u8>>, after: Option<Vec<u8>>, guest: u64, len: u64, changed: &mut Spans) {
    let Some((before, after)) = before.as_ref().zip(after.as_ref()) else {
        if before.is_some() {
            changed.add(guest, len);
        }
        return;
    };
    let sectors = (0..).zip(before.chunks(512).zip(after.chunks(512)));
    for (n, (old, _)) in sectors.filter(|(_, (old, new))| old != new) {
        changed.add(guest + n * SECTOR, to_u64(old.len()));
    }
}
