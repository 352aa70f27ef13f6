//! `scan`: the audit of many images, each in a process of its own, so that none can stop the others.

mod child;
mod done;
mod files;
pub(super) mod one;
mod progress;

use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use qcow2_inspect::audit::Policy;
use qcow2_inspect::report;
use qcow2_inspect::units::to_usize;

use self::child::Job;
use self::done::Done;
use self::files::Files;
use self::progress::{Counts, Progress};
use super::input::reason;
use super::limits::{self, NoChange};
use super::number::{number, positive};
use super::{Failure, Outcome, policy};
use crate::sandbox;

/// More are no faster, and each has some files open, of which a process may not have more than 1024 as a rule.
const MOST_JOBS: usize = 256;

/// Audit many images: one line of JSON for each, as they are done, and how many there were of each kind.
///
/// Each image is looked at by a process of its own, with its own sandbox, limits and time, which is handed the open
/// file; this one reads nothing of it. Links in folders are not followed.
///
/// Exit code: 0 where all were accepted, 2 where one was rejected for what it is, 1 where one could not be judged, which
/// is a rejection too, or none was named. Where nobody reads the lines any more, the images that are left are left out:
/// that is 1 too, unless one was rejected before.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Images, and folders with images in them; `-` reads a list of paths from standard input, one a line.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Zero bytes end the paths of the list, as `find -print0` writes them.
    #[arg(short = '0', long)]
    null: bool,
    /// The policy, as for `audit`.
    #[arg(long, value_name = "NAME|FILE", default_value = "upload", value_parser = policy::load)]
    policy: Policy,
    /// Decompress every compressed cluster, whatever the policy says, as for `audit`.
    #[arg(long)]
    deep: bool,
    /// How many images are looked at together, at most 256; without it, as many as there are processors.
    #[arg(short, long, value_name = "NUMBER", value_parser = positive)]
    jobs: Option<NonZero<u64>>,
    /// Seconds after which an image is given up; its process is held to the limit `seconds` of as many by itself too.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number)]
    timeout: u64,
    /// Leave out the images that are done by this list, and add those that get done.
    ///
    /// The exit code is that of one whole scan. An image counts as done only as long as it is what it was and would be
    /// judged as it was: each is a line of 0 where it was accepted and 2 where it was rejected, a digest of the policy, the
    /// limits and the version of this program, its length, when it last changed, and its path from the root, in which what
    /// is no clean text is escaped, with tabs between. What could not be judged is not done, and is looked at the next time;
    /// so is what was rejected while another process had it open for writing.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Changes a limit, as for `audit`.
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = is_limit)]
    limits: Vec<String>,
    /// Whether the processes give up their rights.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = sandbox::Mode::Auto)]
    sandbox: sandbox::Mode,
}

fn is_limit(text: &str) -> Result<String, NoChange> {
    limits::change(text).map(|_| text.to_owned())
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let policy = self.policy_text()?;
        let manner: Vec<&str> = [env!("CARGO_PKG_VERSION"), policy.as_str()]
            .into_iter()
            .chain(self.limits.iter().map(String::as_str))
            .collect();
        let mut done = Done::open(self.resume.as_deref(), &manner)?;
        let mut files = Files::list(&self.paths, self.null)?;
        if files.len() == 0 {
            return Err(Failure::Refused(
                "nothing to scan: no file was named, or is in the folders".to_owned(),
            ));
        }
        let mut counts = Counts::default();
        files.retain(|path| done.code(path).map(|code| counts.skip(code)).is_none());
        let progress = Progress::new(files.len(), counts);

        let jobs = self.jobs.map(|jobs| to_usize(jobs.get()));
        let jobs = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
        // Beside this thread, which works too: it is there whatever the system grants.
        let others = jobs.min(MOST_JOBS).min(files.len()).saturating_sub(1);
        let job = self.job(&policy)?;
        let files = Mutex::new(files);
        let shared = Mutex::new((&mut done, progress, io::stdout()));
        let went: Vec<io::Result<()>> = thread::scope(|scope| {
            let worker = |_| thread::Builder::new().spawn_scoped(scope, || work(&job, &files, &shared)).ok();
            let workers: Vec<_> = (0..others).map_while(worker).collect();
            let own = work(&job, &files, &shared);
            let joined = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended"))));
            joined.chain([own]).collect()
        });
        went.into_iter().collect::<io::Result<()>>()?;
        let (_, progress, _) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Outcome::Exit(progress.finish()))
    }

    /// The policy as TOML, for the processes: the file that it came from may be gone by then, or be another.
    fn policy_text(&self) -> Result<String, Failure> {
        let mut policy = self.policy.clone();
        policy.deep |= self.deep;
        let mut text = Vec::new();
        report::write_policy(&mut text, &policy)?;
        String::from_utf8(text).map_err(|error| io::Error::other(error).into())
    }

    fn job(&self, policy: &str) -> Result<Job, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::Refused(format!("cannot find this program: {}", reason(&error))))?;
        let mut arguments = vec!["scan-one".to_owned(), format!("--policy={policy}")];
        arguments.extend(self.limits.iter().map(|limit| format!("--limit={limit}")));
        arguments.push(format!("--seconds={}", self.timeout));
        arguments.push(format!("--parent={}", std::process::id()));
        arguments.push(format!("--sandbox={}", self.sandbox.as_str()));
        let policy = self.policy.name.clone();
        Ok(Job { program, arguments, policy, timeout: Duration::from_secs(self.timeout) })
    }
}

type Shared<'a> = Mutex<(&'a mut Done, Progress, io::Stdout)>;

/// Looks at one image after the other until none is left, or nobody reads any more what is said of them.
fn work(job: &Job, files: &Mutex<Files>, shared: &Shared<'_>) -> io::Result<()> {
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(path) = next else { return Ok(()) };
        // Before it is judged: what changes from then on has another.
        let mark = shared.lock().unwrap_or_else(PoisonError::into_inner).0.mark(&path);
        let answer = job.run(&path)?;
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, progress, out) = &mut *shared;
        progress.add(answer.code);
        match out.write_all(&answer.line).and_then(|()| out.flush()) {
            Ok(()) => done.add(mark.filter(|_| answer.lasts), answer.code)?,
            // What it said is lost, so that it is not done; the verdict stays.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                let left = files.lock().unwrap_or_else(PoisonError::into_inner).clear();
                progress.give_up(left);
            }
            Err(error) => return Err(error),
        }
    }
}
