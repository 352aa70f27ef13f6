//! `rules` and `explain`: the catalogue, for people who met a rule in a report.

use std::io::{self, Write};

use serde::Serialize;

use super::sink::{List, Sink};
use crate::finding::{Checks, Opens, Origin, Reported, Rule, Severity};
use crate::rules::Example;

/// A rule, with what a reader needs beside the catalogue's row.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    rule: &'static Rule,
    why: &'static str,
    advice: &'static str,
    /// Null where no image of the corpus breaks it by itself.
    example: Option<Example>,
}

/// Tells `sink` all that there is to say of a rule.
///
/// # Errors
/// Only what the sink returns.
pub fn write_rule(rule: &'static Rule, sink: &mut impl Sink) -> io::Result<()> {
    let Rule { why, advice, .. } = *rule;
    sink.begin("qcow2-inspect/explain/1", None)?;
    sink.text(|out, _| write_text(out, rule))?;
    sink.facts(&Explained { rule, why, advice, example: rule.example() })?;
    sink.finish()
}

#[derive(Serialize)]
struct Totals {
    rule_count: usize,
}

/// Tells `sink` of these rules of the catalogue.
///
/// # Errors
/// Only what the sink returns.
pub fn write_rules(rules: &[&'static Rule], sink: &mut impl Sink) -> io::Result<()> {
    sink.begin("qcow2-inspect/rules/1", None)?;
    sink.list(List::new("rules", "rule"))?;
    for rule in rules {
        sink.text(|out, _| {
            let severity = rule.severity.as_str();
            writeln!(out, "{} {severity:<10} {:<32} {}", rule.code, rule.slug, rule.title)
        })?;
        sink.item(rule)?;
    }
    sink.end()?;
    sink.totals(&Totals { rule_count: rules.len() })?;
    sink.finish()
}

fn write_text(out: &mut dyn Write, rule: &'static Rule) -> io::Result<()> {
    writeln!(out, "{} {}", rule.code, rule.slug)?;
    writeln!(out, "  what      {}", rule.title)?;
    writeln!(out, "  why       {}", rule.why)?;
    writeln!(out, "  severity  {} at most: {}", rule.severity.as_str(), meaning(rule.severity))?;
    writeln!(out, "  asked by  {}", asked_by(rule.origin))?;
    writeln!(out, "  see       {}", rule.spec)?;
    let opens = match rule.opens {
        Opens::Silently => "opens it and says nothing",
        Opens::Refused => "refuses to open it",
        Opens::FailsOnRead => "opens it, and fails where the guest reads there",
        Opens::Varies => "it depends, see below",
    };
    let checks = match rule.checks {
        Checks::Silently => "says nothing of it",
        Checks::Corruption => "counts a corruption, exit 2",
        Checks::Leak => "counts a leak, exit 3",
        Checks::CheckError => "fails, exit 1",
        Checks::Refused => "cannot open it, exit 1",
        Checks::Varies => "it depends, see below",
    };
    writeln!(out, "  qemu      {opens}; qemu-img check {checks}")?;
    writeln!(out, "            {}", rule.qemu_says)?;
    if !rule.fields.is_empty() {
        let fields: Vec<_> = rule.fields.iter().map(ToString::to_string).collect();
        writeln!(out, "  fields    {}", fields.join(", "))?;
    }
    match rule.reported_as {
        Reported::Never => writeln!(out, "  reported  never by itself")?,
        Reported::As(other) => writeln!(out, "  reported  as {} {}", other.code, other.slug)?,
        Reported::Itself => {}
    }
    if let Some(Example { image, finding }) = rule.example() {
        writeln!(out, "  example   {image}: {finding}")?;
    }
    writeln!(out, "  advice    {}", rule.advice)
}

fn asked_by(origin: Origin) -> &'static str {
    match origin {
        Origin::Must => "the specification, as a MUST",
        Origin::Should => "the specification, as a SHOULD or a reserved value",
        Origin::Qemu => "QEMU alone, as a limit of its own",
        Origin::Extra => "this tool: a risk, or something that readers disagree on",
    }
}

fn meaning(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal => "QEMU would not open the image",
        Severity::Corruption => "guest data is wrong or lost, or metadata is shared or overwritten",
        Severity::Leak => "clusters are allocated that nothing uses; no data is harmed",
        Severity::Warning => "guest data is not touched, but something is broken or a risk",
        Severity::Note => "worth knowing; nothing is wrong",
    }
}
