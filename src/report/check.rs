//! `check`.

use std::io::{self, Write};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::human::Size;
use super::schema::{Shape, keys};
use super::sink::Sink;
use super::subject::Subject;
use super::text::write_findings;
use super::tree::NameItem;
use crate::Image;
use crate::check::{
    CheckOptions, Checked, Counters, Loss, Owner, Progress, QemuAnswer, Ranges, Verdict, Watch, check,
};
use crate::finding::Findings;
use crate::finding::{Finding, Rule, Severity};
use crate::image::SnapshotNames;
use crate::rules::named::{BEING_WRITTEN, DIRTY_BIT_SET, REFCOUNTS_STALE, TABLE_MAY_BE_LOST};
use crate::source::ReadAt;

pub(super) const SHAPE: Shape = Shape::of_image("qcow2-inspect/check/1").facts(&[keys::<Body<'_>>()]);

/// What is reported, beside the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckReport<'a> {
    /// The file.
    pub subject: Subject<'a>,
    /// What is looked at.
    pub options: CheckOptions,
    /// Whether what `qemu-img check` would answer is told.
    pub as_qemu: bool,
}

/// Takes the findings of a check, and tells or keeps them.
struct Follower<'p, S> {
    sink: &'p mut S,
    findings: Findings,
    /// What went wrong when a finding was told.
    failed: io::Result<()>,
    progress: &'p mut dyn FnMut(Option<Progress>),
}

impl<S: Sink> Watch for Follower<'_, S> {
    fn names(&mut self, names: &Arc<SnapshotNames>) {
        self.failed = self.sink.names(names);
    }

    fn finding(&mut self, finding: Finding) {
        if self.sink.is_following() {
            (self.progress)(None);
        }
        if self.failed.is_ok() {
            self.failed = self.sink.finding(&finding);
        }
        self.findings.push(finding);
    }

    fn progress(&mut self, progress: Progress) {
        (self.progress)(Some(progress));
    }
}

/// Checks the image and tells `sink` what came of it. Progress goes to `progress`, which gets `None` where the report goes
/// on: whatever was shown of it has to be gone by then.
///
/// # Errors
/// Only what the sink returns: what is wrong with the image is in the report.
pub fn write_check<R: ReadAt>(
    image: &Image<R>,
    report: &CheckReport<'_>,
    sink: &mut impl Sink,
    progress: &mut dyn FnMut(Option<Progress>),
) -> io::Result<(Checked, Findings)> {
    sink.begin(&SHAPE, Some(&report.subject))?;
    let findings = Findings::new(if sink.is_following() { 0 } else { image.limits().findings_per_rule });
    let mut follower = Follower { sink, findings, failed: Ok(()), progress };
    let checked = check(image, &report.options, &mut follower);
    let Follower { sink, findings, failed, progress } = follower;
    progress(None);
    failed?;
    sink.text(|out, color| write_text(out, report, (&checked, &findings), &checked.names, color))?;
    let complete = checked.complete && !sink.is_cut();
    sink.facts(&Body { complete, ..Body::new(report, &checked, &findings, &checked.names) })?;
    sink.findings(&findings)?;
    sink.finish()?;
    Ok((checked, findings))
}

/// What is said of the check as a whole.
#[derive(Serialize, JsonSchema)]
struct Body<'a> {
    verdict: Verdict,
    complete: bool,
    corruptions: u64,
    leaks: u64,
    check_errors: u64,
    #[serde(flatten)]
    counters: Counters,
    worst: Option<Severity>,
    /// Breaches that are notes because the image was not closed.
    #[serde(skip_serializing_if = "is_none")]
    excused: u64,
    /// `null` where not all was looked at that it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    qemu: Option<Option<&'a QemuAnswer>>,
    rules: Vec<RuleCount>,
    owners: Vec<ClusterOwners<'a>>,
    losses: Vec<LossItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decompressed_clusters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'a Ranges>,
    /// Bytes of it that no range tells the place of.
    #[serde(skip_serializing_if = "is_none")]
    held_further_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct RuleCount {
    rule: &'static str,
    slug: &'static str,
    count: u64,
}

/// What is lost of a tree.
#[derive(Serialize, JsonSchema)]
struct LossItem<'a> {
    #[serde(flatten)]
    loss: &'a Loss,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
    /// Bytes that no range tells the place of.
    #[serde(skip_serializing_if = "is_none")]
    lost_further_bytes: u64,
    #[serde(skip_serializing_if = "is_none")]
    doubtful_further_bytes: u64,
    #[serde(skip_serializing_if = "is_none")]
    vm_state_further_bytes: u64,
    /// Of the disk, lost or doubtful.
    percent: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

