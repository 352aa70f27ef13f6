//! The one failure that is not a finding: something cannot be read further.

use std::io;

use crate::limits::{Limit, Limits};
use crate::units::HostOffset;

/// Why a structure, or the whole file, cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not start with the qcow2 magic.
    #[error("not a qcow2 image: it looks like {looks_like}")]
    NotQcow2 {
        /// What its bytes look like.
        looks_like: &'static str,
    },

    /// The bytes could not be read.
    #[error("cannot read {what} at {at}: {kind}")]
    Io {
        /// What was to be read.
        what: &'static str,
        /// Where.
        at: HostOffset,
        /// The operating system's reason.
        kind: io::ErrorKind,
    },

    /// A part of a structure lies behind the end of what holds it.
    #[error("{what} at {at} is cut short: wanted {wanted} bytes, had {had}")]
    Cut {
        /// The part that does not fit.
        what: &'static str,
        /// Where it starts.
        at: HostOffset,
        /// How many bytes it needs.
        wanted: u64,
        /// How many there are.
        had: u64,
    },

    /// A limit is spent.
    #[error("stopped at {at}: the limit {limit} of {value} is spent")]
    Budget {
        /// Which one.
        limit: Limit,
        /// Its value.
        value: u64,
        /// What was to be read next.
        at: HostOffset,
    },
}

impl Limits {
    /// The error for a limit that is spent where `at` was to be read next.
    pub fn spent(&self, limit: Limit, at: HostOffset) -> Error {
        Error::Budget { limit, value: self.get(limit), at }
    }
}
