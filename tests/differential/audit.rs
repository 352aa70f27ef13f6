//! `audit` on images that nothing is wrong with: each is accepted, but for what the policy is there to keep out.

use std::env;
use std::process::Command;

use serde_json::Value;

use crate::factory::Sample;
use crate::ours::PROGRAM;

/// Images that `upload` rejects, beside those with a backing or a data file, and why.
const REJECTED: &[(&str, &[&str])] = &[
    // Larger than any cloud's volume.
    ("size-1P", &["limits.virtual_size"]),
    ("size-1P-wide-l1", &["limits.virtual_size"]),
    ("size-2E", &["limits.virtual_size"]),
    // VM state that no snapshot knows of.
    ("vm-state", &["L25"]),
    // Somebody found it corrupt, and nobody said that it was repaired.
    ("corrupt-bit", &["H20"]),
    // Nobody closed it.
    ("dirty", &["H19"]),
    // What a later QEMU, or anybody, could put there.
    ("header-with-unknown-fields", &["H11"]),
    ("unknown-extension", &["E26"]),
    // QEMU frees the last clusters of the file, but leaves in them what they held.
    ("bitmap-merged", &["R12"]),
    ("bitmap-removed", &["R12"]),
    ("bitmap-last-removed", &["R12"]),
];

/// What of the answers to these images is not as it should be, and how many were accepted.
pub(crate) fn differences(samples: &[Sample]) -> (Vec<String>, usize) {
    let mut accepted = 0;
    let mut differences = Vec::new();
    for sample in samples {
        let (decision, reasons) = audit(sample);
        accepted += usize::from(decision == "accept");
        if !is_expected(sample, &reasons) {
            differences.push(format!("{}: audit says {decision} for {reasons:?}", sample.name));
        }
    }
    let names = samples.iter().map(|sample| sample.name.as_str());
    let stale = REJECTED.iter().filter(|(name, _)| !names.clone().any(|other| other == *name));
    differences.extend(stale.map(|(name, _)| format!("{name}: no such image")));
    (differences, accepted)
}

fn audit(sample: &Sample) -> (String, Vec<String>) {
    let program = env::var_os(PROGRAM).expect("cargo says where the command is");
    let output =
        Command::new(program).args(["audit", "--format", "json"]).arg(&sample.path).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reasons = report["reasons"].as_array().unwrap().iter();
    let names = reasons.map(|reason| reason["rule"].as_str().or(reason["key"].as_str()).unwrap().to_owned());
    let decision = report["decision"].as_str().unwrap().to_owned();
    assert_eq!(output.status.code(), Some(if decision == "accept" { 0 } else { 2 }), "{}", sample.name);
    (decision, names.collect())
}

/// Whether the reasons are those for which `upload` is there, all of them.
fn is_expected(sample: &Sample, reasons: &[String]) -> bool {
    let named = REJECTED.iter().find(|(name, _)| *name == sample.name).map_or(&[][..], |(_, rules)| rules);
    let backing = sample.has_backing.then_some("H41");
    let data = sample.has_data_file.then_some("E25");
    let mut wanted: Vec<_> = named.iter().copied().chain(backing).chain(data).collect();
    wanted.sort_unstable();
    let mut had: Vec<_> = reasons.iter().map(String::as_str).collect();
    had.sort_unstable();
    had == wanted
}
