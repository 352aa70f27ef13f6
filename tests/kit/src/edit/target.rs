//! Finds what an edit names: fields through the layouts' declarations, table entries through the image.

use arbitrary::Arbitrary;
use qcow2_inspect::format::mapping::L1Entry;
use qcow2_inspect::format::refcount::RefcountTableEntry;
use qcow2_inspect::format::{Field, FieldValue, Layout};
use qcow2_inspect::image::{
    self, {Image, L1Table},
};
use qcow2_inspect::units::{HostOffset, Span, to_u64};

use super::Edit;
use super::step::{Scale, Step, Value};

/// Stands in for the cluster size where the header makes no sense, and for bytes that are no image.
const DEFAULT_CLUSTER_SIZE: u64 = 512;
/// Entries of a table that are looked at.
const ENTRIES: u64 = 512;
/// Tables, snapshots and bitmaps among which one is chosen.
const MEMBERS: usize = 8;
/// The flags of table entries, alone and together; the last ones are reserved, or make an offset unaligned.
const FLAGS: [u64; 10] = [1 << 63, 0, 1 << 63, 1 << 62, 1, 1 << 63 | 1, 3 << 62, 1 << 61, 1 << 56, 0x200];

/// The kinds of tables.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// The active L1 table.
    L1,
    /// An L2 table of the active tree.
    L2,
    /// A snapshot's L1 table.
    SnapshotL1,
    /// An L2 table of a snapshot.
    SnapshotL2,
    /// The refcount table.
    RefcountTable,
    /// A bitmap's table.
    BitmapTable,
}

/// The kinds of structures that have fields.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layouts {
    /// The header.
    Header,
    /// A header extension's magic and length.
    Extension,
    /// The data of an extension with a layout, or a row of the feature name table.
    ExtensionData,
    /// A snapshot table entry.
    Snapshot,
    /// A snapshot's extra data.
    SnapshotExtra,
    /// A bitmap directory entry.
    Bitmap,
    /// The LUKS header, or a key slot.
    Luks,
}

/// A table in the file.
#[derive(Clone, Copy)]
struct Table {
    at: HostOffset,
    count: u64,
    entry_len: u64,
}

type Bytes<'a> = Image<&'a [u8]>;
type Fields = Vec<(Field, FieldValue)>;

/// The step for bytes that are no image.
pub(super) fn plain_step(edit: &Edit, file_len: u64) -> Step {
    let scale = Scale { cluster_size: DEFAULT_CLUSTER_SIZE, file_len };
    bytes_step(edit, scale).unwrap_or_else(|| {
        let value = match *edit {
            Edit::Point { cluster, .. } => Value::Cluster(cluster),
            Edit::Field { value, .. } | Edit::Entry { value, .. } | Edit::Refcount { value, .. } => value,
            _ => Value::Flip(0),
        };
        let at = match *edit {
            Edit::Point { slot, .. } | Edit::Entry { slot, .. } => slot.into(),
            Edit::Field { index, field, .. } => u64::from(index) << 3 ^ u64::from(field),
            Edit::Refcount { cluster, .. } => cluster.into(),
            _ => 0,
        };
        Step::Number { at: at % file_len.max(1), width: 1, value, scale }
    })
}

/// The step for an image.
pub(super) fn step(edit: &Edit, image: &Bytes<'_>) -> Step {
    let cluster_size = image.geometry().map_or(DEFAULT_CLUSTER_SIZE, |geometry| geometry.cluster_size());
    let scale = Scale { cluster_size, file_len: image.file_len() };
    let found = bytes_step(edit, scale).or_else(|| match *edit {
        Edit::Point { table, index, slot, cluster, flags } => {
            let at = entry(image, find_table(image, table, index)?, slot)?;
            let value = Value::Is(pointer(image, scale.cluster(cluster), flags));
            Some(Step::Number { at, width: 8, value, scale })
        }
        Edit::Field { layout, index, field, value } => {
            let (at, fields) = find_layout(image, layout, index.into())?;
            let (field, _) = fields.get(usize::from(field) % fields.len().max(1))?;
            let Span { at, len: width } = field.at(at);
            Some(Step::Number { at: at.0, width, value, scale })
        }
        Edit::Entry { table, index, slot, value } => {
            let table = find_table(image, table, index)?;
            let second_half = table.entry_len == 16 && index >= 128;
            let at = entry(image, table, slot)?.saturating_add(if second_half { 8 } else { 0 });
            Some(Step::Number { at, width: 8, value, scale })
        }
        Edit::Refcount { cluster, value } => refcount(image, scale, cluster, value),
        Edit::Duplicate { table, index, from, to } => {
            let table = find_table(image, table, index)?;
            let (from, to) = (entry(image, table, from)?, entry(image, table, to)?);
            Some(Step::Copy { from, to, len: table.entry_len })
        }
        _ => None,
    });
    // The header is always there.
    found.unwrap_or_else(|| {
        let fields = image.header().fields();
        let choice = usize::try_from(scale.file_len).unwrap_or_default() % fields.len().max(1);
        let (at, width) = fields.get(choice).map_or((0, 4), |(field, _)| (field.offset, field.width));
        Step::Number { at, width, value: Value::Flip(0), scale }
    })
}

