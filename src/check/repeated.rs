//! Tables that are read although their bytes were read before, or stand off a cluster boundary: as QEMU reads them, but
//! only so many that the work stays in proportion to the file.

use crate::image::{Repeats, Visited};
use crate::units::Span;

/// Which bytes were read as tables, and how often more was read than these.
#[derive(Debug)]
pub(super) struct Repeated {
    seen: Visited<()>,
    again: Repeats,
    unaligned: Repeats,
    limit: u64,
    /// Whether a walk that is over left one out.
    was_spent: bool,
}

impl Repeated {
    /// None yet; `limit` of each kind are read.
    pub(super) fn new(limit: u64) -> Self {
        let (again, unaligned) = (Repeats::new(limit), Repeats::new(limit));
        Self { seen: Visited::new(usize::MAX), again, unaligned, limit, was_spent: false }
    }

    /// Whether no part of a table was read before, or only so little was read again that this does no harm. `table` lies
    /// inside the file.
    pub(super) fn is_new(&mut self, table: Span) -> bool {
        self.seen.first(table, ()).is_none() || self.again.may_read(table.len)
    }

    /// Whether one more table off the boundary may be read.
    pub(super) fn may_read_unaligned(&mut self) -> bool {
        self.unaligned.may_read(0)
    }

    /// Whether a table was left out because there are too many of these.
    pub(super) fn is_spent(&self) -> bool {
        self.was_spent || self.again.is_spent() || self.unaligned.is_spent()
    }

    /// Forgets which tables were read, for another walk.
    pub(super) fn start_again(&mut self) {
        self.was_spent |= self.again.is_spent();
        (self.seen, self.again) = (Visited::new(usize::MAX), Repeats::new(self.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::HostOffset;

    #[test]
    fn tables_that_overlap_are_read_again_within_a_limit() {
        let span = |at, len| Span::new(HostOffset(at), len);
        let mut tables = Repeated::new(2);
        for (table, is_new) in [
            (span(0x1000, 0x200), true),
            (span(0x1200, 0x200), true),
            (span(0x1000, 0x200), true),
            (span(0x1100, 0x200), true),
            (span(0x13ff, 1), false),
            (span(0x1400, 0), true),
        ] {
            assert_eq!(tables.is_new(table), is_new, "{table:?}");
        }
        assert!(tables.is_spent());
    }

    #[test]
    fn a_large_table_counts_as_several() {
        let (mut tables, large) = (Repeated::new(5), Span::new(HostOffset(0), 4 << 20));
        assert!(tables.is_new(large) && tables.is_new(large) && !tables.is_new(large));
        tables.start_again();
        assert!(tables.is_new(large) && tables.is_spent());
    }
}
