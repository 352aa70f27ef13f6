//! The map as `qemu-img map --output=json` prints it, byte for byte.

use std::io::{self, Write};

use itoa::Buffer;

use super::Walked;
use crate::Error;
use crate::finding::Rule;
use crate::guest::{Disk, Extent, Holes, State, is_preallocated};
use crate::report::limited::output_spent;
use crate::source::ReadAt;
use crate::units::{GuestSpan, to_usize};

/// Bytes that are gathered before they are written.
const BATCH_LEN: usize = 64 << 10;

/// What QEMU's flags tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    /// Data that lies in a hole of the file.
    Hole,
    Compressed,
    Zero,
    Unallocated,
    /// What QEMU would stop at, and an empty range.
    Nothing,
}

impl Kind {
    /// Whether it is present, zero, data, and compressed.
    const fn flags(self) -> [bool; 4] {
        match self {
            Self::Data => [true, false, true, false],
            Self::Hole => [true, true, true, false],
            Self::Compressed => [true, false, true, true],
            Self::Zero => [true, true, false, false],
            Self::Unallocated => [false, true, false, false],
            Self::Nothing => [false; 4],
        }
    }
}

/// One object of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    len: u64,
    kind: Kind,
    offset: Option<u64>,
    broken: Option<&'static Rule>,
}

impl Entry {
    #[inline]
    fn new(extent: &Extent, in_hole: bool, encrypted: bool) -> Self {
        let (kind, broken) = match extent.state {
            State::Data if in_hole => (Kind::Hole, None),
            State::Data => (Kind::Data, None),
            State::Compressed => (Kind::Compressed, None),
            State::Zero => (Kind::Zero, None),
            State::Unallocated => (Kind::Unallocated, None),
            State::Broken(rule) if extent.state.is_lost_silently() => (Kind::Unallocated, Some(rule)),
            State::Broken(rule) => (Kind::Nothing, Some(rule)),
        };
        // Ciphertext is not what the guest would read there.
        let offset = extent.host.filter(|_| !encrypted).map(|host| host.0);
        Self { start: extent.guest.start.0, len: extent.guest.len, kind, offset, broken }
    }

    /// A range that is neither data nor zero.
    const fn nothing(start: u64, len: u64) -> Self {
        Self { start, len, kind: Kind::Nothing, offset: None, broken: None }
    }

    #[inline]
    fn goes_on_with(&self, next: &Self) -> bool {
        let offsets = match (self.offset, next.offset) {
            (Some(offset), Some(next)) => offset.checked_add(self.len) == Some(next),
            (None, None) => true,
            _ => false,
        };
        offsets && self.kind == next.kind && self.kind != Kind::Nothing && self.broken == next.broken
    }
}

