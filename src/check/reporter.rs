//! What a check has found so far: handed on as soon as it is certain, counted for the verdict.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::groups::Group;
use super::{CheckOptions, Progress, Watch};
use crate::finding::{Checks, Cut, Finding, Rule, Severity, Structure};
use crate::format::features::{CORRUPT, DIRTY};
use crate::rules::named::READ_ERROR;
use crate::rules::stopped;
use crate::source::ReadAt;
use crate::units::HostOffset;
use crate::{Error, Image, Limit};

/// So many breaches in one table are still told one by one.
const TOLD: usize = 8;
/// So many are kept of a table before they are handed on, or join their groups. A table may have millions.
const KEPT: usize = 256;

/// So many errors are remembered, so that none is told twice.
const REMEMBERED: usize = 65_536;

/// Takes what the passes find, hands it on, and keeps what the verdict needs.
pub(super) struct Reporter<'w> {
    watch: &'w mut dyn Watch,
    /// Whether each breach is a finding of its own.
    each: bool,
    /// What was found in the structure at hand, and what else was found in it, by rule and severity.
    pub(super) found: Vec<Finding>,
    groups: BTreeMap<(&'static Rule, Severity), Group>,
    /// What kept something from being read.
    stopped_by: HashSet<Error>,
    /// Whether it was told that a limit on the whole run is spent.
    is_over: bool,
    /// Whether refcounts may be stale by design (R11).
    pub(super) may_be_stale: bool,
    has_v3: bool,
    pub(super) rules: BTreeMap<&'static str, (&'static Rule, u64)>,
    pub(super) severities: BTreeMap<Severity, u64>,
    /// Whether something was not looked at.
    pub(super) is_incomplete: bool,
    /// Whether something was not looked at that `qemu-img check` counts.
    pub(super) is_qemu_unknown: bool,
    pub(super) excused: u64,
    pub(super) refused: Option<&'static Rule>,
    pub(super) qemu: Tally,
}

/// What qemu-img check would count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) corruptions: u64,
    pub(super) leaks: u64,
    pub(super) check_errors: u64,
    /// Whether the check ends before its end, and says no number.
    pub(super) gives_up: bool,
}

impl Tally {
    pub(super) fn corrupt(&mut self, times: u64) {
        self.corruptions = self.corruptions.saturating_add(times);
    }
}

/// Whether QEMU refuses an image for this rule where its finding is fatal: nearly always. `qemu-img check` opens
/// an image without a refcount table.
fn is_refusal(rule: &Rule, has_v3: bool) -> bool {
    let is_opened = rule.attributes.opens_in_version_2 && !has_v3;
    !is_opened && !matches!(rule.checks, Checks::Corruption | Checks::Leak | Checks::Silently)
}

/// Whether the image was not closed, so that QEMU brings its refcounts up to date when it next opens it for writing. It
/// does not open an image for writing that calls itself corrupt: what is wrong there stays wrong.
fn may_be_stale<R: ReadAt>(image: &Image<R>) -> bool {
    let features = image.header().v3().incompatible_features;
    features.contains(DIRTY) && !features.contains(CORRUPT)
}

impl<'w> Reporter<'w> {
    /// Nothing found yet.
    pub(super) fn new<R: ReadAt>(image: &Image<R>, options: &CheckOptions, watch: &'w mut dyn Watch) -> Self {
        Self {
            watch,
            each: options.each,
            found: Vec::new(),
            groups: BTreeMap::new(),
            stopped_by: HashSet::new(),
            is_over: false,
            may_be_stale: may_be_stale(image),
            has_v3: image.header().has_v3(),
            rules: BTreeMap::new(),
            severities: BTreeMap::new(),
            is_incomplete: false,
            is_qemu_unknown: false,
            excused: 0,
            refused: None,
            qemu: Tally::default(),
        }
    }

    /// How many breaches of a rule there are so far.
    pub(super) fn count_of(&self, rule: &Rule) -> u64 {
        self.rules.get(rule.code).map_or(0, |(_, count)| *count)
    }

