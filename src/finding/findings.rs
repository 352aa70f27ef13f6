//! Findings in bounded memory.

use std::collections::BTreeMap;

use super::{Finding, Rule, Severity};

/// Collects findings: some of each rule one by one, the others as a number.
#[derive(Debug)]
pub struct Findings {
    kept: Vec<Finding>,
    rules: BTreeMap<&'static Rule, Tally>,
    per_rule: usize,
}

/// What was found of one rule.
#[derive(Debug, Default)]
struct Tally {
    kept: usize,
    /// Stands for those that are not kept: the last of them, at the highest severity.
    further: Option<Finding>,
}

impl Findings {
    /// None yet; `per_rule` of each rule are kept one by one.
    pub fn new(per_rule: usize) -> Self {
        Self { kept: Vec::new(), rules: BTreeMap::new(), per_rule }
    }

    /// Takes one more.
    pub fn push(&mut self, finding: Finding) {
        let tally = self.rules.entry(finding.rule).or_default();
        if tally.kept < self.per_rule {
            tally.kept = tally.kept.saturating_add(1);
            self.kept.push(finding);
        } else {
            let (severity, count) = tally
                .further
                .as_ref()
                .map_or((finding.severity, 0), |further| (further.severity, further.consequences));
            let count = count.saturating_add(finding.consequences);
            let severity = severity.max(finding.severity);
            let further = Finding::more(finding.rule, finding.structure, count);
            tally.further = Some(Finding { severity, qemu_limit: finding.qemu_limit, ..further });
        }
    }

    /// Those that are kept, and one that stands for the others of each rule.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> + Clone {
        self.kept.iter().chain(self.rules.values().filter_map(|tally| tally.further.as_ref()))
    }

    /// The highest severity, or `None` without findings.
    pub fn worst(&self) -> Option<Severity> {
        self.iter().map(|finding| finding.severity).max()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.iter().map(|finding| finding.consequences).fold(0, u64::saturating_add)
    }

    /// Whether none says that something was not looked at.
    pub fn is_complete(&self) -> bool {
        self.rules.keys().all(|rule| !rule.means_incomplete())
    }

    /// Whether any is of this rule.
    pub fn has(&self, rule: &Rule) -> bool {
        self.rules.contains_key(rule)
    }
}
