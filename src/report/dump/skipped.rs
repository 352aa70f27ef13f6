//! Entries that a dump leaves out, and why.

use crate::units::HostOffset;

/// Why entries are not shown that the file does not hold.
pub(super) const BEHIND_THE_END: &str = "behind-the-end-of-the-file";

/// A run of empty entries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Empty {
    first: u64,
    count: u64,
    at: HostOffset,
}

impl Empty {
    pub(super) fn add(&mut self, index: u64, at: HostOffset) {
        if self.count == 0 {
            (self.first, self.at) = (index, at);
        }
        self.count = self.count.saturating_add(1);
    }

    /// The first one's index, and how many they are.
    pub(super) const fn range(self) -> (u64, u64) {
        (self.first, self.count)
    }

    /// Where the first one stands.
    pub(super) const fn at(self) -> HostOffset {
        self.at
    }
}
