//! `dump` against the independent reading of the bytes.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::bytes::{
    BitmapTableEntry, Field, FieldValue, Image, L1Entry, L2Entry, Refcount, RefcountTableEntry, SharedTable,
};
use crate::factory::Sample;
use crate::ours;

/// How many differences of one kind are told.
const TOLD: usize = 3;
const KINDS: [&str; 7] =
    ["data", "zero", "zero-allocated", "compressed", "unallocated", "serialized", "all-ones"];
/// The keys that say which structure of its kind a row belongs to.
const OWNERS: [&str; 5] = ["extension", "feature", "slot", "snapshot", "bitmap"];

/// Where the two differ.
pub(crate) fn differences(sample: &Sample) -> Vec<String> {
    let (dump, mut differences) = ours::report("dump", sample);
    let image = Image::open(&sample.path);
    let ours = Dump { dump: &dump, refcount_bits: image.refcount_bits() };
    let (l2, shared) = image.l2();
    let (bitmap_fields, bitmap_entries) = image.bitmaps();
    let snapshot_fields = image.snapshots().into_iter().flat_map(|snapshot| snapshot.fields).collect();

    differences.extend(compare("header", ours.fields("header"), image.header_fields()));
    differences.extend(compare("extensions", ours.fields("extensions"), image.extension_fields()));
    differences.extend(compare("luks", ours.fields("luks"), image.luks_fields()));
    differences.extend(compare("snapshots", ours.fields("snapshots"), snapshot_fields));
    differences.extend(compare("bitmaps", ours.fields("bitmaps"), bitmap_fields));
    differences.extend(compare("bitmap tables", ours.bitmap_entries(), bitmap_entries));
    differences.extend(compare("refcount table", ours.refcount_table(), image.refcount_table()));
    differences.extend(compare("refcounts", ours.refcounts(), image.refcounts()));
    differences.extend(compare("L1", ours.l1(), image.l1()));
    differences.extend(compare("L2", ours.l2(), l2));
    differences.extend(compare("shared L2 tables", ours.shared_tables(&image.l1()), shared));
    differences.into_iter().map(|difference| format!("{}: dump: {difference}", sample.name)).collect()
}

/// What only one of them has; each counts as often as it comes.
fn compare<T: Ord + Debug>(what: &str, mut ours: Vec<T>, mut real: Vec<T>) -> Vec<String> {
    ours.sort();
    real.sort();
    let (mut ours, mut real) = (ours.into_iter().peekable(), real.into_iter().peekable());
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    loop {
        match (ours.peek(), real.peek()) {
            (Some(a), Some(b)) if a == b => {
                ours.next();
                real.next();
            }
            (Some(a), Some(b)) if a > b => missing.extend(real.next()),
            (None, Some(_)) => missing.extend(real.next()),
            (Some(_), _) => extra.extend(ours.next()),
            (None, None) => break,
        }
    }
    let told = |title: &str, items: Vec<T>| {
        (!items.is_empty()).then(|| {
            let first: Vec<_> = items.iter().take(TOLD).collect();
            format!("{what}: {} {title}: {first:#?}", items.len())
        })
    };
    [told("missing", missing), told("extra", extra)].into_iter().flatten().collect()
}

/// Our dump.
struct Dump<'a> {
    dump: &'a Value,
    refcount_bits: u64,
}