impl<'a> LossItem<'a> {
    fn new(loss: &'a Loss, names: &'a SnapshotNames) -> Self {
        // What is lost may be doubtful for another reason too.
        let hit = loss.lost_bytes.saturating_add(loss.doubtful_bytes).min(loss.disk_size);
        let hundredths = u128::from(hit) * 10_000 / u128::from(loss.disk_size.max(1));
        Self {
            loss,
            snapshot: NameItem::of(names, Some(loss.tree)),
            lost_further_bytes: loss.lost.further_bytes(),
            doubtful_further_bytes: loss.doubtful.further_bytes(),
            vm_state_further_bytes: loss.vm_state.further_bytes(),
            percent: f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct ClusterOwners<'a> {
    cluster: u64,
    owners: Vec<OwnerItem<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct OwnerItem<'a> {
    #[serde(flatten)]
    owner: &'a Owner,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
}

impl<'a> Body<'a> {
    fn new(
        report: &CheckReport<'_>,
        checked: &'a Checked,
        findings: &Findings,
        names: &'a SnapshotNames,
    ) -> Self {
        let rules = checked.rules.iter();
        let owners = checked.owners.iter();
        let item = |owner: &'a Owner| OwnerItem { owner, snapshot: NameItem::of(names, owner.tree) };
        Self {
            verdict: checked.verdict,
            complete: checked.complete,
            corruptions: checked.corruptions,
            leaks: checked.leaks,
            check_errors: checked.check_errors,
            counters: checked.counters,
            worst: findings.worst(),
            excused: checked.excused,
            qemu: report.as_qemu.then_some(checked.qemu.as_ref()),
            rules: rules
                .map(|(rule, count)| RuleCount { rule: rule.code, slug: rule.slug, count: *count })
                .collect(),
            owners: owners
                .map(|(cluster, owners)| ClusterOwners {
                    cluster: *cluster,
                    owners: owners.iter().map(item).collect(),
                })
                .collect(),
            losses: checked.losses.iter().map(|loss| LossItem::new(loss, names)).collect(),
            decompressed_clusters: checked.decompressed,
            held: checked.held.as_ref(),
            held_further_bytes: checked.held.as_ref().map_or(0, Ranges::further_bytes),
        }
    }
}

fn write_text(
    out: &mut dyn Write,
    report: &CheckReport<'_>,
    (checked, findings): (&Checked, &Findings),
    names: &SnapshotNames,
    color: bool,
) -> io::Result<()> {
    let fires = |rule: &Rule| checked.rules.iter().any(|(fired, _)| *fired == rule);
    let (is_written, is_lost) = (fires(&BEING_WRITTEN), fires(&TABLE_MAY_BE_LOST));
    write!(out, "file {}", report.subject)?;
    if is_written {
        write!(out, ", which another process has open for writing ({})", BEING_WRITTEN.code)?;
    }
    write!(out, "\nverdict: {}", checked.verdict.as_str())?;
    if is_written {
        write!(
            out,
            "; it is being written ({}), so that this may be the picture of one moment",
            BEING_WRITTEN.code
        )?;
    }
    if is_lost {
        let code = TABLE_MAY_BE_LOST.code;
        write!(out, "; a table may be lost, and guest data with it ({code}): do not repair it")?;
    }
    writeln!(out)?;
    write_findings(out, findings.iter(), names, color)?;
    if checked.excused != 0 {
        let (excused, dirty, stale) = (checked.excused, DIRTY_BIT_SET.code, REFCOUNTS_STALE.code);
        writeln!(
            out,
            "not closed: {excused} refcount faults are notes for that ({dirty}, {stale}); qemu-img check counts them"
        )?;
    }
    if checked.rules.len() > 1 {
        let rules = checked.rules.iter().map(|(rule, count)| format!("{} {count}", rule.code));
        writeln!(out, "by rule: {}", rules.collect::<Vec<_>>().join(", "))?;
    }
    if !checked.complete {
        writeln!(out, "incomplete: something was not looked at, see above")?;
    }
    write_losses(out, checked, names)?;
    write_counters(out, &checked.counters)?;
    if let Some(decompressed) = checked.decompressed {
        writeln!(out, "decompressed: {decompressed} compressed clusters of all trees")?;
    }
    match &checked.qemu {
        Some(qemu) if report.as_qemu => write_qemu(out, qemu)?,
        None if report.as_qemu => {
            writeln!(out, "what qemu-img check would say is unknown: not all was looked at")?
        }
        _ => {}
    }
    Ok(())
}

/// How many ranges a line of text names.
const NAMED: usize = 8;

fn write_losses(out: &mut dyn Write, checked: &Checked, names: &SnapshotNames) -> io::Result<()> {
    for item in checked.losses.iter().take(NAMED).map(|loss| LossItem::new(loss, names)) {
        let Loss { tree, disk_size, lost, doubtful, vm_state, .. } = item.loss;
        let tree = names.words(*tree);
        writeln!(out, "guest data hit: {tree}, {:.2} % of {}", item.percent, Size(*disk_size))?;
        let kinds = [(lost, "lost"), (doubtful, "doubtful"), (vm_state, "VM state, behind the disk")];
        for (ranges, what) in kinds {
            if !ranges.is_empty() {
                writeln!(out, "  {what}: {} in {}", Size(ranges.bytes()), shown(ranges))?;
            }
        }
    }
    if let Some(further) = checked.losses.len().checked_sub(NAMED).filter(|further| *further != 0) {
        writeln!(out, "guest data hit: {further} more tree{}", plural(further))?;
    }
    if let Some(held) = &checked.held {
        match (held.is_empty(), checked.complete) {
            (true, true) => writeln!(out, "without the backing file this file holds nothing")?,
            (true, false) => writeln!(out, "without the backing file this file may hold nothing")?,
            (false, complete) => writeln!(
                out,
                "without the backing file this file holds{}: {} in {}",
                if complete { "" } else { " at least" },
                Size(held.bytes()),
                shown(held)
            )?,
        }
    }
    Ok(())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn shown(ranges: &Ranges) -> String {
    let mut shown: Vec<_> =
        ranges.iter().take(NAMED).map(|span| format!("{}+{:#x}", span.start, span.len)).collect();
    let further = ranges.iter().count().saturating_sub(NAMED);
    if further != 0 {
        shown.push(format!("and {further} more range{}", plural(further)));
    }
    if ranges.further_bytes() != 0 {
        shown.push(format!("and {} elsewhere", Size(ranges.further_bytes())));
    }
    shown.join(", ")
}

fn write_counters(out: &mut dyn Write, counters: &Counters) -> io::Result<()> {
    let percent = |part: u64, whole: u64| {
        // Hundredths of a per cent, rounded as qemu-img does.
        let whole = u128::from(whole.max(1));
        let hundredths = (u128::from(part) * 10_000 + whole / 2) / whole;
        format!("{}.{:02} %", hundredths / 100, hundredths % 100)
    };
    let Counters {
        total_clusters,
        allocated_clusters,
        fragmented_clusters,
        compressed_clusters,
        image_end_offset,
    } = *counters;
    if total_clusters != 0 {
        let allocated = match allocated_clusters.checked_sub(total_clusters) {
            // Several entries may be damaged so that they lead to the same one, and VM state lies behind the disk.
            Some(more) if more != 0 => {
                format!("{allocated_clusters} allocated, more than the {total_clusters} of the disk")
            }
            _ => format!(
                "{allocated_clusters} of {total_clusters} allocated ({})",
                percent(allocated_clusters, total_clusters)
            ),
        };
        writeln!(
            out,
            "clusters: {allocated}, {} fragmented, {} compressed",
            percent(fragmented_clusters, allocated_clusters),
            percent(compressed_clusters, allocated_clusters),
        )?;
    }
    if image_end_offset != 0 {
        writeln!(out, "image ends at: {image_end_offset:#x}")?;
    }
    Ok(())
}

fn write_qemu(out: &mut dyn Write, qemu: &QemuAnswer) -> io::Result<()> {
    write!(out, "qemu-img check would exit with {}", qemu.exit_code)?;
    match qemu.refused_for {
        Some(rule) => write!(out, ": it refuses the image, see {rule}")?,
        None => write!(
            out,
            ": {} corruptions, {} leaks, {} check errors",
            qemu.corruptions, qemu.leaks, qemu.check_errors
        )?,
    }
    match qemu.needs {
        Some("key") => writeln!(out, "; it needs the key, and exits with 1 without it"),
        Some(file) => {
            writeln!(out, "; it opens the {} too, and exits with 1 if that fails", file.replace('-', " "))
        }
        None => writeln!(out),
    }
}
