//! `audit`, and the lines of `scan`.

use std::io::{self, Write};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::human::Size;
use super::info::{compression, encryption};
use super::schema::{List, Shape, keys};
use super::sink::Sink;
use super::subject::Subject;
use super::text::write_findings;
use crate::audit::{Audit, Capabilities, Decision, Reason};
use crate::check::Verdict;
use crate::finding::Severity;
use crate::units::HostOffset;

pub(super) const SHAPE: Shape = Shape::of_image("qcow2-inspect/audit/1")
    .facts(&[keys::<Decided<'_>>(), keys::<Rest>()])
    .lists(&[REASONS]);
const REASONS: List = List::new("reasons", "reason", keys::<ReasonItem<'_>>());
/// The lines of a scan.
pub(super) const SCAN: Shape = Shape::line("qcow2-inspect/scan/1", &[keys::<ScanLine<'_>>()]);

/// Bytes of the longest line of a scan. A reason for each rule has a tenth of it; where that is too little, the line
/// has no messages.
pub const LONGEST_SCAN_LINE: usize = 1 << 20;

/// A reason as a JSON object.
#[derive(Serialize, JsonSchema)]
struct ReasonItem<'a> {
    rule: Option<&'static str>,
    slug: Option<&'static str>,
    key: Option<&'a str>,
    severity: Severity,
    offset: Option<HostOffset>,
    length: Option<u64>,
    message: &'a str,
    count: u64,
}

impl<'a> From<&'a Reason> for ReasonItem<'a> {
    fn from(reason: &'a Reason) -> Self {
        Self {
            rule: reason.rule.map(|rule| rule.code),
            slug: reason.rule.map(|rule| rule.slug),
            key: reason.key.as_deref(),
            severity: reason.severity,
            offset: reason.at.map(|at| at.at),
            length: reason.at.map(|at| at.len),
            message: &reason.message,
            count: reason.count,
        }
    }
}

/// What an image asks of its readers, as JSON.
#[derive(Serialize, JsonSchema)]
struct CapabilitiesItem {
    needs: Vec<&'static str>,
    version: u32,
    cluster_size: Option<u64>,
    virtual_size: u64,
    refcount_bits: Option<u32>,
    compression_type: String,
    compressed_clusters: bool,
    extended_l2: bool,
    external_data_file: bool,
    raw_external_data: bool,
    crypt_method: String,
    backing_file: bool,
    snapshots: u32,
    bitmaps: u32,
    lazy_refcounts: bool,
    dirty: bool,
    corrupt: bool,
    unknown_incompatible_bits: Vec<u32>,
}

impl From<&Capabilities> for CapabilitiesItem {
    fn from(of: &Capabilities) -> Self {
        Self {
            needs: of.needs(),
            version: of.version,
            cluster_size: of.cluster_size,
            virtual_size: of.virtual_size,
            refcount_bits: of.refcount_bits,
            compression_type: compression(of.compression_type),
            compressed_clusters: of.compressed_clusters,
            extended_l2: of.extended_l2,
            external_data_file: of.external_data,
            raw_external_data: of.raw_external_data,
            crypt_method: encryption(of.crypt_method),
            backing_file: of.backing_file,
            snapshots: of.snapshots,
            bitmaps: of.bitmaps,
            lazy_refcounts: of.lazy_refcounts,
            dirty: of.dirty,
            corrupt: of.corrupt,
            unknown_incompatible_bits: of.unknown_incompatible.bits().collect(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct Decided<'a> {
    decision: &'static str,
    policy: &'a str,
}

/// What was found out beside the reasons.
#[derive(Serialize, JsonSchema)]
struct Rest {
    complete: bool,
    verdict: Verdict,
    deep: bool,
    capabilities: CapabilitiesItem,
}

/// Tells `sink` of an audit.
///
/// # Errors
/// Only what the sink returns.
pub fn write_audit(audit: &Audit, subject: &Subject<'_>, sink: &mut impl Sink) -> io::Result<()> {
    sink.begin(&SHAPE, Some(subject))?;
    sink.names(&audit.names)?;
    sink.text(|out, color| write_text(out, audit, subject, color))?;
    sink.facts(&Decided { decision: audit.decision.as_str(), policy: &audit.policy })?;
    sink.list(REASONS)?;
    audit.reasons.iter().try_for_each(|reason| sink.item(&ReasonItem::from(reason)))?;
    sink.end()?;
    sink.facts(&Rest {
        complete: audit.complete && !sink.is_cut(),
        verdict: audit.verdict,
        deep: audit.decompressed.is_some(),
        capabilities: CapabilitiesItem::from(&audit.capabilities),
    })?;
    sink.findings(&audit.findings)?;
    sink.finish()
}

/// One image of a scan, on one line.
#[derive(Serialize, JsonSchema)]
struct ScanLine<'a> {
    schema: &'static str,
    file: Subject<'a>,
    decision: &'static str,
    policy: &'a str,
    verdict: Option<Verdict>,
    complete: bool,
    deep: bool,
    error: Option<&'a str>,
    seconds: f64,
    reasons: Vec<ReasonItem<'a>>,
    capabilities: Option<CapabilitiesItem>,
}

/// Writes what a scan has to say of an image as one line of JSON, with the same keys for each: the audit, or the error
/// that kept it from being made, which is a rejection. `took` is how long it was looked at. No line is longer than [`LONGEST_SCAN_LINE`]: the decision has to arrive, and
/// without their messages the reasons are short.
///
/// # Errors
/// Only what `out` returns.
pub fn write_scan_line(
    mut out: impl Write,
    audit: Result<&Audit, &str>,
    policy: &str,
    subject: &Subject<'_>,
    took: Duration,
) -> io::Result<()> {
    let done = audit.ok();
    let mut line = ScanLine {
        schema: SCAN.schema,
        file: *subject,
        decision: done.map_or(Decision::Reject, |audit| audit.decision).as_str(),
        policy,
        verdict: done.map(|audit| audit.verdict),
        complete: done.is_some_and(|audit| audit.complete),
        deep: done.is_some_and(|audit| audit.decompressed.is_some()),
        error: audit.err(),
        seconds: (took.as_secs_f64() * 1e6).round() / 1e6,
        reasons: done.map(|audit| audit.reasons.iter().map(ReasonItem::from).collect()).unwrap_or_default(),
        capabilities: done.map(|audit| CapabilitiesItem::from(&audit.capabilities)),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    if bytes.len() >= LONGEST_SCAN_LINE {
        line.reasons.iter_mut().for_each(|reason| reason.message = "");
        bytes = serde_json::to_vec(&line)?;
    }
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}

/// The decision, what is against the image, what a reader needs, and what else was found.
fn write_text(out: &mut dyn Write, audit: &Audit, subject: &Subject<'_>, color: bool) -> io::Result<()> {
    writeln!(out, "file {subject}")?;
    let why = match (audit.decision, audit.exit_code()) {
        (Decision::Accept, _) => "nothing is against it",
        (Decision::Reject, 1) => "a part of it could not be judged",
        (Decision::Reject, _) => "see the reasons",
    };
    writeln!(out, "decision: {} by the policy {}: {why}", audit.decision.as_str(), audit.policy)?;
    for reason in &audit.reasons {
        write_reason(out, reason)?;
    }
    write_capabilities(out, &audit.capabilities)?;
    match audit.decompressed {
        Some(count) => writeln!(out, "decompressed: {count} compressed clusters of all trees")?,
        None if audit.capabilities.compressed_clusters => writeln!(
            out,
            "not decompressed: whether its compressed clusters can be read was not looked at; --deep does"
        )?,
        None => {}
    }
    let is_reason = |rule| audit.reasons.iter().any(|reason| reason.rule == Some(rule));
    let others = audit.findings.iter().filter(|finding| !is_reason(finding.rule));
    if others.clone().next().is_some() {
        write!(out, "beside the reasons, ")?;
        write_findings(out, others, &audit.names, color)?;
    }
    Ok(())
}

fn write_reason(out: &mut dyn Write, reason: &Reason) -> io::Result<()> {
    let name = reason.rule.map(|rule| rule.code).or(reason.key.as_deref()).unwrap_or_default();
    write!(out, "  {name} ({})", reason.severity.as_str())?;
    if let Some(at) = reason.at {
        write!(out, " at {}", at.at)?;
    }
    write!(out, ": {}", reason.message)?;
    if reason.count > 1 {
        write!(out, " ({} times)", reason.count)?;
    }
    match (&reason.key, reason.rule) {
        (None, _) => writeln!(out, " [no policy accepts this]"),
        (Some(key), Some(_)) => writeln!(out, " [{key}]"),
        (Some(_), None) => writeln!(out),
    }
}

fn write_capabilities(out: &mut dyn Write, of: &Capabilities) -> io::Result<()> {
    let needs = of.needs();
    let needs = if needs.is_empty() { "nothing beyond version 2".to_owned() } else { needs.join(", ") };
    writeln!(out, "a reader needs: {needs}")?;
    let mut has = vec![format!("version {}", of.version), format!("virtual size {}", Size(of.virtual_size))];
    has.extend(of.cluster_size.map(|size| format!("clusters of {}", Size(size))));
    has.extend(of.refcount_bits.map(|bits| format!("refcounts of {bits} bits")));
    for (count, what) in [(of.snapshots, "snapshots"), (of.bitmaps, "bitmaps")] {
        has.extend((count > 0).then(|| format!("{count} {what}")));
    }
    let marks = [
        (of.raw_external_data, "raw external data"),
        (of.lazy_refcounts, "lazy refcounts"),
        (of.dirty, "dirty bit"),
        (of.corrupt, "corrupt bit"),
    ];
    has.extend(marks.into_iter().filter(|(is_set, _)| *is_set).map(|(_, what)| what.to_owned()));
    writeln!(out, "it has: {}", has.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditOptions, Policy, audit};
    use crate::{Image, Limits};

    #[test]
    fn a_line_that_would_be_too_long_has_all_but_the_messages() {
        let mut file = b"QFI\xfb\0\0\0\x02".to_vec();
        file.resize(72, 0);
        let image = Image::open(file, Limits::default()).unwrap();
        let mut audit = audit(&image, &Policy::upload(), &AuditOptions::default());
        let line = |audit: &Audit| {
            let mut line = Vec::new();
            write_scan_line(&mut line, Ok(audit), "upload", &Subject { path: b"x", len: 1 }, Duration::ZERO)
                .unwrap();
            assert!(line.ends_with(b"\n") && line.len() <= LONGEST_SCAN_LINE, "{} bytes", line.len());
            serde_json::from_slice::<serde_json::Value>(&line).unwrap()
        };
        let mut whole = line(&audit);
        let lacking = LONGEST_SCAN_LINE - serde_json::to_vec(&whole).unwrap().len();
        assert!(!whole["reasons"][0]["message"].as_str().unwrap().is_empty());
        audit.reasons[0].message.push_str(&"x".repeat(lacking));
        let cut = line(&audit);
        for reason in whole["reasons"].as_array_mut().unwrap() {
            reason["message"] = "".into();
        }
        assert_eq!((&cut, cut["decision"].as_str()), (&whole, Some("reject")));
    }
}
