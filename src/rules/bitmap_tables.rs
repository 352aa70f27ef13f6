//! Bitmap tables and the bits themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::bitmaps::{BitmapRules, is_in_use};
use super::{ends_past_file, is_cut};
use crate::finding::{Evidence, Finding, Rule, Severity, Structure, rules};
use crate::format::bitmap::{BitmapData, BitmapHead, BitmapTableEntry, field};
use crate::format::qemu;
use crate::image::{Bitmap, Table};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};
use crate::{Error, Image};

rules! {
    BITMAP_TABLE_OFFSET_INVALID: B04 "bitmap-table-offset-invalid" Fatal Must {
        title: "a bitmap's bitmap_table_offset must be a multiple of the cluster size, not 0, and inside the \
            file",
        why: "the bitmap's contents are read from another structure, or read as clean",
        advice: "do not base a backup on it; drop it in a copy",
        spec: "Bitmap directory",
        fields: [Bitmap.BITMAP_TABLE_OFFSET],
        qemu: Varies Varies "0 or unaligned: 'Bitmap 'N' doesn't satisfy the constraints'. Behind the end it \
            opens, with all bits 0; check then counts a region past the end and leaks, but nothing for a \
            small table less than a cluster behind it",
    }
    BITMAP_TABLE_SIZE_INVALID: B05 "bitmap-table-size-invalid" Fatal Qemu {
        title: "a bitmap table must have from 1 to 134,217,728 entries, and the bitmap at most 512 MiB, for \
            QEMU to open the image",
        why: "QEMU loads a bitmap into memory, and refuses what would take more",
        advice: "coarser granularity makes it smaller: drop it, and make a new one with a larger granularity",
        spec: "QEMU block/qcow2-bitmap.c, BME_MAX_TABLE_SIZE and BME_MAX_PHYS_SIZE",
        fields: [Bitmap.BITMAP_TABLE_SIZE],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    BITMAP_ENTRY_RESERVED_BITS: B14 "bitmap-entry-reserved-bits" Fatal Must {
        title: "the reserved bits 1 to 8 and 56 to 63 of a bitmap table entry must be zero",
        why: "a reader that does not mask the bits looks for the bitmap elsewhere, and QEMU refuses the image",
        advice: "drop the bitmap in a copy: what it marked is not sure any more",
        spec: "Bitmap table",
        fields: [BitmapTable.ENTRY],
        qemu: Varies Varies "'Could not read bitmap_table table from image for bitmap 'N': Invalid \
            argument'. In a bitmap marked in_use it opens, and check ends with 'Check failed: Invalid \
            argument', exit 1",
    }
    BITMAP_ENTRY_FLAG_WITH_OFFSET: B15 "bitmap-entry-flag-with-offset" Fatal Must {
        title: "bit 0 of a bitmap table entry must be zero where the entry has a cluster",
        why: "all ones and a cluster of data are said at once",
        advice: "take the range as dirty, and back it up in full",
        spec: "Bitmap table",
        fields: [BitmapTable.ENTRY],
        qemu: Varies Varies "'Could not read bitmap_table table from image for bitmap 'N': Invalid \
            argument'. In a bitmap marked in_use it opens, and check ends with 'Check failed: Invalid \
            argument', exit 1",
    }
    BITMAP_DATA_OFFSET_INVALID: B16 "bitmap-data-offset-invalid" Fatal Must {
        title: "a cluster of bitmap data must start on a cluster boundary and lie inside the file",
        why: "the bitmap's bits are other data, or zeros: changes are missed",
        advice: "do not use it for a backup; a cut file is the usual reason",
        spec: "Bitmap table",
        fields: [BitmapTable.ENTRY],
        qemu: Varies Varies "unaligned: 'Could not read bitmap_table table from image for bitmap 'N': \
            Invalid argument'. Behind the end: reads as zeros, and check counts a corruption from a cluster \
            on",
    }
    BITMAP_TABLE_SIZE_MISMATCH: B17 "bitmap-table-size-mismatch" Fatal Must {
        title: "a bitmap table must have as many entries as the disk's size and the granularity call for",
        why: "bits are missing for a part of the disk, or speak of more: the disk was resized without the bitmap",
        advice: "drop the bitmap, and make a full backup of the new size",
        spec: "Bitmaps",
        fields: [Bitmap.BITMAP_TABLE_SIZE, Bitmap.GRANULARITY_BITS],
        qemu: Refused Refused "'Could not read bitmap 'N' from image: Invalid argument', or 'doesn't satisfy \
            the constraints'; a bitmap marked in_use may have any size",
    }
    BITMAP_TAIL_BITS: B18 "bitmap-tail-bits" Warning Must {
        title: "the bits of a bitmap behind the end of the disk must be zero",
        why: "readers that count them see changes behind the end of the disk",
        advice: "nothing is missed; drop the bitmap if a tool refuses it",
        spec: "Bitmap data",
        fields: [],
        qemu: Silently Silently "not looked at",
        risk: HiddenBytes,
    }
}

impl BitmapRules {
    pub(super) fn table(&self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let Some(geometry) = self.geometry else { return };
        let head = &bitmap.head;
        let size = u64::from(head.bitmap_table_size);
        let wanted_size = head.table_size_for(self.disk_len, geometry);
        let max_size = qemu::MAX_BITMAP_TABLE_ENTRIES
            .min(qemu::MAX_BITMAP_DATA_LEN.unbounded_shr(geometry.cluster_bits()));
        if size == 0 || size > max_size {
            let finding = self.field(
                bitmap,
                &BITMAP_TABLE_SIZE_INVALID,
                field::BITMAP_TABLE_SIZE,
                size,
                format!("1 to {max_size}"),
            );
            // Without entries, a bitmap of a disk that has any bytes breaks the specification too.
            let is_legal = size != 0 || wanted_size == Some(0);
            out.push(if is_legal { finding.only_qemu() } else { finding });
        }
        if let Some(wanted) = wanted_size.filter(|wanted| size != 0 && size != *wanted) {
            let finding =
                self.field(bitmap, &BITMAP_TABLE_SIZE_MISMATCH, field::BITMAP_TABLE_SIZE, size, wanted);
            out.push(if is_in_use(bitmap) { finding.at_most(Severity::Note) } else { finding });
        }
        self.table_offset(bitmap, geometry, size <= max_size, out);
    }

    fn table_offset(&self, bitmap: &Bitmap, geometry: Geometry, is_size_known: bool, out: &mut Vec<Finding>) {
        let offset = bitmap.head.bitmap_table_offset;
        let finding = |wanted: String| {
            self.field(
                bitmap,
                &BITMAP_TABLE_OFFSET_INVALID,
                field::BITMAP_TABLE_OFFSET,
                Evidence::Hex(offset.0),
                wanted,
            )
        };
        if offset.0 == 0 || !offset.is_aligned(geometry.cluster_size()) {
            out.push(finding(format!("a multiple of {:#x} and not 0", geometry.cluster_size())));
        }
        // Of a length that is wrong, only the start can tell.
        let span = if is_size_known { bitmap.table() } else { Span::new(offset, 8) };
        let inside = || format!("inside the {:#x} bytes of the file", self.file_len);
        if i64::try_from(span.end().0).is_err() {
            // QEMU's offsets are signed: such a table it cannot even try to read.
            out.push(finding(inside()));
        } else if is_cut(self.file_len, span) || ends_past_file(self.file_len, span, geometry) {
            // What is missing reads as zeros: dirty bits are lost in silence.
            out.push(finding(inside()).at_most(Severity::Corruption));
        }
    }

    /// Judges the entry with this index of a bitmap's table, which stands at `at`. `in_use`: the bitmap was not saved.
    pub(super) fn table_entry(
        &self,
        in_use: bool,
        index: u64,
        at: HostOffset,
        entry: BitmapTableEntry,
        out: &mut Vec<Finding>,
    ) {
        let Some(geometry) = self.geometry.filter(|_| entry.0 != 0) else { return };
        // QEMU does not read the table of a bitmap that is in use, but its check does.
        let highest = if in_use { Severity::Corruption } else { Severity::Fatal };
        let finding = |rule: &'static Rule, wanted: String| {
            let found = Evidence::Hex(entry.0);
            let finding = Finding::new(rule, Structure::BitmapTable, Span::new(at, 8), found, wanted);
            self.judged(finding).at_most(highest)
        };
        if entry.reserved() != 0 {
            out.push(finding(
                &BITMAP_ENTRY_RESERVED_BITS,
                format!("zero in the bits {:#x}", entry.reserved()),
            ));
        }
        if entry.is_ambiguous() {
            out.push(finding(
                &BITMAP_ENTRY_FLAG_WITH_OFFSET,
                "zero in the bits 0x1, or no offset".to_owned(),
            ));
        }
        let BitmapData::Serialized(data) = entry.data() else { return };
        let cluster_size = geometry.cluster_size();
        if !data.is_aligned(cluster_size) {
            out.push(finding(
                &BITMAP_DATA_OFFSET_INVALID,
                format!("an offset that is a multiple of {cluster_size:#x}"),
            ));
        }
        if is_cut(self.file_len, geometry.cluster_at(data)) {
            let wanted = format!("inside the {:#x} bytes of the file, for entry {index}", self.file_len);
            out.push(finding(&BITMAP_DATA_OFFSET_INVALID, wanted).at_most(Severity::Corruption));
        }
    }
}

