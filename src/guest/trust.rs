//! Whether a dirty bitmap can be relied on: what the judge finds in it decides.

use std::convert::Infallible;

use crate::Error;
use crate::finding::{BitmapTrust, Finding, Rule, Severity};
use crate::image::{Bitmap, Image, Part, Section, Tables, Walk};
use crate::rules::Judge;
use crate::rules::named::{BITMAP_GRANULARITY_INVALID, BITMAP_TAIL_BITS};
use crate::source::ReadAt;

/// What the rules say of a bitmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The rule for which no incremental backup may rest on it; `None` where one may.
    pub against: Option<&'static Rule>,
    /// Whether bits are set behind the end of the disk (rule B18). They say nothing of the guest, and are in no range;
    /// whoever wrote them has made a mistake.
    pub has_tail_bits: bool,
}

/// Judges the bitmaps of an image, in the order of its directory.
#[derive(Debug)]
pub struct Trusts<'i, R> {
    image: &'i Image<R>,
    judge: Judge<'i, R>,
    /// The rule for which none of them can be relied on.
    against_all: Option<&'static Rule>,
}

impl<'i, R: ReadAt> Trusts<'i, R> {
    /// The judge of this image's bitmaps.
    pub fn new(image: &'i Image<R>) -> Self {
        let mut judge = Judge::new(image, None);
        let mut found = Vec::new();
        let Ok(()) = Walk::new(image, Tables::Unread).section(Section::Extensions, &mut |part| {
            judge.part(&part, &mut found);
            Ok::<(), Infallible>(())
        });
        let mut rules = found.iter().map(|finding| finding.rule);
        let against_all = rules.find(|rule| rule.attributes.bitmap == BitmapTrust::Inconsistent);
        Self { image, judge, against_all }
    }

    /// Passes over the next bitmap of the directory; its name counts for those behind it.
    pub fn pass(&mut self, bitmap: &Bitmap) {
        self.judge.part(&Part::Bitmap(bitmap), &mut Vec::new());
    }

    /// Judges the next bitmap of the directory. Its table is read, and of its data the end.
    ///
    /// # Errors
    /// Where the table or the data cannot be read.
    pub fn next(&mut self, bitmap: &Bitmap) -> Result<Trust, Error> {
        let (judge, mut trust, mut worst) = (&mut self.judge, Trust::default(), None::<Finding>);
        let mut found = Vec::new();
        Walk::new(self.image, Tables::Once).bitmap(bitmap, &mut |part| {
            judge.part(&part, &mut found);
            if let Some(error) = judge.take_error() {
                return Err(error);
            }
            for finding in found.drain(..) {
                trust.has_tail_bits |= finding.rule == &BITMAP_TAIL_BITS;
                let is_against = finding.severity >= Severity::Corruption || is_in_use(finding.rule);
                // That it was not saved says more than what is wrong with it because of that.
                let is_worse = worst.as_ref().is_none_or(|worst| {
                    let by_severity = is_in_use(finding.rule) || finding.severity > worst.severity;
                    by_severity && !is_in_use(worst.rule)
                });
                if is_against && is_worse {
                    worst = Some(finding);
                }
            }
            Ok(())
        })?;
        // Without a cluster size nobody can tell where its bits are.
        let is_lost = self.image.dirty_runs(bitmap).is_none();
        let own = worst.map(|worst| worst.rule).or(is_lost.then_some(&BITMAP_GRANULARITY_INVALID));
        trust.against = if own.is_some_and(is_in_use) { own } else { self.against_all.or(own) };
        Ok(trust)
    }
}

fn is_in_use(rule: &Rule) -> bool {
    rule.attributes.bitmap == BitmapTrust::InUse
}
