//! The guest's view of any bytes: what it says of each offset does not contradict itself, and everything can be
//! copied, located and listed.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Write};

use qcow2_inspect::guest::{CopyOptions, Disk, Extent, Fault, Sink, copy, owners};
use qcow2_inspect::image::SnapshotNames;
use qcow2_inspect::report::{
    BitmapOptions, Located, Report, Subject, TextOptions, TextSink, write_bitmaps, write_located, write_map,
    write_map_json,
};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset, to_u64};
use qcow2_inspect::{Image, Limits};

use super::asked::{Format, LIMITS};

/// Clusters of a disk that are mapped. The disk may be as large as it says it is, and its few tables may be used
/// again and again; later clusters show nothing that these do not.
const MAPPED_CLUSTERS: u64 = 4096;
/// Guest bytes that are copied.
const COPIED_LEN: u64 = 128 << 10;
/// Trees and bitmaps that are looked at.
const LOOKED_AT: usize = 4;
/// Ranges of a bitmap that are looked at.
const RUNS: usize = 4096;

/// Writes the guest's view in one of its formats; whether nothing cut it.
pub(super) fn write<R: ReadAt>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    out: impl Write,
) -> io::Result<bool> {
    match format {
        Format::BitmapText | Format::BitmapJson => {
            let mut sink = Report::new(out, format.written(), u64::MAX);
            let told = write_bitmaps(image, &BitmapOptions::default(), subject, &mut sink)?;
            Ok(told.cut.is_none() && !told.unknown)
        }
        Format::LocateText => locate(image, subject, out),
        _ => map(image, format, subject, out),
    }
}

fn map<R: ReadAt>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    mut out: impl Write,
) -> io::Result<bool> {
    let Some(disk) = Disk::active(image) else {
        // Where there is no disk, the command says so and writes nothing.
        let nothing: &[u8] = match format {
            Format::MapJson => b"[]",
            _ => b"",
        };
        return out.write_all(nothing).map(|()| true);
    };
    let range = beginning(&disk);
    let walked = match format {
        Format::MapJson => write_map_json(out, u64::MAX, &disk, range)?,
        _ => write_map(&disk, range, subject, &mut Report::new(out, format.written(), u64::MAX))?,
    };
    Ok(walked.cut.is_none())
}

/// Locates the middle of the guest's disk, and that of the file.
fn locate<R: ReadAt>(image: &Image<R>, subject: &Subject<'_>, mut out: impl Write) -> io::Result<bool> {
    let Some(disk) = Disk::active(image) else { return Ok(true) };
    let Ok(trace) = disk.locate(GuestOffset(disk.len() / 2)) else { return Ok(false) };
    let names = SnapshotNames::read(image);
    let mut tell = |located| {
        write_located(located, &names, subject, &mut TextSink::new(&mut out, TextOptions::default()))
    };
    tell(Located::Guest(disk.tree().l1.tree, &trace))?;
    let Ok(owners) = owners(image, HostOffset(image.file_len() / 2)) else { return Ok(false) };
    tell(Located::Host(&owners, None)).map(|()| owners.cut().or(names.stopped_by()).is_none())
}

/// Does to an image what `map`, `read`, `locate` and `bitmap` do, tree by tree.
///
/// # Panics
/// Where extents overlap, leave a gap or could have been one; where a copy has not the length that was asked for;
/// where the ranges of a bitmap overlap or leave the disk.
pub fn check_guest_view(bytes: &[u8]) {
    // A table that is used again is read again: what is read goes by the guest's disk, and needs a limit of its own.
    let limits = Limits { read_bytes: 8 << 20, reads: 20_000, ..LIMITS };
    let Ok(image) = Image::open(bytes, limits) else { return };
    for tree in image.trees().map_while(Result::ok).take(LOOKED_AT) {
        let Some(disk) = Disk::of_tree(&image, tree) else { return };
        for start in [0, 12345] {
            let range = GuestSpan { start: GuestOffset(start), len: beginning(&disk).len };
            check_tiles(disk.extents(range).map_while(Result::ok), range, true);
            check_tiles(disk.clusters(range).map_while(Result::ok), range, false);
        }
        check_copy(&disk);
        for offset in places(disk.len()) {
            let trace = disk.locate(GuestOffset(offset)).ok();
            let host = trace.and_then(|trace| trace.host).unwrap_or(HostOffset(offset));
            let _ = owners(&image, host);
        }
    }
    for bitmap in image.bitmaps().map_while(Result::ok).take(LOOKED_AT) {
        let runs = image.dirty_runs(&bitmap).into_iter().flatten().map_while(Result::ok);
        check_runs(runs.take(RUNS), image.header().v2.size.0);
    }
}

/// The first clusters of the disk, what lies behind its end included.
fn beginning<R: ReadAt>(disk: &Disk<'_, R>) -> GuestSpan {
    let cluster_size = disk.image().geometry().map_or(0, |geometry| geometry.cluster_size());
    let most = cluster_size.saturating_mul(MAPPED_CLUSTERS);
    GuestSpan { start: GuestOffset(0), len: disk.mapped_len().max(disk.len()).min(most) }
}