/// The ends of bitmaps that were looked at, so that bitmaps which share their data cost no more than one.
#[derive(Clone, Debug, Default)]
pub(super) struct Tails(HashMap<(HostOffset, u64), Option<(HostOffset, u8)>>);

impl Tails {
    /// B18: whether the bits behind the end of the disk are zero, in the cluster of the bitmap's data that holds
    /// the last bit of the disk. A table of another length than the disk calls for is B17.
    ///
    /// # Errors
    /// Where the bytes could not be read.
    pub(super) fn check<R: ReadAt>(
        &mut self,
        image: &Image<R>,
        (head, table): (&BitmapHead, &Table),
        out: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let Some(tail) = Tail::of(image, head, *table) else { return Ok(()) };
        let Some(cluster) = tail.cluster(image)? else { return Ok(()) };
        let stray = match self.0.entry((cluster, tail.bit)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => *place.insert(tail.stray_bits(image, cluster)?),
        };
        if let Some((at, byte)) = stray {
            let first = at == cluster.saturating_add(tail.bit / 8);
            let wanted =
                format!("zero in the bits {:#x}", if first { tail.first_byte_mask() } else { u8::MAX });
            out.push(Finding::new(
                &BITMAP_TAIL_BITS,
                Structure::Bitmap,
                Span::new(at, 1),
                Evidence::Hex(byte.into()),
                wanted,
            ));
        }
        Ok(())
    }
}

