//! The structures beside the tables: their own rules, and the clusters that they take.

use super::{CheckOptions, Engine, Totals};
use crate::finding::{Finding, Structure};
use crate::format::bitmap::{BitmapData, BitmapFlags, BitmapTableEntry};
use crate::format::header::CRYPT_LUKS;
use crate::format::snapshot::{SnapshotExtra, SnapshotHead};
use crate::format::{Layout, qemu};
use crate::image::{Bitmap, DiskTree, L1Table};
use crate::rules::codes::{B04, B18, E13, H43, S01};
use crate::rules::{
    BitmapRules, ExtensionRules, SnapshotRules, check_backing_file, check_bitmap_tail, check_header,
    check_header_gap, check_luks, check_refcount_table_cover, stopped,
};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Image};

/// The rules of the first cluster, and of the lists that need no clusters.
pub(super) fn without_tables<R: ReadAt>(image: &Image<R>, options: &CheckOptions, totals: &mut Totals<'_>) {
    first_cluster(image, totals);
    snapshots(image, options, &mut |found| found.drain(..).for_each(|finding| totals.push(finding)));
}

fn first_cluster<R: ReadAt>(image: &Image<R>, totals: &mut Totals<'_>) {
    let mut out = Vec::new();
    check_header(image, &mut out);
    check_backing_file(image, &mut out);
    let mut rules = ExtensionRules::new(image);
    let mut fault = None;
    for extension in image.extensions() {
        match extension {
            Ok(extension) => {
                rules.extension(&extension, &mut out);
                for (at, row) in extension.feature_names() {
                    rules.feature_name(at, &row, &mut out);
                    out.drain(..).for_each(|finding| totals.push(finding));
                }
            }
            Err(error) => fault = Some(error),
        }
        out.drain(..).for_each(|finding| totals.push(finding));
    }
    rules.finish(fault, &mut out);
    out.drain(..).for_each(|finding| totals.push(finding));
    if let Err(error) = check_header_gap(image, &mut out) {
        totals.stop(error, Structure::Header, &H43);
    }
    match image.luks() {
        Ok(Some(luks)) => {
            if let Err(error) = check_luks(image, &luks, &mut out) {
                totals.stop(error, Structure::Luks, &E13);
            }
        }
        Ok(None) => {}
        Err(error) => totals.stop(error, Structure::Luks, &E13),
    }
    out.drain(..).for_each(|finding| totals.push(finding));
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
    options: &CheckOptions,
    take: &mut dyn FnMut(&mut Vec<Finding>),
) -> SnapshotTable {
    let mut rules = SnapshotRules::new(image, options.now);
    let mut out = Vec::new();
    let (mut fault, at) = (None, image.header().v2.snapshots_offset);
    let (mut end, mut index) = (at, 0_u64);
    for snapshot in image.snapshots() {
        match snapshot {
            Ok(snapshot) => {
                index = index.saturating_add(1);
                end = snapshot.padding_at();
                rules.snapshot(&snapshot, &mut out);
                take(&mut out);
            }
            Err(error) => fault = Some(error),
        }
    }
    rules.finish(fault, &mut out);
    let mut table = SnapshotTable { span: Span::new(at, 0), missing: 0, cut: None };
    let all = u64::from(image.header().v2.nb_snapshots);
    // QEMU refuses an image with more, and counts nothing.
    if let (Some(Error::Cut { .. }), true) = (fault, all <= qemu::MAX_SNAPSHOTS.into()) {
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
        first_cluster(image, &mut self.totals);
        check_refcount_table_cover(image, &mut self.found);
        let is_counted = |finding: &&Finding| finding.rule.attributes.counted_one_by_one;
        let options = self.options;
        let table = snapshots(image, &options, &mut |found| {
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
            self.claim(table, 1);
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
        let mut rules = BitmapRules::new(image);
        // What a broken refcount table takes for blocks says nothing of these tables.
        self.odd.start_again();
        let Some(directory) = image.bitmap_directory() else { return };
        // What QEMU does not load it does not count either: those clusters are leaked.
        let is_counted = image.header().has_v3() && image.bitmaps_are_loaded();
        if is_counted {
            self.claim(directory, 1);
        }
        let mut fault = None;
        for bitmap in image.bitmaps() {
            match bitmap {
                Ok(bitmap) => {
                    rules.bitmap(&bitmap, &mut self.found);
                    let is_new = self.reads_bitmap_table(&bitmap);
                    if is_new && let Err(error) = check_bitmap_tail(image, &bitmap, &mut self.found) {
                        self.totals.stop(error, Structure::BitmapTable, &B18);
                    }
                    self.settle();
                    if is_new {
                        self.bitmap_table(&rules, &bitmap, is_counted);
                    }
                }
                Err(error) => fault = Some(error),
            }
        }
        rules.finish(fault, &mut self.found);
        self.settle();
    }

    /// Whether a bitmap's table is to be read. The header is none; and those of a hostile directory may all be one, or
    /// lie one over the other.
    pub(super) fn reads_bitmap_table(&mut self, bitmap: &Bitmap) -> bool {
        let table = bitmap.table();
        let in_file = table.len.min(self.image.file_len().saturating_sub(table.at.0));
        table.at.0 != 0 && self.odd.is_new(Span::new(table.at, in_file))
    }

    fn bitmap_table(&mut self, rules: &BitmapRules, bitmap: &Bitmap, is_counted: bool) {
        let table = bitmap.table();
        if is_counted {
            self.claim(table, 1);
        }
        let mut chunks = self.image.chunks("a bitmap table", table);
        let (mut index, mut is_broken) = (0_u64, false);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return self.totals.stop(error, Structure::BitmapTable, &B04),
            };
            for (at, raw) in chunk.entries() {
                let entry = BitmapTableEntry(raw);
                rules.table_entry(bitmap, index, at, entry, &mut self.found);
                self.thin_out();
                index = index.saturating_add(1);
                let cluster_size = self.geometry.cluster_size();
                is_broken |= entry.reserved() != 0 || entry.is_ambiguous();
                let BitmapData::Serialized(data) = entry.data() else { continue };
                is_broken |= !data.is_aligned(cluster_size);
                let is_good = entry.reserved() == 0 && !entry.is_ambiguous() && data.is_aligned(cluster_size);
                if is_good && is_counted {
                    self.claim(Span::new(data, cluster_size), 1);
                }
            }
            self.settle_grouped();
        }
        // QEMU's check reads the table of a bitmap in use too, and gives up where an entry is broken.
        if is_broken && is_counted && bitmap.head.flags.has(BitmapFlags::IN_USE) {
            self.totals.qemu.check_errors = self.totals.qemu.check_errors.saturating_add(1);
        }
    }
}
