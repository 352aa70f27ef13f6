//! Family T: what the tool says of the file as a whole.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use qcow2_inspect::rules::Judge;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::Model;

/// A file that somebody writes to.
struct Moving(Mutex<(Vec<u8>, Duration)>);

impl ReadAt for &Moving {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.0.lock().unwrap().0)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap().0.read_at(offset, buf)
    }

    fn changed(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(self.0.lock().unwrap().1)
    }
}

/// The rules that fire after such a change.
fn after(change: impl FnOnce(&mut Vec<u8>, &mut Duration)) -> Vec<&'static str> {
    let moving = Moving(Mutex::new((Model::small_from_seed(3).unwrap().write(), Duration::ZERO)));
    let image = Image::open(&moving, Limits::DEFAULT).unwrap();
    let mut file = moving.0.lock().unwrap();
    let (bytes, time) = &mut *file;
    change(bytes, time);
    drop(file);
    let mut found = Vec::new();
    Judge::new(&image, None).finish(&mut found);
    found.iter().map(|finding| finding.rule.code).collect()
}

#[test]
fn a_file_that_moves_is_seen() {
    assert_eq!(after(|_, _| ()), [""; 0]);
    assert_eq!(after(|bytes, _| bytes.push(0)), ["T03"]);
    assert_eq!(after(|_, time| *time = Duration::from_nanos(1)), ["T03"]);
    assert_eq!(after(|bytes, _| bytes.iter_mut().skip(24).take(8).for_each(|byte| *byte ^= 1)), ["T03"]);
    assert_eq!(after(|bytes, _| bytes.truncate(20)), ["T03"]);
}

/// The time of the last write can be put back, and the length kept: the change is seen all the same.
#[cfg(unix)]
#[test]
fn a_change_that_is_hidden_is_seen() {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let found_after = |change: &dyn Fn(&File)| {
        let bytes = Model::small_from_seed(3).unwrap().write();
        fs::write(&path, &bytes).unwrap();
        let image = Image::open(File::open(&path).unwrap(), Limits::DEFAULT).unwrap();
        // A clock of the system that ticks in milliseconds has to tell both apart.
        std::thread::sleep(Duration::from_millis(50));
        change(&File::options().write(true).open(&path).unwrap());
        let mut found = Vec::new();
        Judge::new(&image, None).finish(&mut found);
        found.iter().map(|finding| format!("{} {}", finding.rule.code, finding.found)).collect::<Vec<_>>()
    };
    assert_eq!(found_after(&|_| ()), [""; 0]);
    let told = "T03 another length, header or ctime: the file or its attributes changed";
    let written = |file: &File| {
        let before = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"hidden", 2048).unwrap();
        file.set_modified(before).unwrap();
    };
    assert_eq!(found_after(&written), [told]);
    assert_eq!(
        found_after(&|file| fs::hard_link(&path, path.with_extension(format!("{file:p}"))).unwrap()),
        [told]
    );
}

/// An image that another process opens for writing, or closes, while it is inspected.
struct Locked {
    bytes: Vec<u8>,
    byte: AtomicU64,
}

impl ReadAt for &Locked {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.bytes.read_at(offset, buf)
    }

    fn is_locked(&self, byte: u64) -> bool {
        self.byte.load(Ordering::Relaxed) == byte
    }
}

#[test]
fn a_writer_is_seen_at_the_start_and_at_the_end() {
    for (at_start, at_end, is_seen) in [
        (0, 0, false),
        (101, 101, true),
        (101, 0, true),
        (0, 101, true),
        (103, 0, true),
        (0, 103, true),
        // What readers hold.
        (100, 100, false),
        (201, 203, false),
        (200, 200, false),
    ] {
        let bytes = Model::small_from_seed(3).unwrap().write();
        let locked = Locked { bytes, byte: AtomicU64::new(at_start) };
        let image = Image::open(&locked, Limits::DEFAULT).unwrap();
        locked.byte.store(at_end, Ordering::Relaxed);
        let mut found = Vec::new();
        Judge::new(&image, None).finish(&mut found);
        let found: Vec<_> = found.iter().map(|finding| finding.rule.code).collect();
        let wanted: &[&str] = if is_seen { &["T06"] } else { &[] };
        assert_eq!(found, wanted, "{at_start}, then {at_end}");
    }
}