impl<'a> Dump<'a> {
    /// The rows of a section that show something.
    fn rows(&self, section: &str) -> impl Iterator<Item = Row<'a>> {
        self.dump[section].as_array().unwrap().iter().map(Row).filter(|row| !row.has("skipped"))
    }

    fn entries(&self, section: &str) -> impl Iterator<Item = Row<'a>> {
        self.rows(section).filter(|row| row.has("index"))
    }

    fn fields(&self, section: &str) -> Vec<Field> {
        self.rows(section).filter(|row| !row.has("index")).map(|row| row.field(section)).collect()
    }

    fn bitmap_entries(&self) -> Vec<BitmapTableEntry> {
        let entry = |row: Row<'_>| BitmapTableEntry {
            bitmap: row.number("bitmap"),
            index: row.number("index"),
            offset: row.number("offset"),
            value: row.number("value"),
            kind: row.kind(),
            host_offset: row.optional("host_offset"),
        };
        self.entries("bitmaps").map(entry).collect()
    }

    fn refcount_table(&self) -> Vec<RefcountTableEntry> {
        let entry = |row: Row<'_>| RefcountTableEntry {
            index: row.number("index"),
            offset: row.number("offset"),
            value: row.number("value"),
        };
        self.entries("refcounts").filter(|row| !row.has("block")).map(entry).collect()
    }

    /// Our runs, taken apart.
    fn refcounts(&self) -> Vec<Refcount> {
        let cluster_size = 1 << Row(&self.dump["header"][4]).number("value");
        let bits = self.refcount_bits;
        let mut refcounts = Vec::new();
        for run in self.entries("refcounts").filter(|row| row.has("block")) {
            let index = run.number("index");
            refcounts.extend((0..run.number("count")).map(|nth| Refcount {
                block: run.number("block"),
                index: index + nth,
                offset: run.number("offset") + (index * bits % 8 + nth * bits) / 8,
                value: run.number("value"),
                host_offset: run.number("host_offset") + nth * cluster_size,
            }));
        }
        refcounts
    }

    fn l1(&self) -> Vec<L1Entry> {
        let entry = |row: Row<'_>| L1Entry {
            tree: row.text("tree"),
            index: row.number("index"),
            offset: row.number("offset"),
            value: row.number("value"),
            guest_offset: row.number("guest_offset"),
            l2_offset: row.number("l2_offset"),
            copied: row.flag("copied"),
        };
        self.entries("l1").map(entry).collect()
    }

    fn l2(&self) -> Vec<L2Entry> {
        let entry = |row: Row<'_>| L2Entry {
            tree: row.text("tree"),
            l1_index: row.number("l1_index"),
            index: row.number("index"),
            offset: row.number("offset"),
            value: row.number("value"),
            kind: row.kind(),
            guest_offset: row.number("guest_offset"),
            host_offset: row.optional("host_offset"),
            copied: row.flag("copied"),
            compressed_length: row.optional("compressed_length"),
            bitmap: row.optional("bitmap"),
        };
        self.entries("l2").map(entry).collect()
    }

    /// What our runs say of the L1 entries that are in them; the others there are zero.
    fn shared_tables(&self, l1: &[L1Entry]) -> Vec<SharedTable> {
        let mut shared = Vec::new();
        for run in self.rows("l2").filter(|row| row.has("same_as")) {
            let tree = run.text("tree");
            let indices = run.indices();
            let of_run = l1.iter().filter(|entry| entry.tree == tree && indices.contains(&entry.index));
            shared.extend(of_run.map(|entry| SharedTable {
                tree: tree.clone(),
                l1_index: entry.index,
                first_tree: run.text("same_as"),
                first_l1_index: run.optional("same_as_l1_index").unwrap_or(entry.index),
            }));
        }
        shared
    }
}

/// One row of it.
#[derive(Clone, Copy)]
struct Row<'a>(&'a Value);

impl Row<'_> {
    fn has(self, key: &str) -> bool {
        !self.0[key].is_null()
    }

    fn text(self, key: &str) -> String {
        self.0[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.0)).to_owned()
    }

    fn flag(self, key: &str) -> bool {
        self.0[key].as_bool().unwrap_or_else(|| panic!("{key} in {}", self.0))
    }

    /// A number, or a table entry in hexadecimal.
    fn number(self, key: &str) -> u64 {
        let value = &self.0[key];
        let entry = || u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
        value.as_u64().or_else(entry).unwrap_or_else(|| panic!("{key} in {}", self.0))
    }

    fn optional(self, key: &str) -> Option<u64> {
        self.has(key).then(|| self.number(key))
    }

    fn kind(self) -> &'static str {
        let kind = self.text("kind");
        KINDS.into_iter().find(|known| *known == kind).unwrap_or_else(|| panic!("the kind in {}", self.0))
    }

    /// The entries that a name such as `L1[3]` or `L1[3..7]` stands for.
    fn indices(self) -> RangeInclusive<u64> {
        let name = self.text("name");
        let indices = name.split_once('[').unwrap().1.strip_suffix(']').unwrap();
        let (first, last) = indices.split_once("..").unwrap_or((indices, indices));
        first.parse().unwrap()..=last.parse().unwrap()
    }

    fn field(self, section: &str) -> Field {
        let owners = OWNERS.into_iter().filter(|key| self.has(key));
        let owners: Vec<_> = owners.map(|key| format!("{key} {}", self.number(key))).collect();
        let value = match &self.0["value"] {
            Value::String(text) => FieldValue::Text(text.clone()),
            _ => FieldValue::Number(self.number("value")),
        };
        Field {
            of: if owners.is_empty() { section.to_owned() } else { owners.join(", ") },
            name: self.text("name"),
            offset: self.number("offset"),
            width: self.number("width"),
            value,
        }
    }
}
