//! What the process gives up once the image is open: files, network, programs and privileges. A fault in the reader
//! then has nothing that it could reach.
//!
//! Entered while there is one thread, since Landlock holds only for that one and those it starts.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(feature = "sandbox-probe", unix))]
mod probe;

use std::path::Path;
use std::sync::OnceLock;

use clap::ValueEnum;

/// Whether rights are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Nothing is given up.
    Off,
    /// All that this system lets a process give up.
    Auto,
    /// As `auto`, and no image is read where this system has no Landlock or no seccomp filters.
    Require,
}

impl Mode {
    /// The word for it on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Require => "require",
        }
    }
}

/// What each part of the sandbox came to.
#[derive(Clone, Copy, Debug)]
struct Parts {
    /// Landlock: no file can be opened, made, removed or executed.
    landlock: Landlock,
    /// A seccomp filter: the system calls that the work does not need fail, those for sockets, signals and the change of
    /// files by name among them.
    seccomp: bool,
}

/// How much of Landlock is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "Landlock is of Linux"))]
enum Landlock {
    Missing,
    /// All that its first version can forbid, which are the files: all that the filter does not forbid as well. An older
    /// kernel lacks what later versions add.
    Files,
    /// All that is asked for.
    Whole,
}

/// A process gives its rights up once; what it gave up is a fact about the process.
static IN_FORCE: OnceLock<Parts> = OnceLock::new();

/// Gives up what is not needed to read files that are open and to write to those that are. In the folder `output` files
/// can still be made, renamed and removed.
///
/// # Errors
/// With [`Mode::Require`], what is missing.
pub(crate) fn enter(mode: Mode, output: Option<&Path>) -> Result<(), String> {
    if mode == Mode::Off {
        return Ok(());
    }
    let parts = IN_FORCE.get_or_init(|| give_up(output));
    #[cfg(all(feature = "sandbox-probe", unix))]
    probe::run();
    let missing = match parts {
        Parts { landlock: Landlock::Missing, .. } => "Landlock",
        Parts { seccomp: false, .. } => "seccomp",
        _ => return Ok(()),
    };
    match mode {
        Mode::Require => Err(format!("--sandbox require: this system has no {missing}")),
        _ => Ok(()),
    }
}

/// What is in force, as reports say it.
pub(crate) fn in_force() -> &'static str {
    IN_FORCE.get().map_or("none", |parts| parts.told())
}

impl Parts {
    const fn told(self) -> &'static str {
        match (self.landlock, self.seccomp) {
            (Landlock::Whole, true) => "landlock,seccomp",
            (Landlock::Whole, false) => "landlock",
            (Landlock::Files, true) => "landlock-files,seccomp",
            (Landlock::Files, false) => "landlock-files",
            (Landlock::Missing, true) => "seccomp",
            (Landlock::Missing, false) => "none",
        }
    }
}

#[cfg(target_os = "linux")]
fn give_up(output: Option<&Path>) -> Parts {
    linux::give_up_core_dumps();
    Parts { landlock: linux::restrict_files(output), seccomp: linux::restrict_calls(output.is_some()) }
}

#[cfg(not(target_os = "linux"))]
fn give_up(_: Option<&Path>) -> Parts {
    Parts { landlock: Landlock::Missing, seccomp: false }
}
