//! Findings in bounded memory.

use std::collections::BTreeMap;

use super::{Evidence, Finding, Rule, Severity};

/// Collects findings: some of each rule one by one, the others as a number.
#[derive(Debug)]
pub struct Findings {
    kept: Vec<Finding>,
    rules: BTreeMap<&'static str, Tally>,
    per_rule: usize,
}

/// What was found of one rule.
#[derive(Debug)]
struct Tally {
    rule: &'static Rule,
    kept: usize,
    further: u64,
    last: Option<Finding>,
}

impl Findings {
    /// None yet; `per_rule` of each rule are kept one by one.
    pub fn new(per_rule: usize) -> Self {
        Self { kept: Vec::new(), rules: BTreeMap::new(), per_rule }
    }

    /// Takes one more.
    pub fn push(&mut self, finding: Finding) {
        let tally = self.rules.entry(finding.rule.code).or_insert(Tally {
            rule: finding.rule,
            kept: 0,
            further: 0,
            last: None,
        });
        if tally.kept < self.per_rule {
            tally.kept = tally.kept.saturating_add(1);
            self.kept.push(finding);
        } else {
            tally.further = tally.further.saturating_add(finding.consequences);
            let worst =
                tally.last.as_ref().map_or(finding.severity, |last| last.severity.max(finding.severity));
            tally.last = Some(Finding { severity: worst, ..finding });
        }
    }

    /// Those that are kept, and one that stands for the others of each rule.
    pub fn iter(&self) -> impl Iterator<Item = Finding> {
        let further = self.rules.values().filter_map(|tally| {
            let last = tally.last.clone()?;
            Some(Finding {
                at: None,
                found: Evidence::from(format!("{} more, not listed one by one", tally.further)),
                wanted: Evidence::from("none"),
                guest: None,
                consequences: tally.further,
                rule: tally.rule,
                ..last
            })
        });
        self.kept.iter().cloned().chain(further)
    }

    /// The highest severity, or `None` without findings.
    pub fn worst(&self) -> Option<Severity> {
        let further = self.rules.values().filter_map(|tally| tally.last.as_ref());
        self.kept.iter().chain(further).map(|finding| finding.severity).max()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        let further = self.rules.values().map(|tally| tally.further);
        self.kept.iter().map(|finding| finding.consequences).chain(further).fold(0, u64::saturating_add)
    }

    /// How many there are of each severity, the worst first.
    pub fn by_severity(&self) -> Vec<(Severity, u64)> {
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for finding in self.iter() {
            let count = counts.entry(std::cmp::Reverse(finding.severity)).or_default();
            *count = count.saturating_add(finding.consequences);
        }
        counts.into_iter().map(|(severity, count)| (severity.0, count)).collect()
    }

    /// Whether none says that something was not looked at.
    pub fn is_complete(&self) -> bool {
        self.rules.values().all(|tally| !tally.rule.is_cut())
    }

    /// Whether any is of this rule.
    pub fn has(&self, rule: &Rule) -> bool {
        self.rules.contains_key(rule.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Structure;
    use crate::rules::codes::{H28, L05};
    use crate::units::Span;

    #[test]
    fn the_rest_of_a_rule_is_one_finding() {
        let mut findings = Findings::new(2);
        for _ in 0..5 {
            findings.push(Finding::new(&L05, Structure::L2Table, Span::default(), 1_u64, "0"));
        }
        findings.push(Finding::new(&H28, Structure::Header, Span::default(), 1_u64, "0"));
        let counts: Vec<_> =
            findings.iter().map(|finding| (finding.rule.code, finding.consequences)).collect();
        assert_eq!(counts, [("L05", 1), ("L05", 1), ("H28", 1), ("L05", 3)]);
        assert_eq!((findings.count(), findings.worst()), (6, Some(Severity::Corruption)));
        assert_eq!(findings.by_severity(), [(Severity::Corruption, 5), (Severity::Note, 1)]);
    }
}
