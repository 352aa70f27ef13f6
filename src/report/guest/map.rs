//! The map of a guest's disk: an extent an item.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::map_json::range;
use super::{StateBytes, Walked, backing};
use crate::finding::Findings;
use crate::guest::{Disk, Extent, State};
use crate::image::SnapshotNames;
use crate::report::human::Size;
use crate::report::schema::{List, Shape, keys};
use crate::report::sink::Sink;
use crate::report::subject::Subject;
use crate::report::tree::NameItem;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Tree};

pub(in crate::report) const SHAPE: Shape = Shape::of_image("qcow2-inspect/map/1")
    .head(&[keys::<Head<'_>>()])
    .facts(&[keys::<Ended>()])
    .lists(&[EXTENTS])
    .as_array_of(range);
const EXTENTS: List = List::new("extents", "extent", keys::<ExtentItem>());

#[derive(Serialize, JsonSchema)]
struct Head<'a> {
    tree: Tree,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
    length: u64,
    backing_file: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
struct ExtentItem {
    start: GuestOffset,
    length: u64,
    kind: &'static str,
    offset: Option<HostOffset>,
    /// Whether a backing file fills it.
    backing: bool,
    rule: Option<&'static str>,
}

impl ExtentItem {
    fn new(extent: &Extent, has_backing: bool) -> Self {
        Self {
            start: extent.guest.start,
            length: extent.guest.len,
            kind: extent.kind(),
            offset: extent.host,
            backing: extent.state == State::Unallocated && has_backing,
            rule: extent.lost_for().map(|rule| rule.code),
        }
    }
}

/// How the walk ended, and guest bytes in each state.
#[derive(Serialize, JsonSchema)]
struct Ended {
    complete: bool,
    error: Option<String>,
    data: u64,
    zero: u64,
    compressed: u64,
    unallocated: u64,
    missing: u64,
}

/// Tells `sink` of the extents as they come, and says how the walk ended.
///
/// # Errors
/// Only what the sink returns.
pub fn write_map<R: ReadAt>(
    disk: &Disk<'_, R>,
    range: GuestSpan,
    subject: &Subject<'_>,
    sink: &mut impl Sink,
) -> io::Result<Walked> {
    let (backing, unknown) = backing(disk.image());
    let tree = disk.tree().l1.tree;
    sink.begin(&SHAPE, Some(subject))?;
    let names = match tree {
        Tree::Active => SnapshotNames::default(),
        Tree::Snapshot(_) => SnapshotNames::read(disk.image()),
    };
    let snapshot = NameItem::of(&names, Some(tree));
    sink.head(&Head { tree, snapshot, length: disk.len(), backing_file: backing.as_deref() })?;
    sink.text(|out, _| {
        writeln!(out, "file {subject}")?;
        writeln!(out, "{}: {} ({} bytes)\n", names.disk(tree), Size(disk.len()), disk.len())?;
        let host = if disk.image().has_external_data() { "data file" } else { "file" };
        writeln!(out, "{:<18} {:<18} {:<12} {host}", "guest", "length", "kind")
    })?;
    sink.list(EXTENTS)?;
    let mut walked = Walked { cut: unknown.or(names.stopped_by()), ..Walked::default() };
    let mut text = Vec::new();
    for extent in disk.extents(range) {
        let extent = match extent {
            Ok(extent) => extent,
            Err(error) => {
                walked.cut = Some(error);
                break;
            }
        };
        walked.bytes.add(&extent);
        sink.item(&ExtentItem::new(&extent, backing.is_some()))?;
        sink.text(|out, _| line(out, &mut text, &extent, backing.is_some()))?;
    }
    sink.end()?;
    sink.text(|out, _| end(out, &walked, backing.as_deref()))?;
    let StateBytes { data, zero, compressed, unallocated, missing } = walked.bytes;
    let error = walked.cut.map(|error| error.to_string());
    let complete = error.is_none() && !sink.is_cut();
    sink.facts(&Ended { complete, error, data, zero, compressed, unallocated, missing })?;
    sink.findings(&Findings::new(0))?;
    sink.finish()?;
    Ok(walked)
}

/// There may be millions of them: each is put together in `line` first, and written at once.
fn line(out: &mut dyn Write, line: &mut Vec<u8>, extent: &Extent, has_backing: bool) -> io::Result<()> {
    let (start, len, kind) = (extent.guest.start.0, extent.guest.len, extent.kind());
    line.clear();
    write!(line, "{start:#018x} {len:#018x} {kind:<12}")?;
    match (extent.lost_for(), extent.host) {
        (Some(rule), _) => writeln!(line, " {}: {}", rule.code, rule.title)?,
        (None, Some(host)) => writeln!(line, " {:#x}", host.0)?,
        (None, None) if extent.state == State::Unallocated && has_backing => writeln!(line, " backing file")?,
        (None, None) => writeln!(line)?,
    }
    out.write_all(line)
}

fn end(out: &mut dyn Write, walked: &Walked, backing: Option<&str>) -> io::Result<()> {
    writeln!(out)?;
    let StateBytes { data, zero, compressed, unallocated, missing } = walked.bytes;
    let all = [
        ("data", data),
        ("zero", zero),
        ("compressed", compressed),
        ("unallocated", unallocated),
        ("missing", missing),
    ];
    for (name, bytes) in all.into_iter().filter(|(_, bytes)| *bytes != 0) {
        writeln!(out, "{name}: {} ({bytes} bytes)", Size(bytes))?;
    }
    if let Some(name) = backing.filter(|_| unallocated != 0) {
        writeln!(out, "what is unallocated comes from the backing file \"{name}\", which was not opened")?;
    }
    walked.cut.map_or(Ok(()), |error| writeln!(out, "incomplete: {error}"))
}
