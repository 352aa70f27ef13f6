//! One image, in a process of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use qcow2_inspect::report::{self, LONGEST_SCAN_LINE, Subject};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::to_u64;

use super::one::REJECTED_FOR_NOW;
use crate::cli::input::{open_file, reason};

/// The longest time between two looks at a process.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How an image is looked at.
pub(super) struct Job {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) policy: String,
    pub(super) timeout: Duration,
}

/// What came of an image.
pub(super) struct Answer {
    /// A line of JSON.
    pub(super) line: Vec<u8>,
    /// The exit code of `audit`.
    pub(super) code: u8,
    /// Whether the same bytes would be judged so again.
    pub(super) lasts: bool,
}

impl Job {
    /// Looks at the file of this path.
    ///
    /// # Errors
    /// Where no line can be made.
    pub(super) fn run(&self, path: &Path) -> io::Result<Answer> {
        let start = Instant::now();
        let file = match open_file(path) {
            Ok(file) => file,
            Err(reason) => {
                // What is no file has no length.
                let there = fs::metadata(path).ok().filter(fs::Metadata::is_file);
                let len = there.map_or(0, |there| there.len());
                return self.failed(&reason, path, len, start);
            }
        };
        let len = file.len().unwrap_or(0);
        match self.ask(file, path) {
            Ok(answer) => Ok(answer),
            Err(reason) => self.failed(&reason, path, len, start),
        }
    }

    fn ask(&self, file: File, path: &Path) -> Result<Answer, String> {
        // In one argument, since it may start like an option.
        let mut name = OsString::from("--name=");
        name.push(path);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(name);
        if let Ok(path) = absolute(path) {
            command.arg("--path").arg(path);
        }
        command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| reason(&error))?;
        let out = child.stdout.take();
        let reader = thread::Builder::new().spawn(move || out.map(read_line).unwrap_or_default());
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                // Nobody would read what it says.
                let _ = child.kill();
                let _ = child.wait();
                return Err(reason(&error));
            }
        };
        let status = wait(&mut child, self.timeout).map_err(|error| reason(&error));
        // It is gone, and with it the other end of the pipe.
        let line = reader.join().unwrap_or_default();
        let status = status?.ok_or_else(|| format!("given up after {} s", self.timeout.as_secs()))?;
        let is_line = line.strip_suffix(b"\n").is_some_and(|line| !line.contains(&b'\n'));
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code @ 0..=2) if is_line => Ok(Answer { line, code, lasts: true }),
            Some(REJECTED_FOR_NOW) if is_line => Ok(Answer { line, code: 2, lasts: false }),
            _ => Err(format!("its process ended with {status} and no answer")),
        }
    }

    fn failed(&self, reason: &str, path: &Path, len: u64, start: Instant) -> io::Result<Answer> {
        let mut line = Vec::new();
        let subject = Subject { path: path.as_os_str().as_encoded_bytes(), len };
        report::write_scan_line(&mut line, Err(reason), &self.policy, &subject, start.elapsed())?;
        Ok(Answer { line, code: 1, lasts: false })
    }
}

fn read_line(out: ChildStdout) -> Vec<u8> {
    let mut line = Vec::new();
    // What is longer is no line of `scan-one`, nor is what cannot be read.
    let _ = out.take(to_u64(LONGEST_SCAN_LINE)).read_to_end(&mut line);
    line
}

/// Waits for the process, and ends it after the time that it has; `None` then.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_goes_on_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_millis(20)).unwrap(), None);
        assert!(!child.try_wait().unwrap().unwrap().success(), "it was not killed");
        let mut child = Command::new("false").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_secs(600)).unwrap().unwrap().code(), Some(1));
    }
}