    /// Hands a finding on.
    pub(super) fn push(&mut self, finding: Finding) {
        self.is_qemu_unknown |= finding.rule.attributes.cut == Some(Cut::Unread);
        self.hand_on(finding);
    }

    /// Where refcounts may be stale by design, what they say is a note.
    fn hand_on(&mut self, finding: Finding) {
        if finding.ends_run() && std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let (severity, count) = (finding.severity, finding.consequences);
        let is_excused = self.may_be_stale && finding.rule.attributes.stale_when_dirty;
        let finding = if is_excused { finding.at_most(Severity::Note) } else { finding };
        if finding.severity != severity {
            self.excused = self.excused.saturating_add(count);
        }
        self.is_incomplete |= finding.rule.means_incomplete();
        if finding.severity == Severity::Fatal
            && self.refused.is_none()
            && is_refusal(finding.rule, self.has_v3)
        {
            self.refused = Some(finding.rule);
        }
        let (_, count) = self.rules.entry(finding.rule.code).or_insert((finding.rule, 0));
        *count = count.saturating_add(finding.consequences);
        let count = self.severities.entry(finding.severity).or_default();
        *count = count.saturating_add(finding.consequences);
        self.watch.finding(finding);
    }

    /// Takes what keeps a structure from being read. Several passes may come by the same place.
    pub(super) fn stop(&mut self, error: Error, structure: Structure) {
        if !self.is_new(error) {
            return;
        }
        let is_beside = matches!(error, Error::Budget { limit, .. } if limit.is_beside_qemu());
        let finding = stopped(error, structure, &READ_ERROR);
        self.is_qemu_unknown |= finding.rule.means_incomplete() && !is_beside;
        self.hand_on(finding);
    }

    /// Whether an error was not told before.
    pub(super) fn is_new(&mut self, error: Error) -> bool {
        self.stopped_by.len() >= REMEMBERED || self.stopped_by.insert(error)
    }

    /// The same of a limit that no place is told of.
    pub(super) fn spent<R: ReadAt>(&mut self, image: &Image<R>, limit: Limit, structure: Structure) {
        self.stop(image.limits().spent(limit, HostOffset(0)), structure);
    }

    /// Whether so much was found in the table at hand that no more should be kept of it.
    pub(super) fn has_many(&self) -> bool {
        self.found.len() >= KEPT
    }

    /// To be called after each entry of a table that goes on: keeps no more of it than it must.
    pub(super) fn keep_few(&mut self) {
        if !self.has_many() {
            return;
        }
        if self.each {
            self.hand_on_each();
        } else {
            self.group();
        }
    }

    /// Hands on what was found in a table: each breach, or one finding for each rule where there are many.
    pub(super) fn end_table(&mut self) {
        if !self.groups.is_empty() || self.found.len() > TOLD && !self.each {
            self.group();
            self.found.extend(std::mem::take(&mut self.groups).into_values().map(Group::finding));
        }
        self.hand_on_each();
    }

    /// Hands on what was found in the structure at hand.
    pub(super) fn hand_on_each(&mut self) {
        let mut found = std::mem::take(&mut self.found);
        found.drain(..).for_each(|finding| self.push(finding));
        self.found = found;
    }

    fn group(&mut self) {
        for finding in self.found.drain(..) {
            match self.groups.entry((finding.rule, finding.severity)) {
                Entry::Occupied(mut group) => group.get_mut().add(&finding),
                Entry::Vacant(place) => _ = place.insert(Group::new(finding)),
            }
        }
    }

    /// Tells how far a stage is, a few hundred times in all.
    pub(super) fn progress(&mut self, stage: &'static str, done: u64, of: u64) {
        if done.is_multiple_of((of / 256).max(1)) {
            self.tell_progress(stage, done, of);
        }
    }

    /// The same at once.
    pub(super) fn tell_progress(&mut self, stage: &'static str, done: u64, of: u64) {
        self.watch.progress(Progress { stage, done, of });
    }
}
