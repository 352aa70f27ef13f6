//! The first cluster and the lists: judged, and the clusters counted that they take and lead to.

use std::convert::Infallible;

use super::bitmaps::Bitmaps;
use super::context::Context;
use super::counted::Counted;
use super::lost::Losses;
use super::reporter::Reporter;
use crate::finding::{Finding, Structure};
use crate::format::Layout;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::qemu;
use crate::format::snapshot::{SnapshotExtra, SnapshotHead, extra_field, field};
use crate::image::{DiskTree, L1Table, Part, Section, TableKind, Tables, Walk};
use crate::rules::Judge;
use crate::rules::named::{SNAPSHOT_L1_TOO_LARGE, SNAPSHOT_L1_UNALIGNED};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Image};

/// What the lists lead to.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The bytes of the snapshot table that QEMU counts.
    pub(super) snapshot_table: Span,
    /// The tree of an entry of the snapshot table whose texts are cut by the end of the file: QEMU uses it. Beside it, where
    /// the pointer to its L1 table stands.
    pub(super) cut: Option<(DiskTree, HostOffset)>,
    /// Whether a bitmap's table was left out, because too many lie one over the other.
    pub(super) is_spent: bool,
    /// Clusters of bitmaps that QEMU does not load: it takes them for leaks, but it is known what they were.
    pub(super) unloaded: u64,
    /// What was found in each bitmap.
    pub(super) bitmaps: Bitmaps,
    /// Snapshots that the header claims and that cannot be read.
    pub(super) unread_snapshots: u64,
}

/// Judges the first cluster and the lists, and counts the clusters that they take and lead to.
pub(super) fn count<R: ReadAt>(
    cx: &Context<'_, R>,
    judge: &mut Judge<'_, R>,
    counted: &mut Counted,
    losses: &mut Losses,
    reporter: &mut Reporter<'_>,
) -> Lists {
    let image = cx.image;
    first_cluster(image, judge, reporter);
    let table = snapshots(image, judge, &mut |finding| losses.in_tree(finding), reporter);
    if image.header().has_v3() {
        reporter.qemu.corrupt(table.missing);
    }
    reporter.end_table();
    let others = [cx.references.refcount_table(), cx.references.luks()].into_iter().flatten();
    for reference in [cx.references.snapshot_table(table.span)].into_iter().chain(others) {
        if reference.is_followed {
            counted.claim(cx, reference.span, 1, reporter);
        }
    }
    let unread_snapshots = table.unread;
    let bitmaps = bitmaps(cx, judge, counted, reporter);
    Lists { snapshot_table: table.span, cut: table.cut, unread_snapshots, ..bitmaps }
}

/// Judges the first cluster, and the lists that need no clusters.
pub(super) fn without_tables<R: ReadAt>(
    image: &Image<R>,
    judge: &mut Judge<'_, R>,
    reporter: &mut Reporter<'_>,
) {
    first_cluster(image, judge, reporter);
    snapshots(image, judge, &mut |_| {}, reporter);
    judge_sections(image, &[Section::Bitmaps], judge, reporter);
    judge.finish(&mut reporter.found);
    reporter.hand_on_each();
}

fn first_cluster<R: ReadAt>(image: &Image<R>, judge: &mut Judge<'_, R>, reporter: &mut Reporter<'_>) {
    judge_sections(image, &[Section::Header, Section::Extensions, Section::Luks], judge, reporter);
}

/// Judges lists whose references are not counted, or whose tables cannot be found.
pub(super) fn judge_sections<R: ReadAt>(
    image: &Image<R>,
    sections: &[Section],
    judge: &mut Judge<'_, R>,
    reporter: &mut Reporter<'_>,
) {
    let mut walk = Walk::new(image, Tables::Again(image.limits().odd_tables));
    for section in sections {
        let Ok(()) = walk.section(*section, &mut |part| -> Result<(), Infallible> {
            judge.part(&part, &mut reporter.found);
            match part {
                Part::Entry(..) => reporter.keep_few(),
                Part::TableEnd(..) => reporter.end_table(),
                _ => reporter.hand_on_each(),
            }
            Ok(())
        });
    }
}

/// What the snapshot table takes.
struct SnapshotTable {
    /// The bytes that QEMU counts for it.
    span: Span,
    /// Entries behind the end of the file, which QEMU reads as zeros.
    missing: u64,
    /// See [`Lists::unread_snapshots`].
    unread: u64,
    /// See [`Lists`].
    cut: Option<(DiskTree, HostOffset)>,
}

