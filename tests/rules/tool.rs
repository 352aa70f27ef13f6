//! Family T: what the tool says of the file as a whole.

use std::io;
use std::sync::Mutex;
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

    fn modified(&self) -> Option<SystemTime> {
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