/// The step of an edit that needs to know nothing but the size of a cluster.
fn bytes_step(edit: &Edit, scale: Scale) -> Option<Step> {
    match *edit {
        Edit::CopyCluster { from, to } => {
            let (from, to) = (scale.cluster(from), scale.cluster_or_end(to));
            Some(Step::Copy { from, to, len: scale.cluster_size })
        }
        Edit::SwapClusters { a, b } => {
            Some(Step::Swap { a: scale.cluster(a), b: scale.cluster(b), len: scale.cluster_size })
        }
        Edit::Resize { cluster, delta } => {
            let len = scale.cluster_or_end(cluster).saturating_add_signed(delta.into());
            // Many cuts leave nothing of interest: half of them are at the end.
            let at_end = scale.file_len.saturating_add_signed(delta.into());
            Some(Step::Resize { len: if cluster >= 1 << 15 { at_end } else { len }, fill: 0 })
        }
        Edit::Bytes { at, width, value } => {
            let at = u64::from(at) % scale.file_len.max(1);
            Some(Step::Number { at, width: u64::from(width % 8) + 1, value, scale })
        }
        _ => None,
    }
}

/// An entry that points at a cluster.
fn pointer(image: &Bytes<'_>, at: u64, flags: u8) -> u64 {
    let flag = FLAGS.iter().copied().cycle().nth(flags.into()).unwrap_or_default();
    let compressed = flag & 1 << 62 != 0;
    let cluster_bits = image.header().v2.cluster_bits.0;
    let sectors = if compressed { u64::from(flags) >> 4 } else { 0 };
    at | flag | sectors.unbounded_shl(70_u32.saturating_sub(cluster_bits))
}

/// The place of an entry: of one that is not zero for the upper half of `slot`, where there is one.
fn entry(image: &Bytes<'_>, table: Table, slot: u16) -> Option<u64> {
    let count = table.count.min(ENTRIES);
    let choice = u64::from(slot).checked_rem(count)?;
    let used = if slot >= 1 << 15 { used_entry(image, table, slot) } else { None };
    Some(used.unwrap_or(table.at.0.saturating_add(choice * table.entry_len)))
}

fn used_entry(image: &Bytes<'_>, table: Table, slot: u16) -> Option<u64> {
    let span = Span::new(table.at, table.count.min(ENTRIES) * table.entry_len);
    let mut entries = image.entries(words(span));
    let chunk = entries.next()?.ok()?;
    let count = chunk.entries().count();
    let at = chunk.entries().nth(usize::from(slot).checked_rem(count)?)?.at;
    Some(at.0 - (at.0 - table.at.0) % table.entry_len)
}

/// A table of numbers of 64 bits, whatever they are.
fn words(span: Span) -> image::Table {
    image::Table { kind: image::TableKind::Refcounts, span, entry_len: 8 }
}

fn find_table(image: &Bytes<'_>, table: Tables, index: u8) -> Option<Table> {
    let choice = usize::from(index % 64);
    match table {
        Tables::L1 => Some(l1(image.active_l1())),
        Tables::L2 => l2(image, image.active_l1(), choice),
        Tables::SnapshotL1 => Some(l1(snapshot_l1(image, choice)?)),
        Tables::SnapshotL2 => l2(image, snapshot_l1(image, choice)?, choice / 8),
        Tables::RefcountTable => {
            let header = &image.header().v2;
            let count = u64::from(header.refcount_table_clusters)
                .checked_mul(image.geometry()?.cluster_size() / 8)?;
            Some(Table { at: header.refcount_table_offset, count, entry_len: 8 })
        }
        Tables::BitmapTable => {
            let bitmap = choose(image.bitmaps().map_while(Result::ok), choice)?;
            Some(Table { at: bitmap.table().at, count: bitmap.table().len / 8, entry_len: 8 })
        }
    }
}

