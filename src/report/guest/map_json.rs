//! The map as `qemu-img map --output=json` prints it, byte for byte.

use std::io::{self, Write};

use itoa::Buffer;

use super::Walked;
use crate::Error;
use crate::guest::{Disk, Extent, Holes, State, is_preallocated};
use crate::rules::Rule;
use crate::source::ReadAt;
use crate::units::GuestSpan;

/// Bytes that are gathered before they are written.
const BATCH_LEN: usize = 64 << 10;

/// One object of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    len: u64,
    present: bool,
    zero: bool,
    data: bool,
    compressed: bool,
    offset: Option<u64>,
    broken: Option<&'static Rule>,
}

impl Entry {
    fn new(extent: &Extent, in_hole: bool, encrypted: bool) -> Self {
        let (present, zero, data) = match extent.state {
            State::Data | State::Compressed => (true, in_hole, true),
            State::Zero => (true, true, false),
            State::Unallocated => (false, true, false),
            State::Broken(_) => (false, false, false),
        };
        Self {
            start: extent.guest.start.0,
            len: extent.guest.len,
            present,
            zero,
            data,
            compressed: extent.state == State::Compressed,
            // Ciphertext is not what the guest would read there.
            offset: extent.host.filter(|_| !encrypted).map(|host| host.0),
            broken: match extent.state {
                State::Broken(rule) => Some(rule),
                _ => None,
            },
        }
    }

    fn goes_on_with(&self, next: &Self) -> bool {
        let alike = self.flags() == next.flags() && self.broken.is_none() && next.broken.is_none();
        let offsets = match (self.offset, next.offset) {
            (Some(offset), Some(next)) => offset.checked_add(self.len) == Some(next),
            (None, None) => true,
            _ => false,
        };
        alike && offsets
    }

    /// Appends all that stands between the length and the offset.
    fn write_flags(&self, out: &mut Vec<u8>) {
        let keys: [(&[u8], bool); 4] = [
            (b", \"depth\": 0, \"present\": ", self.present),
            (b", \"zero\": ", self.zero),
            (b", \"data\": ", self.data),
            (b", \"compressed\": ", self.compressed),
        ];
        for (key, flag) in keys {
            out.extend_from_slice(key);
            out.extend_from_slice(if flag { b"true" } else { b"false" });
        }
    }

    fn flags(&self) -> [bool; 4] {
        [self.present, self.zero, self.data, self.compressed]
    }
}

/// Writes the array as it goes, in bounded memory, and says how the walk ended. A range whose tables are broken, and
/// the rest where the walk was cut, is neither data nor zero, and has a key `error`; QEMU would stop there.
///
/// # Errors
/// Where the array cannot be written.
pub fn write_map_json<R: ReadAt>(
    mut out: impl Write,
    disk: &Disk<'_, R>,
    range: GuestSpan,
) -> io::Result<Walked> {
    let mut writer = Writer::new();
    let mut holes = is_preallocated(disk.image()).then(|| Holes::new(disk.image()));
    let encrypted = disk.is_encrypted();
    let mut walked = Walked::default();
    let mut at = range.start;
    for extent in disk.extents(range) {
        let pushed = extent.and_then(|extent| {
            walked.add(&extent);
            at = extent.guest.start.saturating_add(extent.guest.len);
            writer.extent(extent, holes.as_mut().filter(|_| !encrypted), encrypted)
        });
        if let Err(error) = pushed {
            walked.cut = Some(error);
            break;
        }
        if writer.batch.len() >= BATCH_LEN {
            out.write_all(&writer.batch)?;
            writer.batch.clear();
        }
    }
    let nothing = Entry {
        start: at.0,
        len: 0,
        present: false,
        zero: false,
        data: false,
        compressed: false,
        offset: None,
        broken: None,
    };
    match walked.cut {
        Some(error) => {
            writer.close_open(true);
            let end = range.start.saturating_add(range.len);
            let rest = Entry { len: end.0.saturating_sub(at.0), ..nothing };
            writer.write(&rest, Some(&error.to_string()));
        }
        None if writer.open.is_some() => writer.close_open(false),
        // An empty range is one object of its own.
        None => writer.write(&nothing, None),
    }
    writer.batch.extend_from_slice(b"]\n");
    out.write_all(&writer.batch)?;
    out.flush()?;
    Ok(walked)
}

struct Writer {
    batch: Vec<u8>,
    open: Option<Entry>,
    /// The length and the flags of the object before, and what is written for them: most objects have the same.
    middle: ((u64, [bool; 4]), Vec<u8>),
    number: Buffer,
}

impl Writer {
    fn new() -> Self {
        let mut batch = Vec::with_capacity(BATCH_LEN.saturating_add(4096));
        batch.push(b'[');
        Self { batch, open: None, middle: ((0, [false; 4]), Vec::new()), number: Buffer::new() }
    }

    fn extent<R: ReadAt>(
        &mut self,
        extent: Extent,
        holes: Option<&mut Holes<'_, R>>,
        encrypted: bool,
    ) -> Result<(), Error> {
        let Some(holes) = holes else {
            self.push(Entry::new(&extent, false, encrypted));
            return Ok(());
        };
        let mut rest = Some(extent);
        while let Some((part, in_hole)) = holes.split(&mut rest)? {
            self.push(Entry::new(&part, in_hole, encrypted));
        }
        Ok(())
    }

    fn push(&mut self, next: Entry) {
        match &mut self.open {
            Some(open) if open.goes_on_with(&next) => open.len = open.len.saturating_add(next.len),
            open => {
                if let Some(whole) = open.replace(next) {
                    self.write_whole(&whole, true);
                }
            }
        }
    }

    fn close_open(&mut self, more: bool) {
        if let Some(entry) = self.open.take() {
            self.write_whole(&entry, more);
        }
    }

    fn write_whole(&mut self, entry: &Entry, more: bool) {
        let error = entry.broken.map(|rule| format!("{}: {}", rule.code, rule.title));
        self.write(entry, error.as_deref());
        if more {
            self.batch.extend_from_slice(b",\n");
        }
    }

    /// Appends an object. A range that QEMU would stop at says why, in a key that QEMU does not have.
    fn write(&mut self, entry: &Entry, error: Option<&str>) {
        let out = &mut self.batch;
        out.extend_from_slice(b"{ \"start\": ");
        out.extend_from_slice(self.number.format(entry.start).as_bytes());
        let (key, middle) = &mut self.middle;
        if *key != (entry.len, entry.flags()) || middle.is_empty() {
            *key = (entry.len, entry.flags());
            middle.clear();
            middle.extend_from_slice(b", \"length\": ");
            middle.extend_from_slice(self.number.format(entry.len).as_bytes());
            entry.write_flags(middle);
        }
        out.extend_from_slice(middle);
        if let Some(offset) = entry.offset {
            out.extend_from_slice(b", \"offset\": ");
            out.extend_from_slice(self.number.format(offset).as_bytes());
        }
        if let Some(error) = error {
            out.extend_from_slice(b", \"error\": ");
            // Writing a string to memory does not fail.
            let _ = serde_json::to_writer(&mut *out, error);
        }
        out.push(b'}');
    }
}
