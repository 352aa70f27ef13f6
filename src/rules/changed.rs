//! Whether the file held still.

use super::stopped;
use crate::finding::{Finding, Structure};
use crate::image::Image;
use crate::rules::codes::{T02, T03};
use crate::source::ReadAt;
use crate::units::Span;

/// T03: to be asked when everything else has been read.
pub fn check_unchanged<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    match image.has_changed() {
        Ok(false) => {}
        Ok(true) => {
            let found = "another length, time of change or header than at the start";
            out.push(Finding::new(&T03, Structure::File, Span::default(), found, "the same"));
        }
        Err(error) => out.push(stopped(error, Structure::File, &T02)),
    }
}

#[cfg(all(test, feature = "testkit"))]
#[expect(clippy::unwrap_used, reason = "what fails here is the test")]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::Limits;
    use crate::testkit::Model;

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
        check_unchanged(&image, &mut found);
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
}
