//! What a validator says: the type of a rule, and what it says when it fires: where, what was found, what was wanted,
//! and whom it hurts.
//!
//! Nothing here judges, and no rule is declared here: those are the business of `rules/`.
#![warn(clippy::arithmetic_side_effects)]

mod evidence;
mod findings;
mod judged;
pub(crate) mod rule;
mod structure;

use serde::Serialize;

use crate::units::{GuestOffset, GuestSpan, Span, Tree};

pub use evidence::Evidence;
pub use findings::Findings;
pub use judged::Judged;
pub(crate) use judged::judged_name;
pub(crate) use rule::rules;
pub use rule::{
    Attributes, BitmapTrust, Checks, Cut, GuestData, Opens, Origin, Reported, Risk, Rule, Severity,
};
pub use structure::Structure;

/// A range of guest offsets that a finding concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// In which tree.
    pub tree: Tree,
    /// Which bytes of it.
    #[serde(flatten)]
    pub span: GuestSpan,
}

impl Guest {
    /// `len` bytes at `start`, up to the end of the disk unless they lie behind it.
    pub fn new(tree: Tree, start: GuestOffset, len: u64, disk_size: u64) -> Self {
        let left = disk_size.checked_sub(start.0).filter(|left| *left != 0).unwrap_or(u64::MAX);
        Self { tree, span: GuestSpan { start, len: len.min(left) } }
    }
}

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// At most the rule's own severity.
    pub severity: Severity,
    /// What it was found in.
    pub structure: Structure,
    /// The bytes of the file that are wrong, where there are such bytes.
    pub at: Option<Span>,
    /// What stands there.
    pub found: Evidence,
    /// What should.
    pub wanted: Evidence,
    /// Whether only QEMU's own limit is passed, and the specification allows it.
    pub qemu_limit: bool,
    /// The guest data that it hurts.
    pub guest: Option<Guest>,
    /// How many breaches it stands for.
    pub consequences: u64,
}

impl Finding {
    /// A finding at the rule's own severity.
    pub fn new(
        rule: &'static Rule,
        structure: Structure,
        at: Span,
        found: impl Into<Evidence>,
        wanted: impl Into<Evidence>,
    ) -> Self {
        Self {
            rule,
            severity: rule.severity,
            structure,
            at: Some(at),
            found: found.into(),
            wanted: wanted.into(),
            qemu_limit: false,
            guest: None,
            consequences: 1,
        }
    }

    /// Breaches that were counted and are not told one by one.
    pub fn more(rule: &'static Rule, structure: Structure, count: u64) -> Self {
        let found = Evidence::More(count);
        let finding = Self::new(rule, structure, Span::default(), found, "none");
        Self { at: None, consequences: count, ..finding }
    }

    /// The same, no worse than `severity`.
    #[must_use]
    pub fn at_most(mut self, severity: Severity) -> Self {
        self.severity = self.severity.min(severity);
        self
    }

    /// The same, marked as a limit of QEMU's own.
    #[must_use]
    pub fn only_qemu(mut self) -> Self {
        self.qemu_limit = true;
        self
    }

    /// The same, with the guest range that it hurts, if a guest can reach what it is about.
    #[must_use]
    pub fn hurting(mut self, guest: impl Into<Option<Guest>>) -> Self {
        self.guest = guest.into();
        self
    }

    /// Whether it says that nothing more can be read of the file: all that comes would say so again.
    pub fn ends_run(&self) -> bool {
        matches!(self.found, Evidence::Spent(limit, _) if limit.ends_run())
    }

    /// The rule and the evidence as one sentence.
    pub fn message(&self) -> String {
        format!("{}; found {}, wanted {}", self.rule.title, self.found, self.wanted)
    }
}
