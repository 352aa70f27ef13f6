//! Which bitmaps an incremental backup can rest on: what the check as a whole says of each.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::Serialize;

use super::context::Context;
use super::counted::Counted;
use crate::finding::{BitmapTrust, Finding, Rule, Severity};
use crate::image::{Part, Section, Tables, Walk};
use crate::references::Role;
use crate::rules::named::{BITMAP_OVERLAP, BITMAP_TAIL_BITS, REFCOUNT_TOO_LOW};
use crate::source::ReadAt;
use crate::units::Span;

/// What a bitmap is good for, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BitmapState {
    /// It has every write since it was made or cleared.
    Recording,
    /// It is consistent, and has no write since it was disabled.
    Disabled,
    /// Something was not looked at that decides.
    Unknown,
    /// It was not saved when the image was closed.
    InUse,
    /// A program without support for bitmaps may have written to the image.
    Inconsistent,
    /// QEMU would not load it, or something else can write over it.
    Broken,
}

/// What a check says of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedBitmap {
    /// What it is good for.
    pub state: BitmapState,
    /// The rule that decides, where it is one.
    pub rule: Option<&'static Rule>,
    /// Whether bits are set behind the end of the disk (rule B18). They say nothing of the guest; whoever wrote them has
    /// made a mistake.
    pub has_tail_bits: bool,
}

/// What was found in a bitmap: its entry of the directory, its table and its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) against: Option<(&'static Rule, Severity)>,
    pub(super) has_tail_bits: bool,
}

/// What was found in each bitmap, by its place in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmaps(BTreeMap<u32, Own>);

impl Bitmaps {
    /// What was found in the bitmap with this place.
    pub(super) fn own(&self, index: u32) -> Own {
        self.0.get(&index).copied().unwrap_or_default()
    }

    /// Takes what was found in a bitmap.
    pub(super) fn take(&mut self, index: u32, found: &[Finding]) {
        for finding in found {
            let own = self.0.entry(index).or_default();
            own.has_tail_bits |= finding.rule == &BITMAP_TAIL_BITS;
            let is_in_use = finding.rule.attributes.bitmap == BitmapTrust::InUse;
            if finding.severity >= Severity::Corruption || is_in_use {
                own.worsen(finding.rule, finding.severity);
            }
        }
    }

    /// Takes note of the bitmaps over whose clusters something else can write: there are more references to one than its
    /// refcount says, or more than that of the bitmap.
    pub(super) fn claimed_twice<R: ReadAt>(&mut self, cx: &Context<'_, R>, counted: &Counted, low: &Low) {
        if low.is_empty() && counted.conflicts.len() == 0 {
            return;
        }
        let (mut own, mut all) = (BTreeMap::new(), None);
        let against = |span: Span| {
            let is_counted = span.len != 0 && !cx.is_past_file(span);
            is_counted.then(|| cx.clusters_of(span))?.find_map(|cluster| {
                let is_shared = counted.clusters.count(cluster) > 1;
                is_shared.then_some(&BITMAP_OVERLAP).or(low.contains(cluster).then_some(&REFCOUNT_TOO_LOW))
            })
        };
        if let Some(directory) = cx.references.bitmap_directory().filter(|directory| directory.is_followed) {
            all = against(directory.span);
        }
        let mut walk = Walk::new(cx.image, Tables::Again(cx.image.limits().odd_tables));
        let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            if let Part::Bitmap(bitmap) = part {
                own.extend(all.map(|rule| (bitmap.index, rule)));
            }
            for reference in cx.references.part(&part).iter().filter(|reference| reference.is_followed) {
                if let Role::BitmapTable(index) | Role::BitmapData(index) = reference.role {
                    own.extend(against(reference.span).map(|rule| (index, rule)));
                }
            }
            Ok(())
        });
        for (index, rule) in own {
            self.0.entry(index).or_default().worsen(rule, rule.severity);
        }
    }
}

impl Own {
    /// Takes one more reason. That it was not saved says more than what is wrong with it because of that.
    fn worsen(&mut self, rule: &'static Rule, severity: Severity) {
        let is_in_use = |rule: &Rule| rule.attributes.bitmap == BitmapTrust::InUse;
        let is_worse =
            self.against.is_none_or(|(worst, by)| !is_in_use(worst) && (is_in_use(rule) || severity > by));
        if is_worse {
            self.against = Some((rule, severity));
        }
    }
}

/// The clusters whose refcount is too low, as many of them as are remembered.
#[derive(Debug, Default)]
pub(super) struct Low {
    runs: Vec<(u64, u64)>,
    has_more: bool,
}

/// How many runs of clusters are remembered.
const REMEMBERED: usize = 4096;

impl Low {
    /// Takes one more cluster; they come in order.
    pub(super) fn add(&mut self, cluster: u64) {
        let end = cluster.saturating_add(1);
        if let Some(run) = self.runs.last_mut().filter(|run| run.1 == cluster) {
            run.1 = end;
        } else if self.runs.len() < REMEMBERED {
            self.runs.push((cluster, end));
        } else {
            self.has_more = true;
        }
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether the refcount of a cluster is too low, or may be.
    fn contains(&self, cluster: u64) -> bool {
        let behind = self.runs.partition_point(|(start, _)| *start <= cluster);
        let run = behind.checked_sub(1).and_then(|place| self.runs.get(place));
        run.is_some_and(|(_, end)| cluster < *end) || self.has_more && behind == self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_refcounts_are_found_and_beyond_the_limit_suspected() {
        let mut low = Low::default();
        assert!(low.is_empty());
        [3, 4, 9].into_iter().for_each(|cluster| low.add(cluster));
        let found: Vec<u64> = (0..12).filter(|cluster| low.contains(*cluster)).collect();
        assert_eq!(found, [3, 4, 9]);
        (0..10_000).for_each(|n| low.add(100 + 2 * n));
        assert!(low.contains(100) && !low.contains(101));
        assert!(low.contains(1_000_001), "it may be one that was not remembered");
    }
}