/// The first bit behind the end of the disk.
struct Tail {
    /// The table, and the index of the entry of its cluster.
    table: Table,
    index: u64,
    /// Its place in that cluster.
    bit: u64,
    cluster_size: u64,
}

impl Tail {
    /// `None` where the disk's bits fill the last cluster, or where the table is not as long as they call for.
    fn of<R: ReadAt>(image: &Image<R>, head: &BitmapHead, table: Table) -> Option<Self> {
        let geometry = image.geometry()?;
        let wanted = head.table_size_for(image.disk_len(), geometry)?;
        if u64::from(head.bitmap_table_size) != wanted {
            return None;
        }
        let cluster_size = geometry.cluster_size();
        let (bit, per_cluster) = (head.bit_count_for(image.disk_len())?, cluster_size.saturating_mul(8));
        let (index, bit) = (bit.checked_div(per_cluster)?, bit.checked_rem(per_cluster)?);
        (index < wanted).then_some(Self { table, index, bit, cluster_size })
    }

    /// The cluster of data that it is in, where there is one.
    fn cluster<R: ReadAt>(&self, image: &Image<R>) -> Result<Option<HostOffset>, Error> {
        let entry = image.entry(&self.table, self.index)?;
        Ok(match BitmapTableEntry(entry.raw).data() {
            BitmapData::Serialized(cluster) if cluster.is_aligned(self.cluster_size) => Some(cluster),
            _ => None,
        })
    }

    /// The first byte there with a bit set behind the end of the disk.
    fn stray_bits<R: ReadAt>(
        &self,
        image: &Image<R>,
        cluster: HostOffset,
    ) -> Result<Option<(HostOffset, u8)>, Error> {
        let byte = self.bit / 8;
        let rest = Span::new(cluster.saturating_add(byte), self.cluster_size.saturating_sub(byte));
        let mut mask = self.first_byte_mask();
        let mut chunks = image.chunks("a bitmap's last cluster", rest);
        while let Some(chunk) = chunks.next().transpose()? {
            for (offset, byte) in (0_u64..).zip(chunk.bytes) {
                if byte & std::mem::replace(&mut mask, u8::MAX) != 0 {
                    return Ok(Some((chunk.at.saturating_add(offset), *byte)));
                }
            }
        }
        Ok(None)
    }

    /// Which bits of the first byte are behind the end.
    fn first_byte_mask(&self) -> u8 {
        u8::MAX.unbounded_shl(u32::try_from(self.bit % 8).unwrap_or_default())
    }
}
