//! The findings of a report as SARIF 2.1.0, the format in which code hosts and dashboards take the results of analysers.
//!
//! The facts of the report are the run's properties.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::items::snapshot_of;
use super::limited::Roomy;
use super::schema::{List, Shape};
use super::sink::Sink;
use super::subject::Subject;
use super::tree::{GuestItem, NameItem};
use crate::finding::{Finding, Findings, Rule, Severity};
use crate::image::SnapshotNames;

/// Writes a report as SARIF.
#[derive(Debug)]
pub struct SarifSink<W> {
    document: Document<Roomy<W>>,
    artifact: Option<Artifact>,
    /// The rules that were broken.
    rules: BTreeSet<&'static Rule>,
    /// The facts and lists.
    properties: Map<String, Value>,
    list: Option<List>,
    names: Arc<SnapshotNames>,
    /// Why there is no report.
    refusal: Option<String>,
    has_followed: bool,
}

/// The file.
#[derive(Debug, Serialize)]
struct Artifact {
    location: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Location {
    uri: String,
}

impl<W: Write> SarifSink<W> {
    /// Into `out`.
    pub fn new(out: W) -> Self {
        Self::within(out, u64::MAX)
    }

    /// Into `out`, without further results where `limit` bytes were written.
    pub(super) fn within(out: W, limit: u64) -> Self {
        Self {
            document: Document::new(Roomy::new(out, limit)),
            artifact: None,
            rules: BTreeSet::new(),
            properties: Map::new(),
            list: None,
            names: Arc::default(),
            refusal: None,
            has_followed: false,
        }
    }

    /// Says that there is no report, and why.
    pub(super) fn refuse(&mut self, error: &str) {
        self.refusal = Some(error.to_owned());
    }

    fn result(&mut self, finding: &Finding) -> io::Result<()> {
        self.rules.insert(finding.rule);
        let mut place = Map::new();
        if let Some(artifact) = &self.artifact {
            place.insert("artifactLocation".to_owned(), json!(artifact.location));
        }
        if let Some(at) = finding.at {
            place.insert("region".to_owned(), json!({ "byteOffset": at.at, "byteLength": at.len }));
        }
        self.document.item(&json!({
            "ruleId": finding.rule.code,
            "level": level(finding.severity),
            "message": { "text": finding.message() },
            "locations": [{
                "physicalLocation": place,
                "logicalLocations": [{ "name": finding.structure }],
            }],
            "properties": {
                "severity": finding.severity,
                "found": finding.found,
                "wanted": finding.wanted,
                "guest": finding.guest.map(|guest| GuestItem::new(guest, &self.names)),
                "snapshot": snapshot_of(finding, &self.names).map(NameItem::from),
                "consequences": finding.consequences,
            },
        }))
    }
}

/// SARIF has three levels: what harms guest data is an error, what does not a warning.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal | Severity::Corruption => "error",
        Severity::Leak | Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A rule, with the help that `explain` gives.
fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.code,
        "name": rule.slug,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.why },
        "help": { "text": format!("{}. QEMU: {}", rule.advice, rule.qemu_says) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": { "severity": rule.severity, "origin": rule.origin, "spec": rule.spec },
    })
}

/// A path as a URI, relative where the path is.
fn uri(path: &[u8]) -> String {
    let mut uri = String::from(if path.starts_with(b"/") { "file://" } else { "" });
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

impl<W: Write> Sink for SarifSink<W> {
    fn begin(&mut self, shape: &'static Shape, subject: Option<&Subject<'_>>) -> io::Result<()> {
        self.properties.insert("schema".to_owned(), shape.schema.into());
        self.artifact = subject.map(|subject| Artifact {
            location: Location { uri: uri(subject.path) },
            length: (subject.len != 0).then_some(subject.len),
        });
        self.document.begin_object()?;
        self.document.entries(&json!({ "version": "2.1.0" }))?;
        self.document.begin_array("runs")?;
        self.document.begin_object()?;
        self.document.begin_array("results")
    }

    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        self.names = Arc::clone(names);
        Ok(())
    }

    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        if let Value::Object(facts) = serde_json::to_value(facts)? {
            self.properties.extend(facts);
        }
        Ok(())
    }

    fn list(&mut self, list: List) -> io::Result<()> {
        self.list = Some(list);
        self.properties.insert(list.key.to_owned(), Value::Array(Vec::new()));
        Ok(())
    }

    fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        let list = self.list.and_then(|list| self.properties.get_mut(list.key));
        if let Some(Value::Array(items)) = list {
            items.push(serde_json::to_value(item)?);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.list = None;
        Ok(())
    }

    fn is_following(&self) -> bool {
        true
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.has_followed = true;
        if self.document.out.has_room() { self.result(finding) } else { Ok(()) }
    }

    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        if self.has_followed {
            return Ok(());
        }
        findings.iter().try_for_each(|finding| self.result(finding))
    }

    fn is_cut(&self) -> bool {
        self.document.out.is_cut
    }

    fn finish(&mut self) -> io::Result<()> {
        let rules: Vec<Value> = self.rules.iter().map(|rule| descriptor(rule)).collect();
        let is_complete = self.properties.get("complete").is_some_and(|complete| *complete == true);
        let refusal = self.refusal.iter();
        let notifications: Vec<Value> =
            refusal.map(|error| json!({ "level": "error", "message": { "text": error } })).collect();
        self.document.end()?;
        self.document.entries(&json!({
            "tool": {
                "driver": { "name": "qcow2-inspect", "version": env!("CARGO_PKG_VERSION"), "rules": rules },
            },
            "artifacts": self.artifact.as_slice(),
            "invocations": [{
                "executionSuccessful": is_complete,
                "toolExecutionNotifications": notifications,
            }],
            "properties": self.properties,
        }))?;
        for _ in 0..3 {
            self.document.end()?;
        }
        self.document.out.write_all(b"\n")?;
        self.document.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri() {
        for (path, wanted) in [
            ("/images/a b.qcow2", "file:///images/a%20b.qcow2"),
            ("c:d/ä%.qcow2", "c%3Ad/%C3%A4%25.qcow2"),
            ("\u{1b}[2J", "%1B%5B2J"),
        ] {
            assert_eq!(uri(path.as_bytes()), wanted);
        }
    }
}
