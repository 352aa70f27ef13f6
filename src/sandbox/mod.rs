//! What the process gives up once the image is open: files, network, programs and privileges. A fault in the reader
//! then has nothing that it could reach.
//!
//! Entered while there is one thread, since Landlock holds only for that one and those it starts.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(feature = "testkit", unix))]
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
    /// As `auto`, and no image is read where some part of it is missing.
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
    /// Landlock: no file can be opened, made, removed or executed, and no TCP connection made.
    landlock: bool,
    /// A seccomp filter: the system calls that the work does not need fail.
    seccomp: bool,
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
    #[cfg(all(feature = "testkit", unix))]
    probe::run();
    let missing = match parts {
        Parts { landlock: false, .. } => "Landlock",
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
    match IN_FORCE.get() {
        Some(Parts { landlock: true, seccomp: true }) => "landlock,seccomp",
        Some(Parts { landlock: true, .. }) => "landlock",
        Some(Parts { seccomp: true, .. }) => "seccomp",
        _ => "none",
    }
}

#[cfg(target_os = "linux")]
fn give_up(output: Option<&Path>) -> Parts {
    linux::give_up_core_dumps();
    Parts { landlock: linux::restrict_files(output), seccomp: linux::restrict_calls(output.is_some()) }
}

#[cfg(not(target_os = "linux"))]
fn give_up(_: Option<&Path>) -> Parts {
    Parts { landlock: false, seccomp: false }
}
