//! `check` against real `qemu-img check`: on the images of the factory, and on small images damaged field by field or cut
//! byte by byte.

mod cut;
mod damaged;
mod qemu;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::factory::Sample;
use qemu::Answer;

pub(crate) use cut::images as cut_images;
pub(crate) use damaged::images;

/// What both say of an image.
pub(crate) struct Comparison {
    pub(crate) name: String,
    ours: Value,
    exit: i32,
    real: Answer,
}

impl Comparison {
    /// Checks the image with both.
    pub(crate) fn new(name: &str, path: &Path, key: Option<&str>) -> Self {
        let program = env::var_os("CARGO_BIN_EXE_qcow2-inspect").expect("cargo says where the command is");
        let arguments = ["check", "--as-qemu", "--format", "json"];
        let output = Command::new(program).args(arguments).arg(path).output().unwrap();
        let exit = output.status.code().unwrap_or(-1);
        let ours = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{name}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { name: name.to_owned(), ours, exit, real: qemu::check(path, key) }
    }

    pub(crate) fn of_sample(sample: &Sample) -> Self {
        Self::new(&sample.name, &sample.path, sample.needs_key.then_some("sesame"))
    }

    fn number(&self, key: &str) -> u64 {
        self.ours[key].as_u64().unwrap_or_default()
    }

    fn is_qcow2(&self) -> bool {
        self.ours["schema"] != "qcow2-inspect/error/1"
    }

    /// What is not as qemu-img says, of what must be: the prediction, and the counters of a check that ran.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut differ = |what: &str, ours: u64, real: u64| {
            if ours != real {
                let rules: Vec<_> = self.rules().collect();
                let error = self.real.stderr.lines().last().unwrap_or_default();
                differences.push(format!("{}: {what} {ours}, qemu {real}; {rules:?}; {error}", self.name));
            }
        };
        if !self.is_qcow2() {
            differ("exit", 1, u64::try_from(self.real.exit).unwrap_or(99));
            return differences;
        }
        let predicted = |key: &str| self.ours["qemu"][key].as_u64().unwrap_or_default();
        differ("predicted exit", predicted("exit_code"), u64::try_from(self.real.exit).unwrap_or(99));
        if let Some(report) = &self.real.report {
            for (ours, real) in
                [("corruptions", "corruptions"), ("leaks", "leaks"), ("check_errors", "check-errors")]
            {
                differ(
                    &format!("predicted {ours}"),
                    predicted(ours),
                    report[real].as_u64().unwrap_or_default(),
                );
            }
            for key in [
                "total_clusters",
                "allocated_clusters",
                "fragmented_clusters",
                "compressed_clusters",
                "image_end_offset",
            ] {
                let real = report[key.replace('_', "-")].as_u64().unwrap_or_default();
                differ(key, self.number(key), real);
            }
        }
        differences
    }

    /// The rules above a note that fired.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        let findings = self.ours["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        findings
            .iter()
            .filter(|finding| finding["severity"] != "note")
            .filter_map(|finding| finding["rule"].as_str())
    }

    fn fires(&self, code: &str) -> bool {
        self.ours["findings"]
            .as_array()
            .is_some_and(|findings| findings.iter().any(|finding| finding["rule"] == code))
    }

    /// Why our class is another than qemu-img's: the worst rules that it does not see, or sees otherwise.
    pub(crate) fn explained_by(&self) -> Option<String> {
        let class = |code: i32| match code {
            0 => "clean",
            2 => "corrupt",
            3 => "leaks",
            _ => "cannot check",
        };
        let ours = match self.ours["verdict"].as_str() {
            Some("unusable") | None => "cannot check",
            Some("not-closed") => "not closed",
            Some(_) => class(self.exit),
        };
        let real = class(self.real.exit);
        if ours == real {
            return None;
        }
        let worst = self.ours["worst"].as_str().unwrap_or("none");
        let findings = self.ours["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rules: Vec<_> = findings
            .iter()
            .filter(|finding| finding["severity"] == worst)
            .filter_map(|finding| finding["rule"].as_str())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        Some(format!("{ours} instead of {real}: {}", rules.join(" ")))
    }
}

/// What qemu-img check passes with exit 0, as the catalogue's rows tell. L22 reports as L23; L21 at offset 0 is an
/// entry of zeros, which nobody can tell from an unallocated one.
const BLIND_SPOTS: &str = "H08 H10 H11 H13 H14 H28 H38 H39 H40 H41 H43 H45 E02 E03 E04 E07 E08 E20 E23 E27 L06 L07 L10 \
    L20 L23 L24 L26 L27 O01 O02 O03 O04 R08 R12 S01 S09 S10 S12 S14 S15 B04 B10 B13 B18";

/// The blind spots that are not found on any damage of their own that qemu-img check passes.
pub(crate) fn missed_blind_spots(comparisons: &[Comparison]) -> Vec<&'static str> {
    let is_found = |code: &&str| {
        comparisons.iter().any(|comparison| {
            let is_own = comparison.name.strip_prefix(*code).is_some_and(|rest| rest.ends_with(" breaks"));
            is_own && comparison.real.exit == 0 && comparison.fires(code)
        })
    };
    BLIND_SPOTS.split_whitespace().filter(|code| !is_found(code)).collect()
}

/// Damages that have to be found although the rule has another one, as rule and variant. Only a deep check finds L15.
const ALSO_FOUND: [&str; 7] = [
    "L27 over-two-tables",
    "O04 over-two-tables",
    "O04 in-part",
    "L15 zlib-short",
    "L15 zlib-damaged",
    "L15 zstd-long",
    "L15 zstd-cut",
];

/// Those of them that are not there, that qemu-img check does not pass, or that we do not find.
pub(crate) fn missed_damages(comparisons: &[Comparison]) -> Vec<&'static str> {
    let is_found = |name: &&str| {
        comparisons.iter().any(|comparison| {
            let is_it = comparison.name.strip_suffix(" breaks") == Some(*name);
            let code = name.split(' ').next().unwrap_or_default();
            is_it && comparison.real.exit == 0 && (code == "L15" || comparison.fires(code))
        })
    };
    ALSO_FOUND.into_iter().filter(|name| !is_found(name)).collect()
}

/// The differences in class, by the rules that explain them.
pub(crate) fn by_reason(comparisons: &[Comparison]) -> BTreeMap<String, Vec<&str>> {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for comparison in comparisons {
        if let Some(reason) = comparison.explained_by() {
            reasons.entry(reason).or_default().push(&comparison.name);
        }
    }
    reasons
}

/// Where our class is another than qemu-img's, one of these rules must be the reason.
const REASONS: [&str; 25] = [
    // qemu-img check opens what QEMU would not run.
    "H01", "H29", // It gives up without a diagnosis.
    "B14", "B15", "B16", "R02", // It does not look.
    "L07", "L15", "L20", "S01", "S07", // It lets tables that are cut by less than a cluster pass.
    "B04", "H34", "L03", "S08", // It counts references, and not owners.
    "L26", "L27", "L30", "L28", "O01", "O02", "O03", "O04",
    // Under the dirty bit, what refcounts say is a note (R11).
    "R07", "R05",
];

/// Whether the rules of a reason are among those that may be one.
pub(crate) fn is_explained(reason: &str) -> bool {
    let rules = reason.split_once(": ").map_or("", |(_, rules)| rules);
    rules.split_whitespace().any(|rule| REASONS.contains(&rule))
}