/// One of the first members of a list.
fn choose<T>(list: impl Iterator<Item = T>, choice: usize) -> Option<T> {
    let mut members: Vec<T> = list.take(MEMBERS).collect();
    let index = choice.checked_rem(members.len())?;
    Some(members.swap_remove(index))
}

fn l1(table: L1Table) -> Table {
    Table { at: table.at, count: table.size.into(), entry_len: 8 }
}

fn snapshot_l1(image: &Bytes<'_>, choice: usize) -> Option<L1Table> {
    Some(choose(image.snapshots().map_while(Result::ok), choice)?.l1())
}

fn l2(image: &Bytes<'_>, table: L1Table, choice: usize) -> Option<Table> {
    let geometry = image.geometry()?;
    let span = Span::new(table.at, u64::from(table.size).min(ENTRIES) * 8);
    let mut entries = image.entries(words(span));
    let chunk = entries.next()?.ok()?;
    let tables = chunk.entries().map(|entry| L1Entry(entry.raw).l2_offset()).filter(|at| at.0 != 0);
    let at = choose(tables, choice)?;
    Some(Table { at, count: geometry.l2_entry_count(), entry_len: geometry.l2_entry_len() })
}

fn find_layout(image: &Bytes<'_>, layout: Layouts, choice: usize) -> Option<(HostOffset, Fields)> {
    match layout {
        Layouts::Header => Some((HostOffset(0), image.header().fields())),
        Layouts::Extension => {
            let extension = choose(image.extensions().map_while(Result::ok), choice)?;
            Some((extension.at, extension.head.fields()))
        }
        Layouts::ExtensionData => {
            let bitmaps = image.bitmaps_extension().map(|(at, extension)| (at, extension.fields()));
            let crypto = image.crypto_extension().map(|(at, extension)| (at, extension.fields()));
            let names = image.feature_names().map(|(at, name)| (at, name.fields()));
            choose(bitmaps.into_iter().chain(crypto).chain(names), choice)
        }
        Layouts::Snapshot => {
            let snapshot = choose(image.snapshots().map_while(Result::ok), choice)?;
            Some((snapshot.at, snapshot.head.fields()))
        }
        Layouts::SnapshotExtra => {
            let snapshot = choose(image.snapshots().map_while(Result::ok), choice)?;
            Some((snapshot.extra_at(), snapshot.extra_fields()))
        }
        Layouts::Bitmap => {
            let bitmap = choose(image.bitmaps().map_while(Result::ok), choice)?;
            Some((bitmap.at, bitmap.head.fields()))
        }
        Layouts::Luks => {
            let luks = image.luks().ok()??;
            let slots = luks.slots.iter().map(|(at, slot)| (*at, slot.fields()));
            let head = (luks.span.at, luks.head.fields());
            choose(std::iter::once(head).chain(slots), choice)
        }
    }
}

/// The refcount of a cluster of the file.
fn refcount(image: &Bytes<'_>, scale: Scale, cluster: u16, value: Value) -> Option<Step> {
    let (geometry, width) = (image.geometry()?, image.refcount_width()?);
    let index = scale.cluster(cluster) / scale.cluster_size;
    let per_block = width.block_entry_count(geometry);
    let table = image.header().v2.refcount_table_offset;
    let mut entries = image.entries(words(Span::new(table.checked_add(index / per_block * 8)?, 8)));
    let entry = entries.next()?.ok()?.entries().next()?;
    let block = RefcountTableEntry(entry.raw).block_offset();
    let at = block.checked_add(width.byte_offset(index % per_block))?.0;
    Some(match width.bits() {
        bits @ 0..8 => {
            let shift = u32::try_from(index % u64::from(8 / bits)).ok()? * bits;
            Step::Bits { at, shift, bits, value, scale }
        }
        bits => Step::Number { at, width: to_u64(usize::try_from(bits / 8).ok()?), value, scale },
    })
}