fn snapshots<R: ReadAt>(
    image: &Image<R>,
    judge: &mut Judge<'_, R>,
    lost: &mut dyn FnMut(&Finding),
    reporter: &mut Reporter<'_>,
) -> SnapshotTable {
    let (mut fault, at) = (None, image.header().v2.snapshots_offset);
    let (mut end, mut index) = (at, 0_u64);
    let mut walk = Walk::new(image, Tables::Unread);
    let mut out = Vec::new();
    let Ok(()) = walk.section(Section::Snapshots, &mut |part| -> Result<(), Infallible> {
        judge.part(&part, &mut out);
        let has_unaligned = out.iter().any(|finding| *finding.rule == SNAPSHOT_L1_UNALIGNED);
        // Of a table on no boundary QEMU does not look at the length.
        let counted = out.iter().filter(|finding| {
            finding.rule.attributes.counted_one_by_one
                && !(has_unaligned && *finding.rule == SNAPSHOT_L1_TOO_LARGE)
        });
        reporter.qemu.corrupt(to_u64(counted.count()));
        out.iter().for_each(&mut *lost);
        reporter.found.append(&mut out);
        match part {
            Part::Snapshot(snapshot) => {
                (end, index) = (snapshot.padding_at(), index.saturating_add(1));
                reporter.keep_few();
            }
            Part::End(_, ended_by) => {
                fault = ended_by;
                fault.into_iter().for_each(|fault| _ = reporter.is_new(fault));
            }
            _ => {}
        }
        Ok(())
    });
    let all = u64::from(image.header().v2.nb_snapshots);
    let unread = all.saturating_sub(index);
    let mut table = SnapshotTable { span: Span::new(at, 0), missing: 0, unread, cut: None };
    // QEMU refuses an image with more, and counts nothing.
    if let (Some(Error::Cut { .. }), true) = (fault, all <= qemu::MAX_SNAPSHOTS.into()) {
        let start = end.saturating_add(end.0.wrapping_neg() & 7);
        let mut chunks = image.chunks("a snapshot", Span::new(start, SnapshotHead::LEN + SnapshotExtra::LEN));
        let bytes = match chunks.next() {
            Some(Ok(chunk)) => chunk.bytes,
            Some(Err(error)) => {
                reporter.stop(error, Structure::Snapshot);
                &[]
            }
            None => &[],
        };
        let head = SnapshotHead::decode_zero_filled(bytes).unwrap_or_default();
        let is_unused = image.geometry().is_none_or(|geometry| {
            !head.l1_table_offset.is_aligned(geometry.cluster_size()) || head.l1_size > qemu::MAX_L1_ENTRIES
        });
        reporter.qemu.corrupt(is_unused.into());
        let extra = bytes.get(to_usize(SnapshotHead::LEN)..).and_then(SnapshotExtra::decode_zero_filled);
        let has_disk_size = u64::from(head.extra_data_size) >= extra_field::DISK_SIZE.end();
        let disk_size = extra.filter(|_| has_disk_size).map(|extra| extra.disk_size.0);
        table.missing = all.saturating_sub(index).saturating_sub(has_disk_size.into());
        let tree = Tree::Snapshot(u32::try_from(index).unwrap_or(u32::MAX));
        let l1 = L1Table { tree, at: head.l1_table_offset, size: head.l1_size };
        let disk_size = disk_size.unwrap_or(image.header().v2.size.0);
        table.cut = Some((DiskTree { l1, disk_size }, field::L1_TABLE_OFFSET.at(start).at));
        let further = all.saturating_sub(index).saturating_sub(1);
        let entry_end = start.saturating_add(head.entry_len());
        end = match further {
            0 => entry_end,
            _ => HostOffset(entry_end.0.saturating_add(7) & !7)
                .saturating_add(further.saturating_mul(SnapshotHead::LEN)),
        };
    }
    table.span.len = end.0.saturating_sub(at.0);
    table
}

/// Judges and counts the bitmaps.
fn bitmaps<R: ReadAt>(
    cx: &Context<'_, R>,
    judge: &mut Judge<'_, R>,
    counted: &mut Counted,
    reporter: &mut Reporter<'_>,
) -> Lists {
    let image = cx.image;
    let directory = cx.references.bitmap_directory();
    // What QEMU does not load it does not count either: those clusters are leaked.
    let is_counted = directory.as_ref().is_some_and(|directory| directory.is_followed);
    let mut unloaded = 0_u64;
    let mut take = |span: Span, reporter: &mut Reporter<'_>| {
        if is_counted {
            counted.claim(cx, span, 1, reporter);
        } else {
            unloaded = unloaded.saturating_add(cx.geometry.clusters_for(span.len));
        }
    };
    if let Some(directory) = directory {
        take(directory.span, reporter);
    }
    let mut walk = Walk::new(image, Tables::Again(image.limits().odd_tables));
    let (mut is_broken, mut at_hand, mut bitmaps) = (false, None, Bitmaps::default());
    let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
        let before = reporter.found.len();
        judge.part(&part, &mut reporter.found);
        match part {
            Part::Bitmap(bitmap) => at_hand = Some(bitmap.index),
            Part::End(..) => at_hand = None,
            _ => {}
        }
        if let Some(index) = at_hand {
            bitmaps.take(index, reporter.found.get(before..).unwrap_or_default());
        }
        match part {
            Part::Table(table) => {
                reporter.hand_on_each();
                is_broken = false;
                take(table.span, reporter);
            }
            Part::Entry(_, entry) => {
                reporter.keep_few();
                match data_of(cx, BitmapTableEntry(entry.raw)) {
                    Ok(Some(data)) => take(data, reporter),
                    Ok(None) => {}
                    Err(Broken) => is_broken = true,
                }
            }
            Part::TableEnd(table, _) => {
                reporter.end_table();
                // QEMU's check reads the table of a bitmap in use too, and gives up where an entry is broken.
                let in_use = matches!(table.kind, TableKind::Bitmap { in_use: true, .. });
                if is_broken && is_counted && in_use {
                    reporter.qemu.check_errors = reporter.qemu.check_errors.saturating_add(1);
                }
            }
            _ => reporter.hand_on_each(),
        }
        Ok(())
    });
    Lists { is_spent: walk.is_spent, unloaded, bitmaps, ..Lists::default() }
}

/// An entry that QEMU does not take.
struct Broken;

/// The cluster of data that an entry of a bitmap table leads to, if it leads to one.
fn data_of<R: ReadAt>(cx: &Context<'_, R>, entry: BitmapTableEntry) -> Result<Option<Span>, Broken> {
    let is_good = entry.reserved() == 0 && !entry.is_ambiguous();
    match entry.data() {
        BitmapData::Serialized(data) if is_good && data.is_aligned(cx.geometry.cluster_size()) => {
            Ok(Some(cx.geometry.cluster_at(data)))
        }
        BitmapData::Zeroes | BitmapData::Ones if is_good => Ok(None),
        _ => Err(Broken),
    }
}
