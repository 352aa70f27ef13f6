//! One finding for what has one cause: many broken entries of one table are one overwritten table.

use std::collections::BTreeMap;

use super::Engine;
use crate::rules::{Evidence, Finding, Guest, Severity};
use crate::source::ReadAt;
use crate::units::{GuestSpan, Span};

/// So many breaches in one table are still told one by one.
const TOLD: usize = 8;

impl<R: ReadAt> Engine<'_, '_, R> {
    /// Hands on what was found in a table: each breach, or one finding for each rule where there are many.
    pub(super) fn settle_grouped(&mut self) {
        if self.found.len() > TOLD && !self.options.each {
            let mut found = std::mem::take(&mut self.found);
            self.found.extend(grouped(&found));
            found.clear();
            self.settle();
            self.found = found;
        } else {
            self.settle();
        }
    }
}

/// One finding for each rule and severity, at the first place, for the guest range from the first to the last.
fn grouped(found: &[Finding]) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, Severity), Group> = BTreeMap::new();
    for finding in found {
        let key = (finding.rule.code, finding.severity);
        groups.entry(key).or_insert_with(|| Group::new(finding)).add(finding);
    }
    groups.into_values().map(Group::finding).collect()
}

struct Group {
    first: Finding,
    count: u64,
    span: Option<Span>,
    guest: Option<Guest>,
}

impl Group {
    fn new(first: &Finding) -> Self {
        Self { first: first.clone(), count: 0, span: first.at, guest: first.guest }
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
