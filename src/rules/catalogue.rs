//! All rules together: the list of the files that declare them, and what is asked of all.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::Serialize;

use crate::finding::{Rule, Structure};

/// Takes the rules of each file into the catalogue.
macro_rules! register {
    ($($file:ident),* $(,)?) => {
        /// Every rule by its readable name.
        pub mod named {
            $(pub use crate::rules::$file::named::*;)*
        }

        const FILES: &[&[&Rule]] = &[$(super::$file::ALL),*];
    };
}

register![
    header,
    features,
    header_tables,
    backing,
    extensions,
    bitmaps_extension,
    data_file,
    encryption,
    luks,
    luks_slots,
    l1,
    l2,
    l2_compressed,
    lost_tables,
    sharing,
    refcounts,
    snapshots,
    snapshot_labels,
    bitmaps,
    bitmap_tables,
    tool,
];

/// The families in their order, by the letter that codes start with.
const FAMILIES: &str = "HELORSBKT";

/// All rules, by family and number.
pub fn catalogue() -> impl Iterator<Item = &'static Rule> {
    static SORTED: LazyLock<Vec<&Rule>> = LazyLock::new(|| {
        let mut all: Vec<_> = FILES.iter().copied().flatten().copied().collect();
        all.sort_by_key(|rule| {
            (rule.code.chars().next().and_then(|family| FAMILIES.find(family)), rule.code)
        });
        all
    });
    SORTED.iter().copied()
}

/// The rule with this code, in either case.
pub fn find(code: &str) -> Option<&'static Rule> {
    catalogue().find(|rule| rule.code.eq_ignore_ascii_case(code))
}

/// Whether some rule judges this field of this structure: without one, a dump cannot call it valid.
pub fn judges(structure: Structure, field: &str) -> bool {
    static JUDGED: LazyLock<HashSet<(Structure, &str)>> = LazyLock::new(|| {
        catalogue().flat_map(|rule| rule.fields).map(|judged| (judged.structure, judged.name)).collect()
    });
    JUDGED.contains(&(structure, field))
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

impl Rule {
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
    use super::*;
    use crate::finding::{Attributes, Finding, Findings, GuestData, Reported, Severity};
    use crate::format::{header, luks, part, snapshot};
    use crate::rules::named::{DISK_SIZE_UNALIGNED, L2_RESERVED_BITS};
    use crate::units::Span;

    #[test]
    fn families_are_in_order_and_their_numbers_without_a_gap() {
        let mut wanted = Vec::new();
        for family in FAMILIES.chars() {
            let count = catalogue().filter(|rule| rule.code.starts_with(family)).count();
            assert_ne!(count, 0, "{family}");
            wanted.extend((1..=count).map(|number| format!("{family}{number:02}")));
        }
        let had: Vec<&str> = catalogue().map(|rule| rule.code).collect();
        assert_eq!(had, wanted);
    }

    #[test]
    fn attributes_are_of_rules_that_they_matter_for() {
        for rule in catalogue() {
            let attributes = rule.attributes;
            assert!(rule.reports_itself() || attributes == Attributes::DEFAULT, "{}", rule.code);
            let is_corruption = rule.severity >= Severity::Corruption;
            assert!(is_corruption || attributes.guest == GuestData::Doubtful, "{}", rule.code);
            // A corruption needs no risk to be turned away.
            assert!(!is_corruption || attributes.risk.is_none(), "{}", rule.code);
        }
    }

    #[test]
    fn slugs_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for rule in catalogue() {
            assert!(seen.insert(rule.slug), "{}: the slug {} is taken", rule.code, rule.slug);
            let words: Vec<&str> = rule.slug.split('-').collect();
            assert!((2..=5).contains(&words.len()), "{}: {}", rule.code, rule.slug);
            for word in words {
                let plain = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
                assert!(plain && !word.is_empty(), "{}: {}", rule.code, rule.slug);
            }
        }
    }

    #[test]
    fn aliases_name_rules_that_report_for_themselves() {
        for rule in catalogue() {
            let Reported::As(target) = rule.reported_as else { continue };
            // L22 is L23 or L20, by the data file; no alias leads to another alias.
            assert!(target.reports_itself(), "{}: {}", rule.code, target.code);
        }
    }

    #[test]
    fn no_rule_names_a_field_twice() {
        for rule in catalogue() {
            let mut seen = HashSet::new();
            for judged in rule.fields {
                assert!(seen.insert(judged), "{}: {judged} twice", rule.code);
            }
        }
    }

    #[test]
    fn texts_are_plain_sentences_of_bounded_length() {
        for rule in catalogue() {
            for (text, max) in [(rule.title, 170), (rule.spec, 120), (rule.qemu_says, 320)] {
                assert!(!text.is_empty() && text.len() <= max, "{}: {} bytes: {text}", rule.code, text.len());
                assert!(!text.ends_with('.') && !text.contains("  "), "{}: {text}", rule.code);
                assert!(text.trim() == text && !text.contains('\n'), "{}: {text}", rule.code);
            }
        }
    }

    #[test]
    fn a_rule_is_found_in_either_case() {
        assert_eq!(find("h08").map(|rule| rule.slug), Some("header-length-unaligned"));
        assert_eq!(find("H08"), find("h08"));
        assert_eq!(find("H48"), None);
        assert_eq!(find("H8"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn only_fields_that_a_rule_names_are_judged() {
        assert!(judges(Structure::Header, header::field::HEADER_LENGTH.name));
        assert!(judges(Structure::L2Table, part::ENTRY));
        assert!(!judges(Structure::Snapshot, snapshot::field::VM_CLOCK_NSEC.name));
        assert!(!judges(Structure::Luks, luks::field::UUID.name));
        assert!(!judges(Structure::Extension, part::PADDING));
    }

    #[test]
    fn the_rest_of_a_rule_is_one_finding() {
        let mut findings = Findings::new(2);
        for _ in 0..5 {
            findings.push(Finding::new(&L2_RESERVED_BITS, Structure::L2Table, Span::default(), 1_u64, "0"));
        }
        findings.push(Finding::new(&DISK_SIZE_UNALIGNED, Structure::Header, Span::default(), 1_u64, "0"));
        let counts: Vec<_> =
            findings.iter().map(|finding| (finding.rule.code, finding.consequences)).collect();
        assert_eq!(counts, [("L05", 1), ("L05", 1), ("H28", 1), ("L05", 3)]);
        assert_eq!((findings.count(), findings.worst()), (6, Some(Severity::Corruption)));
        let found: Vec<_> = findings.iter().map(|finding| finding.found.to_string()).collect();
        assert_eq!(found, ["1", "1", "1", "3 more, not listed one by one"]);
    }

    #[test]
    fn every_rule_has_reasons_of_its_own() {
        let mut seen = HashSet::new();
        for rule in catalogue() {
            for text in [rule.why, rule.advice] {
                let code = rule.code;
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