/// What ends the walk early.
enum Stop {
    Read(Error),
    Write(io::Error),
    /// So much was written that there is no room for what starts here.
    Full(u64),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes the array as it goes, in bounded memory, and says how the walk ended. A range whose tables are broken, and
/// the rest where the walk was cut, has a key `error`. It is neither data nor zero where QEMU would stop; where QEMU takes
/// it for unallocated, so it is here. Behind `limit` bytes the rest is one such range.
///
/// # Errors
/// Where the array cannot be written, or had no room within the limit.
pub fn write_map_json<R: ReadAt>(
    out: impl Write,
    limit: u64,
    disk: &Disk<'_, R>,
    range: GuestSpan,
) -> io::Result<Walked> {
    let encrypted = disk.is_encrypted();
    let mut writer = Writer::new(out, limit);
    let mut walked = Walked::default();
    let mut at = range.start;
    let walk = |preallocated: bool| {
        let mut holes = preallocated.then(|| Holes::new(disk.image()));
        disk.for_each_run(range, |extent| {
            walked.bytes.add(&extent);
            at = extent.guest.start.saturating_add(extent.guest.len);
            let Some(holes) = &mut holes else {
                return writer.push(Entry::new(&extent, false, encrypted));
            };
            let mut rest = Some(extent);
            while let Some((part, in_hole)) = holes.split(&mut rest)? {
                writer.push(Entry::new(&part, in_hole, encrypted))?;
            }
            Ok::<_, Stop>(())
        })
    };
    // The holes are those of this file, and say nothing of data that lies in another.
    let elsewhere = encrypted || disk.image().has_external_data();
    let preallocated = if elsewhere { Ok(false) } else { is_preallocated(disk.image()) };
    let went = preallocated.map_err(Stop::Read).and_then(walk);
    let cut = match went {
        Ok(()) => None,
        Err(Stop::Read(error)) => {
            walked.cut = Some(error);
            Some((at.0, error.to_string()))
        }
        Err(Stop::Full(start)) => Some((start, output_spent(limit).to_string())),
        Err(Stop::Write(error)) => return Err(error),
    };
    writer.close_open()?;
    let end = range.start.saturating_add(range.len).0;
    let is_full = cut.is_some() && walked.cut.is_none();
    match cut {
        Some((start, error)) => {
            writer.write(&Entry::nothing(start, end.saturating_sub(start)), Some(&error))?;
        }
        // An empty range is one object of its own.
        None if writer.is_empty => writer.write(&Entry::nothing(at.0, 0), None)?,
        None => {}
    }
    writer.finish()?;
    if is_full { Err(output_spent(limit)) } else { Ok(walked) }
}

struct Writer<W> {
    out: W,
    /// Bytes that there is still room for, those of the batch not counted.
    left: usize,
    batch: Vec<u8>,
    is_empty: bool,
    open: Option<Entry>,
    /// What stands between the start and the offset of the object before, and what that depends on: most objects have
    /// the same.
    middle: (Middle, Vec<u8>),
    number: Buffer,
}

/// The length, the kind, and whether there is an offset.
type Middle = (u64, Kind, bool);

impl<W: Write> Writer<W> {
    fn new(out: W, limit: u64) -> Self {
        let batch = Vec::with_capacity(BATCH_LEN.saturating_add(4096));
        let middle = (0, Kind::Nothing, false);
        let middle = (middle, middle_of(middle));
        Self { out, left: to_usize(limit), batch, is_empty: true, open: None, middle, number: Buffer::new() }
    }

    #[inline]
    fn push(&mut self, next: Entry) -> Result<(), Stop> {
        match &mut self.open {
            Some(open) if open.goes_on_with(&next) => open.len = open.len.saturating_add(next.len),
            _ if self.batch.len() >= self.left => return Err(Stop::Full(next.start)),
            open => {
                if let Some(whole) = open.replace(next) {
                    self.write_whole(&whole)?;
                }
            }
        }
        Ok(())
    }

    fn close_open(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |entry| self.write_whole(&entry))
    }

    fn write_whole(&mut self, entry: &Entry) -> io::Result<()> {
        match entry.broken {
            None => self.write(entry, None),
            Some(rule) => self.write(entry, Some(&format!("{}: {}", rule.code, rule.title))),
        }
    }

    /// Appends an object. A range that comes from nowhere says why, in a key that QEMU does not have.
    fn write(&mut self, entry: &Entry, error: Option<&str>) -> io::Result<()> {
        let batch = &mut self.batch;
        batch.extend_from_slice(if self.is_empty { b"[{ \"start\": " } else { b",\n{ \"start\": " });
        self.is_empty = false;
        batch.extend_from_slice(self.number.format(entry.start).as_bytes());
        let (key, middle) = &mut self.middle;
        let wanted = (entry.len, entry.kind, entry.offset.is_some());
        if *key != wanted {
            (*key, *middle) = (wanted, middle_of(wanted));
        }
        batch.extend_from_slice(middle);
        if let Some(offset) = entry.offset {
            batch.extend_from_slice(self.number.format(offset).as_bytes());
        }
        if let Some(error) = error {
            batch.extend_from_slice(b", \"error\": ");
            // Writing a string to memory does not fail.
            let _ = serde_json::to_writer(&mut *batch, error);
        }
        batch.push(b'}');
        if batch.len() >= BATCH_LEN {
            self.out.write_all(batch)?;
            self.left = self.left.saturating_sub(batch.len());
            batch.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.batch.extend_from_slice(b"]\n");
        self.out.write_all(&self.batch)?;
        self.out.flush()
    }
}

/// What stands between the start and the offset, or up to the end where there is none.
fn middle_of((len, kind, has_offset): Middle) -> Vec<u8> {
    let [present, zero, data, compressed] = kind.flags();
    let mut text = format!(
        ", \"length\": {len}, \"depth\": 0, \"present\": {present}, \"zero\": {zero}, \"data\": {data}, \
         \"compressed\": {compressed}"
    );
    if has_offset {
        text.push_str(", \"offset\": ");
    }
    text.into_bytes()
}
