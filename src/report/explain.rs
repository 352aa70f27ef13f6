//! One rule of the catalogue, for people who met it in a report.

use std::io::{self, Write};

use serde::Serialize;

use crate::rules::{Checks, Opens, Origin, Rule, Severity, find};

/// One rule as JSON.
#[derive(Debug, Serialize)]
pub struct RuleDocument {
    schema: &'static str,
    #[serde(flatten)]
    rule: &'static Rule,
    why: &'static str,
    advice: &'static str,
}

/// The rule with what a reader needs beside the catalogue's row.
pub fn rule_document(rule: &'static Rule) -> RuleDocument {
    RuleDocument { schema: "qcow2-inspect/explain/1", rule, why: why(rule), advice: advice(rule) }
}

/// Writes all that there is to say of a rule.
///
/// # Errors
/// Only what `out` returns.
pub fn write_rule(out: &mut impl Write, rule: &'static Rule) -> io::Result<()> {
    writeln!(out, "{} {}", rule.code, rule.slug)?;
    writeln!(out, "  what      {}", rule.title)?;
    writeln!(out, "  severity  {} at most: {}", rule.severity.as_str(), why(rule))?;
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
        writeln!(out, "  fields    {}", rule.fields.join(", "))?;
    }
    match rule.reported_as {
        Some("none") => writeln!(out, "  reported  never by itself")?,
        Some(alias) => match find(alias) {
            Some(other) => writeln!(out, "  reported  as {} {}", other.code, other.slug)?,
            None => writeln!(out, "  reported  as {alias}")?,
        },
        None => writeln!(out, "  example   corpus/damaged/{}-{}*.qcow2", rule.code, rule.slug)?,
    }
    writeln!(out, "  advice    {}", advice(rule))
}

fn asked_by(origin: Origin) -> &'static str {
    match origin {
        Origin::Must => "the specification, as a MUST",
        Origin::Should => "the specification, as a SHOULD or a reserved value",
        Origin::Qemu => "QEMU alone, as a limit of its own",
        Origin::Extra => "this tool: a risk, or something that readers disagree on",
    }
}

fn why(rule: &Rule) -> &'static str {
    match rule.severity {
        Severity::Fatal => "QEMU would not open the image",
        Severity::Corruption => "guest data is wrong or lost, or metadata is shared or overwritten",
        Severity::Leak => "clusters are allocated that nothing uses; no data is harmed",
        Severity::Warning => "guest data is not touched, but something is broken or a risk",
        Severity::Note => "worth knowing; nothing is wrong",
    }
}

/// What one can do.
fn advice(rule: &Rule) -> &'static str {
    match rule.code {
        "R06" => "`qemu-img check -r leaks` on a copy frees the clusters",
        "R01" | "R02" | "R03" | "R04" | "R05" | "R07" | "R09" | "R11" => {
            "do not write to the image. Refcounts can be rebuilt from the tables: copy it, then `qemu-img check -r all`, \
             or read the guest data out with `qemu-img convert`"
        }
        "L04" | "L11" => "do not write to the image; `qemu-img check -r all` on a copy sets the flags anew",
        "L26" | "L27" | "L28" | "O01" | "O02" | "O03" | "O04" | "O05" => {
            "do not write to the image, and do not trust the guest ranges named. qemu-img cannot tell the owners \
             apart, and `-r all` may make the sharing official by raising the refcount"
        }
        "L10" | "R12" => {
            "compare the file's length with its source: a cut copy, or data hidden behind the end"
        }
        "H41" | "E25" => "do not hand it to a service that opens what the image names; detach the name first",
        "T01" => "raise the limit, or distrust the image: no ordinary one comes near the limits",
        "T02" => "read the file from a medium that works, and check again",
        _ => match rule.severity {
            Severity::Fatal => {
                "restore the structure from a backup, or mend the field in a copy; this tool still shows the rest"
            }
            Severity::Corruption => {
                "do not write to the image; read out what is whole from a copy, and restore the rest"
            }
            Severity::Leak => "nothing is urgent; the space can be freed on a copy",
            Severity::Warning => {
                "ask where the image comes from; a rewrite by `qemu-img convert` drops what QEMU does not know"
            }
            Severity::Note => "nothing to do",
        },
    }
}
