//! Damages by name: for each rule one that makes it fire, and one that nearly does.
//!
//! Each file has those of one part of the format, as rows of the form that `rows!` declares.

/// Declares the damages of a file, one a row:
///
/// - `RULE "variant" in "base" with n = 96, nearly 104 => edit;` has one edit, which breaks the rule with the first `n`
///   and nearly does with the second. `n` may be any pattern.
/// - `RULE "variant" in "base" => edit, nearly edit;` has two edits. Without the second, the near miss is the image as it
///   is.
///
/// Either may end with `, also "H34" "R01"`, and do without the variant; [`Damage`] says what these are. An edit is an
/// expression, which knows the draft by the name before the rows: a method of [`Draft`], a function of steps.rs or of the
/// file, or a block of several.
macro_rules! rows {
    ($draft:ident: $(
        $rule:ident $($variant:literal)? in $base:tt
        $(with $n:pat_param = $breaking:expr, nearly $near:expr)?
        => $edit:expr $(, nearly $nearly:expr)? $(, also $($also:literal)+)?;
    )*) => {
        pub(super) const DAMAGES: &[Damage] = &[$(Damage {
            rule: &$rule,
            variant: concat!($($variant)?),
            base: $base,
            breaks: |$draft| {
                $(let $n = $breaking;)?
                $edit;
            },
            nearly: |$draft| {
                let _ = &$draft;
                $(let $n = $near; $edit;)?
                $($nearly;)?
            },
            also: &[$($($also),+)?],
        }),*];
    };
}

mod bitmaps;
mod extensions;
mod header;
mod luks;
mod mapping;
mod overlap;
mod refcounts;
mod snapshots;
mod steps;

use qcow2_inspect::finding::Rule;

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

/// All of them.
pub fn damages() -> impl Iterator<Item = &'static Damage> {
    [
        header::DAMAGES,
        extensions::DAMAGES,
        mapping::DAMAGES,
        refcounts::DAMAGES,
        snapshots::DAMAGES,
        bitmaps::DAMAGES,
        luks::DAMAGES,
        overlap::DAMAGES,
    ]
    .into_iter()
    .flatten()
}
