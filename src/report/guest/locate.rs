//! Where a guest offset lies in the file, and what an offset of the file is.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::Error;
use crate::finding::Findings;
use crate::guest::{Owner, Owners, State, Trace};
use crate::image::SnapshotNames;
use crate::references::Role;
use crate::report::schema::{Shape, keys};
use crate::report::sink::Sink;
use crate::report::subject::Subject;
use crate::report::tree::NameItem;
use crate::report::value::Value;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Tree};

pub(in crate::report) const SHAPE: Shape =
    Shape::of_image("qcow2-inspect/locate/1").facts(&[keys::<Answer<'_>>()]);

/// One of the two answers.
#[derive(Clone, Copy, Debug)]
pub enum Located<'a> {
    /// The way of a guest offset, in this tree.
    Guest(Tree, &'a Trace),
    /// What an offset of the file is; and what its cluster looks like, where nothing refers to that.
    Host(&'a Owners, Option<&'a str>),
}

impl Located<'_> {
    /// What kept the answer from being whole.
    pub fn cut(&self) -> Option<Error> {
        match self {
            Self::Guest(..) => None,
            Self::Host(owners, _) => owners.cut(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct GuestItem<'a> {
    tree: Tree,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
    offset: GuestOffset,
    in_disk: bool,
    l1_index: Option<u64>,
    l1_entry_offset: Option<HostOffset>,
    l1_entry: Option<Value<'a>>,
    l2_table_offset: Option<HostOffset>,
    l2_index: Option<u64>,
    l2_entry_offset: Option<HostOffset>,
    l2_entry: Option<Value<'a>>,
    subcluster_bitmap: Option<Value<'a>>,
    subcluster: Option<u64>,
    kind: &'static str,
    rule: Option<&'static str>,
    host_offset: Option<HostOffset>,
    stream_length: Option<u64>,
}

impl<'a> GuestItem<'a> {
    fn new(tree: Tree, trace: &Trace, names: &'a SnapshotNames) -> Self {
        let l2_table = trace.l1.map(|step| step.entry.l2_offset());
        Self {
            tree,
            snapshot: NameItem::of(names, Some(tree)),
            offset: trace.guest,
            in_disk: trace.in_disk,
            l1_index: trace.l1.map(|step| step.index),
            l1_entry_offset: trace.l1.map(|step| step.at),
            l1_entry: trace.l1.map(|step| Value::Entry(step.entry.0)),
            l2_table_offset: l2_table.filter(|_| trace.l2.is_some()),
            l2_index: trace.l2.map(|step| step.index),
            l2_entry_offset: trace.l2.map(|step| step.at),
            l2_entry: trace.l2.map(|step| Value::Entry(step.entry.0)),
            subcluster_bitmap: trace.bitmap.map(Value::Subclusters),
            subcluster: trace.subcluster,
            kind: trace.kind,
            rule: trace.lost_for.map(|rule| rule.code),
            host_offset: trace.host,
            stream_length: (trace.stream_len > 0).then_some(trace.stream_len),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct HostItem<'a> {
    offset: HostOffset,
    in_file: bool,
    owners: Vec<OwnerItem<'a>>,
    further_owners: u64,
    refcount: Option<u64>,
    counted: u64,
    /// What the cluster looks like, where nothing refers to it.
    looks_like: Option<&'a str>,
}

impl<'a> HostItem<'a> {
    fn new(owners: &'a Owners, looks_like: Option<&'a str>, len: u64, names: &'a SnapshotNames) -> Self {
        Self {
            offset: owners.at,
            in_file: owners.at.0 < len,
            owners: owners.owners.iter().map(|owner| OwnerItem::new(owner, names)).collect(),
            further_owners: owners.further,
            refcount: owners.refcount,
            counted: owners.counted,
            looks_like,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct OwnerItem<'a> {
    structure: &'a str,
    offset: HostOffset,
    length: u64,
    field: Option<&'a str>,
    index: Option<u64>,
    tree: Option<Tree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
    guest: Option<GuestSpan>,
    /// The guest offset of the very byte; of an entry of a table, where the range starts that it is for.
    guest_offset: Option<GuestOffset>,
}

impl<'a> OwnerItem<'a> {
    fn new(owner: &'a Owner, names: &'a SnapshotNames) -> Self {
        let Owner { role, span, field, index, tree, guest, guest_offset } = owner;
        Self {
            structure: role.as_str(),
            offset: span.at,
            length: span.len,
            field: *field,
            index: *index,
            tree: *tree,
            snapshot: NameItem::of(names, tree_of(owner)),
            guest: *guest,
            guest_offset: *guest_offset,
        }
    }
}

/// The answer to one of the two questions, and whether it is whole.
#[derive(Serialize, JsonSchema)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<GuestItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostItem<'a>>,
    complete: bool,
    error: Option<String>,
}

/// Tells `sink` the answer; `names` are those of the image's snapshots.
///
/// # Errors
/// Only what the sink returns.
pub fn write_located(
    located: Located<'_>,
    names: &SnapshotNames,
    subject: &Subject<'_>,
    sink: &mut impl Sink,
) -> io::Result<()> {
    sink.begin(&SHAPE, Some(subject))?;
    sink.text(|out, _| {
        writeln!(out, "file {subject}")?;
        match located {
            Located::Guest(tree, trace) => guest_text(out, tree, trace, names),
            Located::Host(owners, looks_like) => host_text(out, owners, looks_like, subject.len, names),
        }
    })?;
    let (guest, host) = match located {
        Located::Guest(tree, trace) => (Some(GuestItem::new(tree, trace, names)), None),
        Located::Host(owners, looks_like) => {
            (None, Some(HostItem::new(owners, looks_like, subject.len, names)))
        }
    };
    let cut = located.cut();
    let error = cut.map(|error| error.to_string());
    sink.facts(&Answer { guest, host, complete: cut.is_none(), error })?;
    sink.findings(&Findings::new(0))?;
    sink.finish()
}

fn guest_text(out: &mut dyn Write, tree: Tree, trace: &Trace, names: &SnapshotNames) -> io::Result<()> {
    let place = if trace.in_disk { "" } else { ", at or behind the end of the disk" };
    writeln!(out, "guest offset {} of the {}{place}", trace.guest, names.disk(tree))?;
    match trace.l1 {
        Some(step) => writeln!(out, "{:016x}: L1[{}]={:#018x}", step.at.0, step.index, step.entry.0)?,
        None => writeln!(out, "the L1 table does not reach so far")?,
    }
    if let Some(step) = trace.l2 {
        writeln!(out, "{:016x}: L2[{}]={:#018x}", step.at.0, step.index, step.entry.0)?;
        if let Some(bitmap) = trace.bitmap {
            let subcluster = trace.subcluster.unwrap_or_default();
            writeln!(
                out,
                "{:016x}: bitmap={:#018x} subcluster={subcluster}",
                step.at.0.saturating_add(8),
                bitmap.0
            )?;
        }
    }
    if let Some(rule) = trace.lost_for {
        let at = trace.host.map(|host| format!(" at {host}")).unwrap_or_default();
        return writeln!(out, "{}{at}: {}: {}", trace.kind, rule.code, rule.title);
    }
    match (trace.state, trace.host) {
        (State::Compressed, Some(host)) => {
            writeln!(out, "{:016x}: compressed, {} bytes at most", host.0, trace.stream_len)
        }
        (State::Data, Some(host)) => writeln!(out, "{:016x}: data", host.0),
        (state, Some(host)) => writeln!(out, "{}, with room kept at {host}", state.as_str()),
        (state, None) => writeln!(out, "{}", state.as_str()),
    }
}

/// The tree that an owner belongs to, or that it is about: an entry of the snapshot table is about its snapshot.
fn tree_of(owner: &Owner) -> Option<Tree> {
    let is_entry = owner.role == Role::SnapshotTable;
    let index = owner.index.filter(|_| is_entry).and_then(|index| u32::try_from(index).ok());
    owner.tree.or(index.map(Tree::Snapshot))
}

fn host_text(
    out: &mut dyn Write,
    owners: &Owners,
    looks_like: Option<&str>,
    len: u64,
    names: &SnapshotNames,
) -> io::Result<()> {
    let place = if owners.at.0 < len { "" } else { ", behind the end of the file" };
    writeln!(out, "file offset {}{place}", owners.at)?;
    for owner in &owners.owners {
        write!(out, "{:016x}: {}, {} bytes", owner.span.at.0, owner.role.as_str(), owner.span.len)?;
        if let Some(field) = owner.field {
            write!(out, ", {field}")?;
        }
        if let Some(index) = owner.index {
            write!(out, ", entry {index}")?;
        }
        if let Some(tree) = tree_of(owner) {
            write!(out, ", {}", names.words(tree))?;
        }
        if let Some(guest) = owner.guest {
            write!(out, ", guest {} and {} bytes", guest.start, guest.len)?;
        }
        if let Some(guest) = owner.guest_offset {
            let what = if owner.index.is_some() { "this entry is for" } else { "this byte is" };
            write!(out, ", {what} guest {guest}")?;
        }
        writeln!(out)?;
    }
    if owners.further > 0 {
        writeln!(out, "and {} more", owners.further)?;
    } else if owners.owners.is_empty() {
        let cluster = if owners.counted > 0 { ", but its cluster is in use" } else { "" };
        writeln!(out, "nothing refers to it{cluster}")?;
    }
    if let Some(looks_like) = looks_like {
        let leaked = if owners.refcount.is_some_and(|refcount| refcount != 0) { "leaked" } else { "free" };
        writeln!(out, "its cluster is {leaked}, and looks like {looks_like}")?;
    }
    let refcount = owners.refcount.map_or_else(|| "none".to_owned(), |refcount| refcount.to_string());
    writeln!(out, "refcount of its cluster: {refcount} recorded, {} counted", owners.counted)?;
    owners.cut().map_or(Ok(()), |error| writeln!(out, "incomplete: {error}"))
}
