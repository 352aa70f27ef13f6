//! What people call the trees of an image: a snapshot by its id and its name, as `--snapshot` takes them. This is the one
//! place that turns a tree into words.

use std::fmt;

use super::{Image, Snapshot, until_cut};
use crate::Error;
use crate::source::ReadAt;
use crate::text::shown;
use crate::units::{GuestSpan, HostOffset, Span, Tree, to_usize};

/// Bytes of the snapshot table within which names are looked up: those of thousands of snapshots. What lies behind them
/// keeps its index, so that neither a long table nor long names cost much for the sake of words.
const LOOKED_UP: u64 = 128 << 10;
/// Bytes of an id or a name that are kept: more than a line of a report has room for.
const KEPT: usize = 256;

/// The ids and names of an image's snapshots, as far as their table can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotNames {
    names: Vec<SnapshotName>,
    stopped_by: Option<Error>,
}

/// What a snapshot is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotName {
    /// The start of its id.
    pub id: Box<[u8]>,
    /// The start of its name.
    pub name: Box<[u8]>,
    /// The bytes of its entry in the snapshot table.
    span: Span,
}

impl SnapshotNames {
    /// Looks them up.
    pub fn read<R: ReadAt>(image: &Image<R>) -> Self {
        let start = image.header().v2.snapshots_offset;
        let is_near = |snapshot: &Snapshot| snapshot.at.0.saturating_sub(start.0) < LOOKED_UP;
        let mut found = Self::default();
        for snapshot in until_cut(image.snapshots()) {
            match snapshot {
                Ok(snapshot) if is_near(&snapshot) => found.names.push(SnapshotName::from(&snapshot)),
                Ok(_) => break,
                Err(error) => found.stopped_by = Some(error),
            }
        }
        found
    }

    /// What kept the table from being read, where that is no fault of the table: a report that has an index for a name for
    /// that reason is not complete.
    pub fn stopped_by(&self) -> Option<Error> {
        self.stopped_by
    }

    /// What the snapshot of a tree is called; `None` for the active disk, and where the table could not be read so far or
    /// has neither an id nor a name there.
    pub fn of(&self, tree: Tree) -> Option<&SnapshotName> {
        match tree {
            Tree::Active => None,
            Tree::Snapshot(index) => self.names.get(to_usize(index.into())).filter(|name| name.is_said()),
        }
    }

    /// What the snapshot is called whose entry has the byte at `at`.
    pub fn at(&self, at: HostOffset) -> Option<&SnapshotName> {
        // They stand in the table one behind the other.
        let index = self.names.partition_point(|name| name.span.end() <= at);
        self.names.get(index).filter(|name| name.span.at <= at && name.is_said())
    }

    /// A tree in words: `active`, or a snapshot by its id and name, or else by its index.
    pub fn words(&self, tree: Tree) -> impl fmt::Display {
        Words { tree, name: self.of(tree) }
    }

    /// The disk of a tree in words.
    pub fn disk(&self, tree: Tree) -> impl fmt::Display {
        fmt::from_fn(move |f| match tree {
            Tree::Active => f.write_str("active disk"),
            Tree::Snapshot(_) => write!(f, "disk of {}", self.words(tree)),
        })
    }

    /// A guest range in words.
    pub fn guest(&self, tree: Tree, span: GuestSpan) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{} guest {}+{:#x}", self.words(tree), span.start, span.len))
    }
}

impl SnapshotName {
    fn is_said(&self) -> bool {
        !(self.id.is_empty() && self.name.is_empty())
    }
}

impl From<&Snapshot> for SnapshotName {
    fn from(snapshot: &Snapshot) -> Self {
        let kept = |bytes: &[u8]| bytes.get(..KEPT).unwrap_or(bytes).into();
        Self { id: kept(&snapshot.id), name: kept(&snapshot.name), span: snapshot.span() }
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("snapshot")?;
        if !self.id.is_empty() {
            write!(f, " {}", shown(&self.id))?;
        }
        write!(f, " \"{}\"", shown(&self.name))
    }
}

struct Words<'n> {
    tree: Tree,
    name: Option<&'n SnapshotName>,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => name.fmt(f),
            None => self.tree.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &[u8], name: &[u8], at: u64) -> SnapshotName {
        SnapshotName { id: id.into(), name: name.into(), span: Span::new(HostOffset(at), 64) }
    }

    fn names() -> SnapshotNames {
        let names = vec![
            name(b"1", b"before upgrade", 0x200),
            name(b"", b"a\x1b[2J", 0x240),
            name(b"3", &[b'n'; 300], 0x280),
            name(b"", b"", 0x2c0),
        ];
        SnapshotNames { names, stopped_by: None }
    }

    #[test]
    fn a_tree_has_words() {
        let names = names();
        let words = |index| names.words(Tree::Snapshot(index)).to_string();
        assert_eq!(words(0), r#"snapshot 1 "before upgrade""#);
        assert_eq!(words(1), r#"snapshot "a\x1b[2J""#, "nothing of it reaches a terminal raw");
        assert!(words(2).chars().count() < 90 && words(2).contains('…'), "{}", words(2));
        assert_eq!(
            [words(3), words(4)],
            ["snapshot:3", "snapshot:4"],
            "nothing is known of them but their place"
        );
        assert_eq!(names.words(Tree::Active).to_string(), "active");
        let disks = [Tree::Active, Tree::Snapshot(0)].map(|tree| names.disk(tree).to_string());
        assert_eq!(disks, ["active disk", r#"disk of snapshot 1 "before upgrade""#]);
    }

    #[test]
    fn an_entry_is_found_by_its_bytes() {
        let names = names();
        let id = |at| names.at(HostOffset(at)).map(|name| &*name.id);
        assert_eq!([id(0x1ff), id(0x200), id(0x23f)], [None, Some(&b"1"[..]), Some(b"1")]);
        assert_eq!([id(0x240), id(0x2bf), id(0x2c0)], [Some(&b""[..]), Some(b"3"), None]);
    }
}
