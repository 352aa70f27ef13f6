//! The rows of a dump.

use std::fmt;

use serde::{Serialize, Serializer};

use super::value::Value;
use crate::finding::Findings;
use crate::finding::Rule;
use crate::format::Style;
use crate::units::{HostOffset, Tree};

/// The name of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A field, by the specification's name.
    Field(&'static str),
    /// One entry of a table.
    Entry(&'static str, u64),
    /// Several entries of a table, the last one included.
    Entries(&'static str, u64, u64),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Field(name) => f.write_str(name),
            Self::Entry(name, index) => write!(f, "{name}[{index}]"),
            Self::Entries(name, first, last) if first == last => write!(f, "{name}[{first}]"),
            Self::Entries(name, first, last) => write!(f, "{name}[{first}..{last}]"),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Field(name) => serializer.serialize_str(name),
            other => serializer.collect_str(other),
        }
    }
}

/// One more fact of a row, derived from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail<'a> {
    /// Its key in JSON and its name in text.
    pub key: &'static str,
    /// What it is.
    pub value: Value<'a>,
}

impl<'a> Detail<'a> {
    /// A fact with this key.
    pub const fn new(key: &'static str, value: Value<'a>) -> Self {
        Self { key, value }
    }
}

/// One field or one table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// What it is.
    pub label: Label,
    /// Where it stands in the file.
    pub at: HostOffset,
    /// How many bytes it has.
    pub width: u64,
    /// What stands there.
    pub value: Value<'a>,
    /// What that means.
    pub details: &'a [Detail<'a>],
    /// Whether it holds; `None` where no rule judges it.
    pub valid: Option<bool>,
    /// The rules that fired.
    pub rules: &'a [&'static Rule],
}

impl<'a> Row<'a> {
    /// A row that says something of the structure as a whole, such as entries left out.
    pub const fn remark(label: Label, at: HostOffset, width: u64, details: &'a [Detail<'a>]) -> Self {
        Self { label, at, width, value: Value::None, details, valid: None, rules: &[] }
    }
}

/// Which structure the rows that follow belong to: JSON repeats it in each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The mapping that a table belongs to.
    pub tree: Option<Tree>,
    /// The extension's place in the list.
    pub extension: Option<u32>,
    /// The row of the feature name table.
    pub feature: Option<u64>,
    /// The key slot.
    pub slot: Option<u64>,
    /// The refcount block's place in the refcount table.
    pub block: Option<u64>,
    /// The snapshot's place in the table.
    pub snapshot: Option<u32>,
    /// The bitmap's place in the directory.
    pub bitmap: Option<u32>,
    /// The L1 entry that points at the L2 table.
    pub l1_index: Option<u64>,
}

impl Context {
    /// What is set, by its JSON key.
    pub fn details(&self) -> impl Iterator<Item = Detail<'static>> {
        let number = |key, index: Option<u64>| (key, index.map(|index| Value::Number(index, Style::Number)));
        [
            ("tree", self.tree.map(Value::Tree)),
            number("extension", self.extension.map(u64::from)),
            number("feature", self.feature),
            number("slot", self.slot),
            number("block", self.block),
            number("snapshot", self.snapshot.map(u64::from)),
            number("bitmap", self.bitmap.map(u64::from)),
            number("l1_index", self.l1_index),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(Detail::new(key, value?)))
    }
}

/// A structure begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Where it stands.
    pub at: HostOffset,
    /// What it is.
    pub title: &'static str,
    /// Which one it is.
    pub context: Context,
    /// What is known of it as a whole.
    pub details: &'a [Detail<'a>],
}

/// How a dump ended.
#[derive(Debug)]
pub struct Summary {
    /// Whether nothing cut the work.
    pub complete: bool,
    /// What was found.
    pub findings: Findings,
}
