//! The structures beside the tables: their own rules, and the clusters that they take.

use std::convert::Infallible;

use super::{CheckOptions, Engine, Totals};
use crate::finding::{Finding, Structure};
use crate::format::Layout;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::header::CRYPT_LUKS;
use crate::format::snapshot::{SnapshotExtra, SnapshotHead};
use crate::image::{DiskTree, L1Table, Part, Section, TableKind, Tables, Walk};
use crate::rules::codes::{S01, S04, S05, S06, S13};
use crate::rules::{Judge, check_refcount_table_cover, stopped};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Image};

/// QEMU refuses an image with more (block/qcow2.h, `QCOW_MAX_SNAPSHOTS`), and counts nothing.
const QEMU_MAX_SNAPSHOTS: u64 = 65_536;

/// The rules of the first cluster, and of the lists that need no clusters.
pub(super) fn without_tables<R: ReadAt>(image: &Image<R>, options: &CheckOptions, totals: &mut Totals<'_>) {
    let mut judge = Judge::new(image, options.now);
    first_cluster(image, &mut judge, totals);
    snapshots(image, &mut judge, &mut |found| found.drain(..).for_each(|finding| totals.push(finding)));
}

fn first_cluster<R: ReadAt>(image: &Image<R>, judge: &mut Judge<'_, R>, totals: &mut Totals<'_>) {
    let mut walk = Walk::new(image, Tables::Unread);
    let mut out = Vec::new();
    for section in [Section::Header, Section::Extensions, Section::Luks] {
        let Ok(()) = walk.section(section, &mut |part| -> Result<(), Infallible> {
            judge.part(&part, &mut out);
            out.drain(..).for_each(|finding| totals.push(finding));
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
    /// The L1 table of an entry whose texts are cut by the end of the file: QEMU uses it.
    cut: Option<DiskTree>,
}

/// The rules of the snapshot table. `take` empties what was found, entry by entry.
fn snapshots<R: ReadAt>(
    image: &Image<R>,
    judge: &mut Judge<'_, R>,
    take: &mut dyn FnMut(&mut Vec<Finding>),
) -> SnapshotTable {
    let mut out = Vec::new();
    let (mut fault, at) = (None, image.header().v2.snapshots_offset);
    let (mut end, mut index) = (at, 0_u64);
    let mut walk = Walk::new(image, Tables::Unread);
    let Ok(()) = walk.section(Section::Snapshots, &mut |part| -> Result<(), Infallible> {
        judge.part(&part, &mut out);
        match part {
            Part::Snapshot(snapshot) => {
                (end, index) = (snapshot.padding_at(), index.saturating_add(1));
                take(&mut out);
            }
            Part::End(_, ended_by) => fault = ended_by,
            _ => {}
        }
        Ok(())
    });
    let mut table = SnapshotTable { span: Span::new(at, 0), missing: 0, cut: None };
    let all = u64::from(image.header().v2.nb_snapshots);
    if let (Some(Error::Cut { .. }), true) = (fault, all <= QEMU_MAX_SNAPSHOTS) {
        let start = end.saturating_add(end.0.wrapping_neg() & 7);
        let mut chunks = image.chunks("a snapshot", Span::new(start, SnapshotHead::LEN + SnapshotExtra::LEN));
        let bytes = match chunks.next() {
            Some(Ok(chunk)) => chunk.bytes,
            Some(Err(error)) => {
                out.push(stopped(error, Structure::Snapshot, &S01));
                &[]
            }
            None => &[],
        };
        let head = SnapshotHead::decode_zero_filled(bytes).unwrap_or_default();
        let extra = bytes.get(to_usize(SnapshotHead::LEN)..).and_then(SnapshotExtra::decode_zero_filled);
        let disk_size = extra.filter(|_| head.extra_data_size >= 16).map(|extra| extra.disk_size.0);
        table.missing = all.saturating_sub(index).saturating_sub(u64::from(head.extra_data_size >= 16));
        table.cut = Some(DiskTree {
            l1: L1Table {
                tree: Tree::Snapshot(u32::try_from(index).unwrap_or(u32::MAX)),
                at: head.l1_table_offset,
                size: head.l1_size,
            },
            disk_size: disk_size.unwrap_or(image.header().v2.size.0),
        });
        let further = all.saturating_sub(index).saturating_sub(1);
        let entry_end = start.saturating_add(head.entry_len());
        end = match further {
            0 => entry_end,
            _ => HostOffset(entry_end.0.saturating_add(7) & !7)
                .saturating_add(further.saturating_mul(SnapshotHead::LEN)),
        };
    }
    take(&mut out);
    table.span.len = end.0.saturating_sub(at.0);
    table
}

impl<R: ReadAt> Engine<'_, '_, R> {
    pub(super) fn structures(&mut self) {
        let image = self.image;
        first_cluster(image, &mut self.judge, &mut self.totals);
        check_refcount_table_cover(image, &mut self.found);
        let is_counted = |finding: &&Finding| [&S04, &S05, &S06, &S13].contains(&finding.rule);
        let mut judge = Judge::new(image, self.options.now);
        let table = snapshots(image, &mut judge, &mut |found| {
            let counted = found.iter().filter(is_counted).count();
            self.totals.qemu.corrupt(to_u64(counted));
            self.found.append(found);
            self.thin_out();
        });
        if image.header().has_v3() {
            self.totals.qemu.corrupt(table.missing);
        }
        self.settle_grouped();
        self.claim(table.span, 1);
        self.tables.cut = table.cut;
        self.snapshot_table = table.span;
        if let Some(table) = image.refcount_table() {
            self.claim(table.span, 1);
        }
        if let Some((_, extension)) = image.crypto_extension()
            && image.header().v2.crypt_method == CRYPT_LUKS
        {
            self.claim(Span::new(extension.offset, extension.length), 1);
        }
        self.bitmaps();
    }

    fn bitmaps(&mut self) {
        let image = self.image;
        // What QEMU does not load it does not count either: those clusters are leaked.
        let is_counted = image.header().has_v3() && image.bitmaps_are_loaded();
        if let Some(directory) = image.bitmap_directory().filter(|_| is_counted) {
            self.claim(directory, 1);
        }
        let mut judge = Judge::new(image, self.options.now);
        let mut walk = Walk::new(image, Tables::Again(image.limits().odd_tables));
        let mut is_broken = false;
        let Ok(()) = walk.section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            judge.part(&part, &mut self.found);
            match part {
                Part::Table(table) => {
                    self.settle();
                    is_broken = false;
                    if is_counted {
                        self.claim(table.span, 1);
                    }
                }
                Part::Entry(_, entry) => {
                    self.thin_out();
                    is_broken |= !self.bitmap_entry(BitmapTableEntry(entry.raw), is_counted);
                }
                Part::TableEnd(table, _) => {
                    self.settle_grouped();
                    // QEMU's check reads the table of a bitmap in use too, and gives up where an entry is broken.
                    let in_use = matches!(table.kind, TableKind::Bitmap { in_use: true, .. });
                    if is_broken && is_counted && in_use {
                        self.totals.qemu.check_errors = self.totals.qemu.check_errors.saturating_add(1);
                    }
                }
                _ => self.settle(),
            }
            Ok(())
        });
        self.odd.is_spent |= walk.is_spent;
    }

    /// Counts what an entry of a bitmap table refers to; `false` where the entry is broken.
    fn bitmap_entry(&mut self, entry: BitmapTableEntry, is_counted: bool) -> bool {
        let BitmapData::Serialized(data) = entry.data() else { return entry.reserved() == 0 };
        let cluster_size = self.geometry.cluster_size();
        let is_good = entry.reserved() == 0 && !entry.is_ambiguous() && data.is_aligned(cluster_size);
        if is_good && is_counted {
            self.claim(Span::new(data, cluster_size), 1);
        }
        is_good
    }
}
