//! One screen on an image: what it is, what it holds, what is wrong with that. Only the header, the lists that
//! it points to and the LUKS header are read; no table of clusters is.

mod items;
mod text;

use std::io;
use std::sync::Arc;

use items::{BitmapItem, ExtensionItem, Head, LuksItem, Rest, SnapshotItem};
use text::Claim;

use crate::Image;
use crate::finding::{Finding, Findings, Structure};
use crate::format::header::{compression_type_name, crypt_method_name, field};
use crate::image::{Part, Section, SnapshotNames, Tables, Walk};
use crate::report::schema::{List, Shape, keys};
use crate::report::sink::Sink;
use crate::report::subject::Subject;
use crate::report::text::write_findings;
use crate::rules::named::READ_ERROR;
use crate::rules::{self, Judge};
use crate::source::ReadAt;

pub(super) const SHAPE: Shape = Shape::of_image("qcow2-inspect/info/1")
    .head(&[keys::<Head<'_>>()])
    .facts(&[keys::<Rest<'_>>()])
    .lists(&[EXTENSIONS, SNAPSHOTS, BITMAPS]);
const EXTENSIONS: List = List::new("extensions", "extension", keys::<ExtensionItem>());
const SNAPSHOTS: List = List::new("snapshots", "snapshot", keys::<SnapshotItem<'_>>());
const BITMAPS: List = List::new("bitmaps", "bitmap", keys::<BitmapItem<'_>>());

/// What is reported, beside what stands in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoReport<'a> {
    /// The file.
    pub subject: Subject<'a>,
    /// Where the image starts in it.
    pub offset: u64,
    /// The present, in seconds since 1970; without it nothing is said of dates in the future.
    pub now: Option<i64>,
    /// What the process has given up.
    pub sandbox: &'a str,
}

/// Tells `sink` what an image is; true if nothing cut the work.
///
/// # Errors
/// Only what the sink returns.
pub fn write_info<R: ReadAt>(
    image: &Image<R>,
    report: &InfoReport<'_>,
    sink: &mut impl Sink,
) -> io::Result<bool> {
    let mut survey = Survey::new(image, report.now)?;
    sink.begin(&SHAPE, Some(&report.subject))?;
    let names = Arc::new(SnapshotNames::read(image));
    sink.names(&names)?;
    sink.head(&Head::new(image))?;
    sink.text(|out, _| text::header(out, image, &report.subject))?;

    let mut extensions = text::List::default();
    sink.list(EXTENSIONS)?;
    survey.section(Section::Extensions, |part| {
        let Part::Extension(extension) = part else { return Ok(()) };
        extensions.push(|| text::extension(extension));
        sink.item(&ExtensionItem::from(*extension))
    })?;
    sink.end()?;
    sink.text(|out, _| text::line(out, "extensions", &extensions.join()))?;

    let mut luks = None;
    survey.section(Section::Luks, |part| {
        let Part::Luks(header) = part else { return Ok(()) };
        luks = Some((*header).clone());
        sink.text(|out, _| text::line(out, "luks", &text::cipher(header)))
    })?;

    let mut snapshots = text::List::default();
    let virtual_size = image.header().v2.size.0;
    sink.list(SNAPSHOTS)?;
    survey.section(Section::Snapshots, |part| {
        let Part::Snapshot(snapshot) = part else { return Ok(()) };
        snapshots.push(|| text::snapshot(snapshot));
        sink.item(&SnapshotItem::new(snapshot, virtual_size))
    })?;
    sink.end()?;
    let header = image.header();
    let claimed = match header.holds(field::NB_SNAPSHOTS) {
        true => Claim::Of(header.v2.nb_snapshots.into()),
        false => Claim::NotThere,
    };
    sink.text(|out, _| text::list(out, "snapshots", claimed, &snapshots))?;

    let mut bitmaps = text::List::default();
    sink.list(BITMAPS)?;
    survey.section(Section::Bitmaps, |part| {
        let Part::Bitmap(bitmap) = part else { return Ok(()) };
        bitmaps.push(|| text::bitmap(bitmap));
        sink.item(&BitmapItem::from(*bitmap))
    })?;
    sink.end()?;
    let claimed = image.bitmaps_extension().map_or(0, |(_, extension)| extension.nb_bitmaps);
    sink.text(|out, _| text::list(out, "bitmaps", Claim::Of(claimed.into()), &bitmaps))?;

    let mut findings = survey.finish();
    if let Some(error) = names.stopped_by().filter(|_| findings.is_complete()) {
        findings.push(rules::stopped(error, Structure::Snapshot, &READ_ERROR));
    }
    let complete = findings.is_complete() && !sink.is_cut();
    sink.text(|out, color| {
        write_findings(out, findings.iter(), &names, color)?;
        if !complete {
            writeln!(out, "incomplete: something was not read, see above")?;
        }
        text::not_looked_at(out, report)
    })?;
    sink.facts(&Rest {
        luks: luks.as_ref().map(LuksItem::from),
        worst: findings.worst(),
        sandbox: report.sandbox,
        complete,
    })?;
    sink.findings(&findings)?;
    sink.finish()?;
    Ok(complete)
}

/// Looks at what an image holds, and collects what is wrong.
struct Survey<'i, R> {
    walk: Walk<'i, R>,
    judge: Judge<'i, R>,
    findings: Findings,
    found: Vec<Finding>,
}

impl<'i, R: ReadAt> Survey<'i, R> {
    fn new(image: &'i Image<R>, now: Option<i64>) -> io::Result<Self> {
        let mut survey = Self {
            walk: Walk::new(image, Tables::Unread),
            judge: Judge::new(image, now),
            findings: Findings::new(image.limits().findings_per_rule),
            found: Vec::new(),
        };
        survey.section(Section::Header, |_| Ok(()))?;
        Ok(survey)
    }

    /// Judges a section, and hands each part of it to `each`.
    fn section(
        &mut self,
        section: Section,
        mut each: impl FnMut(&Part<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { walk, judge, findings, found, .. } = self;
        walk.section(section, &mut |part| {
            judge.part(&part, found);
            found.drain(..).for_each(|finding| findings.push(finding));
            each(&part)
        })
    }

    /// What was found. To be called when all else was looked at.
    fn finish(mut self) -> Findings {
        self.judge.finish(&mut self.found);
        self.found.drain(..).for_each(|finding| self.findings.push(finding));
        self.findings
    }
}

/// `compression_type` as a word.
pub(super) fn compression(number: u8) -> String {
    word(compression_type_name(number), number.into())
}

/// `crypt_method` as a word.
pub(super) fn encryption(number: u32) -> String {
    word(crypt_method_name(number), number)
}

fn word(name: Option<&'static str>, number: u32) -> String {
    name.map_or_else(|| format!("unknown:{number}"), str::to_owned)
}
