//! Damages by name: for each rule one that makes it fire, and one that nearly does.

mod backing;
mod bitmap_tables;
mod bitmaps;
mod counts;
mod extensions;
mod header;
mod luks;
mod mapping;
mod overlap;
mod payload;
mod refcounts;
mod snapshots;
mod streams;
mod tables;

use qcow2_inspect::finding::Rule;
use qcow2_inspect::format::Field;

use super::Draft;

/// How to break one rule.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The rule.
    pub rule: &'static Rule,
    /// What it does, in two to five words with hyphens, where the rule has several damages; else empty.
    pub variant: &'static str,
    /// The valid image of the corpus that it is made for, without its ending.
    pub base: &'static str,
    /// Breaks the rule.
    pub breaks: fn(&mut Draft),
    /// Comes as near as it can without breaking it.
    pub nearly: fn(&mut Draft),
    /// Other rules that fire as a consequence.
    pub also: &'static [&'static str],
}

/// Changes a field of the header.
pub(super) fn set(draft: &mut Draft, field: Field, value: u64) {
    draft.set_header(field, value);
}

/// Leaves the image as it is.
pub(super) fn unchanged(_: &mut Draft) {}

/// All of them.
pub fn damages() -> impl Iterator<Item = &'static Damage> {
    [
        header::DAMAGES,
        tables::DAMAGES,
        backing::DAMAGES,
        extensions::DAMAGES,
        payload::DAMAGES,
        mapping::DAMAGES,
        refcounts::DAMAGES,
        snapshots::DAMAGES,
        streams::DAMAGES,
        bitmap_tables::DAMAGES,
        bitmaps::DAMAGES,
        luks::DAMAGES,
        counts::DAMAGES,
        overlap::DAMAGES,
    ]
    .into_iter()
    .flatten()
}