/// Both ends, the middle, and what is none.
fn places(len: u64) -> [u64; 5] {
    [0, 16, len / 2, len.saturating_sub(1), u64::MAX]
}

fn check_tiles(extents: impl Iterator<Item = Extent>, range: GuestSpan, is_merged: bool) {
    let mut before: Option<Extent> = None;
    let mut at = range.start;
    for extent in extents {
        assert_eq!(extent.guest.start, at, "extents leave a gap or overlap");
        assert!(extent.guest.len > 0, "an extent of nothing at {at}");
        let could_be_one = before.filter(|_| is_merged).is_some_and(|before| goes_on(&before, &extent));
        assert!(!could_be_one, "{before:?} and {extent:?} are one");
        at = at.saturating_add(extent.guest.len);
        before = Some(extent);
    }
    let end = range.start.saturating_add(range.len);
    assert!(at <= end, "extents reach {at}, past the end at {end}");
}

/// Whether the second is the rest of the first.
fn goes_on(first: &Extent, second: &Extent) -> bool {
    let is_next = match (first.host, second.host) {
        (Some(one), Some(other)) => one.0.checked_add(first.guest.len) == Some(other.0),
        (None, None) => true,
        _ => false,
    };
    let is_missing = first.missing.is_some();
    first.state == second.state && first.missing == second.missing && (is_next || is_missing)
}

/// Copies the beginning twice, and compares.
fn check_copy<R: ReadAt + Sync>(disk: &Disk<'_, R>) {
    let range = GuestSpan { start: GuestOffset(0), len: disk.len().min(COPIED_LEN) };
    let options = CopyOptions { keep_going: true, ..CopyOptions::default() };
    let once = || {
        let mut copied = Copied::default();
        copy::<_, &[u8]>(disk, None, range, options, &mut copied).is_ok().then_some(copied)
    };
    let (Some(first), Some(second)) = (once(), once()) else { return };
    assert_eq!(first.len, range.len, "a copy of another length");
    assert_eq!(first.hash.finish(), second.hash.finish(), "two copies differ");
}

/// What was copied, as far as it is compared.
#[derive(Default)]
struct Copied {
    len: u64,
    hash: DefaultHasher,
}

impl Sink for Copied {
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(at.0, self.len, "bytes out of order");
        self.len = self.len.saturating_add(to_u64(bytes.len()));
        self.hash.write(bytes);
        Ok(())
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        assert_eq!(range.start.0, self.len, "zeros out of order");
        self.len = self.len.saturating_add(range.len);
        self.hash.write_u64(range.len);
        Ok(())
    }

    fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        self.hash.write_u64(fault.guest.start.0);
        Ok(())
    }
}

fn check_runs(runs: impl Iterator<Item = GuestSpan>, disk_len: u64) {
    let mut end = 0;
    for run in runs {
        assert!(run.len > 0 && run.start.0 >= end, "{run:?} begins before {end:#x}, where the last ends");
        end = run.start.0.saturating_add(run.len);
        assert!(end <= disk_len, "{run:?} leaves the disk of {disk_len:#x} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Model};
    use qcow2_inspect::guest::State;

    const RANGE: GuestSpan = GuestSpan { start: GuestOffset(0), len: 100 };

    fn extent(start: u64, len: u64, host: Option<u64>) -> Extent {
        let guest = GuestSpan { start: GuestOffset(start), len };
        // Only the library makes one.
        let draft = Draft::new(Model::small_from_seed(3).unwrap().write());
        let image = draft.image();
        let mut extent = Disk::active(&image).unwrap().extents(RANGE).next().unwrap().unwrap();
        (extent.guest, extent.state, extent.stream_len) = (guest, State::Data, 0);
        extent.host = host.map(HostOffset);
        extent
    }

    fn check(extents: &[Extent]) {
        check_tiles(extents.iter().copied(), RANGE, true);
    }

    #[test]
    fn extents_side_by_side_pass() {
        check(&[extent(0, 50, Some(512)), extent(50, 50, Some(1024))]);
    }

    #[test]
    #[should_panic = "extents leave a gap or overlap"]
    fn a_gap_is_seen() {
        check(&[extent(0, 50, None), extent(51, 49, None)]);
    }

    #[test]
    #[should_panic = "are one"]
    fn extents_that_could_be_one_are_seen() {
        check(&[extent(0, 50, Some(512)), extent(50, 50, Some(562))]);
    }

    #[test]
    #[should_panic = "past the end"]
    fn an_extent_behind_the_range_is_seen() {
        check(&[extent(0, 101, None)]);
    }

    #[test]
    #[should_panic = "where the last ends"]
    fn runs_that_overlap_are_seen() {
        let run = |start, len| GuestSpan { start: GuestOffset(start), len };
        check_runs([run(0, 10), run(9, 10)].into_iter(), 100);
    }

    #[test]
    #[should_panic = "leaves the disk"]
    fn a_run_behind_the_disk_is_seen() {
        check_runs([RANGE].into_iter(), 99);
    }
}
