//! Why each rule matters and what one can do where it fires, for people who met it in a report; with an image that
//! fires it.

/// Declares the reasons of a family, as `ALL`.
macro_rules! reasons {
    ($($code:ident { why: $why:literal, advice: $advice:literal $(,)? })*) => {
        pub(super) static ALL: &[$crate::rules::Reason] = &[
            $($crate::rules::Reason { code: stringify!($code), why: $why, advice: $advice }),*
        ];
    };
}

mod bitmaps;
mod extensions;
mod header;
mod luks;
mod mapping;
mod refcounts;
mod snapshots;
mod tool;

use serde::Serialize;

use crate::finding::Rule;

/// What the catalogue's row leaves out, since only people need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule's code.
    pub code: &'static str,
    /// What goes wrong where it is broken.
    pub why: &'static str,
    /// What one can do.
    pub advice: &'static str,
}

/// A file of this project's corpus that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its path in the repository.
    pub image: &'static str,
    /// What `check --deep` finds there: the structure and the place, what stands there and what should.
    pub finding: &'static str,
}

/// The examples, one a line: code, image, finding. `make corpus` writes them.
const EXAMPLES: &str = include_str!("examples.tsv");

/// All reasons, in the order of the catalogue.
pub fn reasons() -> impl Iterator<Item = &'static Reason> {
    [
        header::ALL,
        extensions::ALL,
        mapping::ALL,
        refcounts::ALL,
        snapshots::ALL,
        bitmaps::ALL,
        luks::ALL,
        tool::ALL,
    ]
    .into_iter()
    .flatten()
}

impl Rule {
    /// Why it matters, and what one can do.
    pub fn reason(&self) -> Option<&'static Reason> {
        reasons().find(|reason| reason.code == self.code)
    }

    /// An image that breaks it; `None` where none is small enough to be kept, or no image alone can break it.
    pub fn example(&self) -> Option<Example> {
        EXAMPLES.lines().find_map(|line| {
            let mut cells = line.split('\t');
            (cells.next()? == self.code).then_some(())?;
            Some(Example { image: cells.next()?, finding: cells.next()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rules::catalogue;

    #[test]
    fn every_rule_has_reasons_of_its_own() {
        let codes: Vec<_> = catalogue().map(|rule| rule.code).collect();
        assert_eq!(reasons().map(|reason| reason.code).collect::<Vec<_>>(), codes);
        let mut seen = HashSet::new();
        for reason in reasons() {
            for text in [reason.why, reason.advice] {
                let code = reason.code;
                assert!((6..=240).contains(&text.len()), "{code}: {} bytes: {text}", text.len());
                assert!(
                    !text.ends_with('.') && !text.contains("  ") && text.trim() == text,
                    "{code}: {text}"
                );
                assert!(seen.insert(text), "{code}: {text}");
            }
        }
    }

    /// Names of files that are told to be there are, in tests/corpus; this looks at the lines alone.
    #[test]
    fn examples_are_lines_of_three_cells_for_rules_that_there_are() {
        let lines: Vec<Vec<&str>> = EXAMPLES.lines().map(|line| line.split('\t').collect()).collect();
        let codes: Vec<_> = lines.iter().map(|cells| cells[0]).collect();
        let with_example = catalogue().filter(|rule| rule.example().is_some());
        assert_eq!(with_example.map(|rule| rule.code).collect::<Vec<_>>(), codes);
        assert!(lines.iter().all(|cells| cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty())));
        let findings: HashSet<_> = lines.iter().map(|cells| (cells[1], cells[2])).collect();
        assert_eq!(findings.len(), lines.len());
    }
}
