//! Runs the command under test, and holds it to what every report promises.

use std::env;
use std::process::Command;

use serde_json::Value;

use crate::factory::Sample;

/// Read at run time: a shell that wraps the compiler may drop a variable with such a name.
pub(crate) const PROGRAM: &str = "CARGO_BIN_EXE_qcow2-inspect";

/// The JSON report of `command` on an image that nothing is wrong with, and what in it breaks a promise.
pub(crate) fn report(command: &str, sample: &Sample) -> (Value, Vec<String>) {
    let program = env::var_os(PROGRAM).expect("cargo says where the command is");
    let output =
        Command::new(program).args([command, "--format", "json"]).arg(&sample.path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{command} of {}: {error}\n{stderr}", sample.name));
    let mut broken = Vec::new();
    if output.status.code() != Some(0) {
        broken.push(format!("{}: {stderr}", output.status));
    }
    if report["schema"] != format!("qcow2-inspect/{command}/1") {
        broken.push(format!("schema {}", report["schema"]));
    }
    if report["file"]["len"] != sample.path.metadata().unwrap().len() {
        broken.push(format!("file {}", report["file"]));
    }
    if report["complete"] != true {
        broken.push(format!("complete is {}", report["complete"]));
    }
    broken.extend(misjudged(&report["findings"], &sample.fires));
    (report, broken)
}

/// Findings above the severity `note` that should not be there, and the rules that should have fired.
fn misjudged(findings: &Value, expected: &[String]) -> Vec<String> {
    let findings = findings.as_array().unwrap();
    let fires = |rule: &String| findings.iter().any(|finding| finding["rule"] == *rule);
    let quiet = expected.iter().filter(|rule| !fires(rule)).map(|rule| format!("{rule} does not fire"));
    let loud = findings.iter().filter(|finding| finding["severity"] != "note");
    let loud = loud.filter(|finding| !expected.iter().any(|rule| finding["rule"] == *rule));
    let loud =
        loud.map(|finding| format!("{} {}: {}", finding["severity"], finding["rule"], finding["message"]));
    quiet.chain(loud).collect()
}
