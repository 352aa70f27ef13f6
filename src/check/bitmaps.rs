//! Which bitmaps an incremental backup can rest on: what the check as a whole says of each.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::Serialize;

use super::cluster_runs::ClusterRuns;
use super::context::Context;
use super::counted::Counted;
use super::reporter::Reporter;
use crate::Error;
use crate::finding::{BitmapTrust, Finding, Rule, Severity, Structure};
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
    pub(super) fn claimed_twice<R: ReadAt>(
        &mut self,
        cx: &Context<'_, R>,
        counted: &Counted,
        low: &ClusterRuns,
        reporter: &mut Reporter<'_>,
    ) {
        if low.count() == 0 && counted.conflicts.len() == 0 {
            return;
        }
        let (mut own, mut all) = (BTreeMap::new(), None);
        let against = |span: Span| {
            let is_counted = span.len != 0 && !cx.is_past_file(span);
            is_counted.then(|| cx.geometry.clusters_of(span))?.find_map(|cluster| {
                let is_shared = counted.clusters.count(cluster) > 1;
                is_shared.then_some(&BITMAP_OVERLAP).or(low.may_have(cluster).then_some(&REFCOUNT_TOO_LOW))
            })
        };
        if let Some(directory) = cx.references.bitmap_directory().filter(|directory| directory.is_followed) {
            all = against(directory.span);
        }
        let mut walk = Walk::new(cx.image, Tables::Again(cx.image.limits().odd_tables));
        let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            match part {
                Part::Bitmap(bitmap) => own.extend(all.map(|rule| (bitmap.index, rule))),
                Part::Stopped(structure, error) => reporter.stop(error, structure),
                Part::End(_, Some(error)) if !matches!(error, Error::Cut { .. }) => {
                    reporter.stop(error, Structure::Bitmap);
                }
                _ => {}
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
