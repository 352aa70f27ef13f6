//! The command as a process: what it answers to bad input, names that attack a terminal, and its options.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here is the test"
)]

#[cfg(unix)]
mod audit;
mod bad_files;
mod bitmap;
mod broken_tables;
mod check;
#[cfg(unix)]
mod endless;
mod foreign;
mod formats;
mod golden;
mod info;
mod limits;
mod locate;
mod map;
#[cfg(unix)]
mod missing;
mod names;
mod options;
#[cfg(unix)]
mod paths;
mod process;
#[cfg(unix)]
mod read;
mod rules;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(all(target_os = "linux", feature = "sandbox-probe"))]
mod sandbox_probe;
#[cfg(unix)]
mod scan;
mod snapshots;
mod told;
mod usage;
