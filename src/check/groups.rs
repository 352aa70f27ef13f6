//! One finding for what has one cause: many broken entries of one table are one overwritten table.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Engine;
use crate::finding::{Evidence, Finding, Guest, Severity};
use crate::source::ReadAt;
use crate::units::{GuestSpan, Span};

/// So many breaches in one table are still told one by one.
const TOLD: usize = 8;
/// So many are kept of a table before they are handed on, or join their groups. A table may have millions.
const KEPT: usize = 256;

/// What was found in a table beyond what is kept of it, by rule and severity.
pub(super) type Groups = BTreeMap<(&'static str, Severity), Group>;

impl<R: ReadAt> Engine<'_, '_, R> {
    /// Whether so much was found in the table at hand that no more should be kept of it.
    pub(super) fn has_many(&self) -> bool {
        self.found.len() >= KEPT
    }

    /// To be called after each entry of a table that goes on: keeps no more of it than it must.
    pub(super) fn thin_out(&mut self) {
        if !self.has_many() {
            return;
        }
        if self.options.each {
            self.settle();
        } else {
            self.group();
        }
    }

    /// Hands on what was found in a table: each breach, or one finding for each rule where there are many.
    pub(super) fn settle_grouped(&mut self) {
        if !self.groups.is_empty() || self.found.len() > TOLD && !self.options.each {
            self.group();
            self.found.extend(std::mem::take(&mut self.groups).into_values().map(Group::finding));
        }
        self.settle();
    }

    fn group(&mut self) {
        for finding in self.found.drain(..) {
            match self.groups.entry((finding.rule.code, finding.severity)) {
                Entry::Occupied(mut group) => group.get_mut().add(&finding),
                Entry::Vacant(place) => _ = place.insert(Group::new(finding)),
            }
        }
    }
}

/// Breaches of a rule: told at the first place, for the guest range from the first to the last.
#[derive(Debug)]
pub(super) struct Group {
    first: Finding,
    count: u64,
    span: Option<Span>,
    guest: Option<Guest>,
}

impl Group {
    fn new(first: Finding) -> Self {
        Self { count: first.consequences, span: first.at, guest: first.guest, first }
    }

    fn add(&mut self, finding: &Finding) {
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

    fn finding(self) -> Finding {
        if self.count <= 1 {
            return self.first;
        }
        let found = Evidence::from(format!("{} and {} more", self.first.found, self.count.saturating_sub(1)));
        Finding { found, at: self.span, guest: self.guest, consequences: self.count, ..self.first }
    }
}
