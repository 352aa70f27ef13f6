//! One finding for what has one cause: many broken entries of one table are one overwritten table.

use crate::finding::{Evidence, Finding, Guest};
use crate::units::{GuestSpan, Span};

/// Breaches of a rule: told at the first place, for the guest range from the first to the last.
#[derive(Debug)]
pub(super) struct Group {
    first: Finding,
    count: u64,
    span: Option<Span>,
    guest: Option<Guest>,
}

impl Group {
    pub(super) fn new(first: Finding) -> Self {
        Self { count: first.consequences, span: first.at, guest: first.guest, first }
    }

    pub(super) fn add(&mut self, finding: &Finding) {
        self.count = self.count.saturating_add(finding.consequences);
        self.span = match (self.span, finding.at) {
            (Some(a), Some(b)) => {
                let (start, end) = (a.at.min(b.at), a.end().max(b.end()));
                Some(Span::new(start, end.0.saturating_sub(start.0)))
            }
            (a, b) => a.or(b),
        };
        self.guest = match (self.guest, finding.guest) {
            (Some(a), Some(b)) if a.tree == b.tree => {
                let start = a.span.start.min(b.span.start);
                let end =
                    a.span.start.saturating_add(a.span.len).max(b.span.start.saturating_add(b.span.len));
                Some(Guest { tree: a.tree, span: GuestSpan { start, len: end.0.saturating_sub(start.0) } })
            }
            (a, b) => a.or(b),
        };
    }

    pub(super) fn finding(self) -> Finding {
        if self.count <= 1 {
            return self.first;
        }
        let found = Evidence::from(format!("{} and {} more", self.first.found, self.count.saturating_sub(1)));
        Finding { found, at: self.span, guest: self.guest, consequences: self.count, ..self.first }
    }
}
