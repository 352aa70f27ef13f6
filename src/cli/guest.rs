//! What the commands on the guest's view share: which tree, and which bytes of it.

use std::ffi::OsString;

use clap::Args;
use qcow2_inspect::guest::{Disk, find_snapshot};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::text;
use qcow2_inspect::units::{GuestOffset, GuestSpan};
use qcow2_inspect::{Image, Limits};

use super::number::number;

/// How often the bytes that are stored may be read for what the tables say: each table is read once, and those that
/// decide what the holes of the file mean once more. A read is of 64 KiB, of which a sparse file may store 4 KiB. The
/// rest is for file systems that compress.
const TABLES_FACTOR: u64 = 64;
/// The same for the guest's bytes: once as data, up to twice for compressed clusters that share sectors. Data of zeros
/// can take next to no room in a file system that compresses.
const DATA_FACTOR: u64 = 64;
/// And how often the bytes of the file as a whole.
const LEN_FACTOR: u64 = 8;
/// What is read of any file, so that rounding does not matter.
const ANY_LEN: u64 = 16 << 20;

/// The limits for the tables of a file: what reads more goes over the same tables again and again.
pub(super) fn table_limits(len: u64, stored: u64) -> Limits {
    limits(len, stored.saturating_mul(TABLES_FACTOR))
}

/// The limits for all the guest's bytes. How long they take goes by the disk that they are written to.
pub(super) fn data_limits(len: u64, stored: u64) -> Limits {
    Limits { seconds: u64::MAX, ..limits(len, stored.saturating_mul(DATA_FACTOR)) }
}

fn limits(len: u64, wanted: u64) -> Limits {
    let read_bytes = len.saturating_mul(LEN_FACTOR).min(wanted).saturating_add(ANY_LEN);
    Limits { read_bytes, ..Limits::DEFAULT }
}

/// Which tree of the image.
#[derive(Debug, Args)]
pub(super) struct View {
    /// What the guest saw when this snapshot was taken, instead of what it sees now; an id goes before a name.
    #[arg(long, value_name = "ID|NAME")]
    snapshot: Option<OsString>,
}

/// Which bytes of the disk.
#[derive(Debug, Args)]
pub(super) struct Range {
    /// The first guest offset.
    #[arg(short, long, value_name = "OFFSET", default_value = "0", value_parser = number)]
    start_offset: u64,
    /// How many bytes, where it is not all up to the end of the disk.
    #[arg(short = 'l', long, value_name = "BYTES", value_parser = number)]
    max_length: Option<u64>,
}

impl View {
    /// The disk that is wanted; else says why there is none.
    pub(super) fn disk<'i, R: ReadAt>(&self, image: &'i Image<R>) -> Result<Disk<'i, R>, String> {
        let disk = match &self.snapshot {
            None => Disk::active(image),
            Some(wanted) => {
                let wanted = wanted.as_encoded_bytes();
                let found = find_snapshot(image, wanted).map_err(|error| error.to_string())?;
                let snapshot =
                    found.ok_or_else(|| format!("there is no snapshot {}", text::escape(wanted)))?;
                Disk::of_snapshot(image, &snapshot)
            }
        };
        disk.ok_or_else(|| "the cluster size makes no sense, so no table can be found".to_owned())
    }
}

impl Range {
    /// The bytes that are wanted, up to `end`.
    pub(super) fn within(&self, end: u64) -> GuestSpan {
        let left = end.saturating_sub(self.start_offset);
        let len = self.max_length.unwrap_or(left).min(left);
        GuestSpan { start: GuestOffset(self.start_offset), len }
    }

    /// Whether the end was said.
    pub(super) fn has_length(&self) -> bool {
        self.max_length.is_some()
    }
}
