//! Bitmap tables and the bits themselves: B14 to B16, B18.

use super::bitmaps::{BitmapRules, is_in_use};
use super::is_cut;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::image::Bitmap;
use crate::rules::codes::{B14, B15, B16, B18};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Error, Image};

impl BitmapRules {
    /// Judges the entry with this index of a bitmap's table, which stands at `at`.
    pub fn table_entry(
        &self,
        bitmap: &Bitmap,
        index: u64,
        at: HostOffset,
        entry: BitmapTableEntry,
        out: &mut Vec<Finding>,
    ) {
        let Some(geometry) = self.geometry.filter(|_| entry.0 != 0) else { return };
        // QEMU does not read the table of a bitmap that is in use, but its check does.
        let highest = if is_in_use(bitmap) { Severity::Corruption } else { Severity::Fatal };
        let finding = |rule: &'static Rule, wanted: String| {
            let found = Evidence::Hex(entry.0);
            let finding = Finding::new(rule, Structure::BitmapTable, Span::new(at, 8), found, wanted);
            self.judged(finding).at_most(highest)
        };
        if entry.reserved() != 0 {
            out.push(finding(&B14, format!("zero in the bits {:#x}", entry.reserved())));
        }
        if entry.is_ambiguous() {
            out.push(finding(&B15, "zero in the bits 0x1, or no offset".to_owned()));
        }
        let BitmapData::Serialized(data) = entry.data() else { return };
        let cluster_size = geometry.cluster_size();
        if !data.is_aligned(cluster_size) {
            out.push(finding(&B16, format!("an offset that is a multiple of {cluster_size:#x}")));
        }
        if is_cut(self.file_len, Span::new(data, cluster_size)) {
            let wanted = format!("inside the {:#x} bytes of the file, for entry {index}", self.file_len);
            out.push(finding(&B16, wanted).at_most(Severity::Corruption));
        }
    }
}

/// B18: whether the bits behind the end of the disk are zero, in the cluster of the bitmap's data that holds
/// the last bit of the disk. A table of another length than the disk calls for is B17.
///
/// # Errors
/// Where the bytes could not be read.
pub fn check_bitmap_tail<R: ReadAt>(
    image: &Image<R>,
    bitmap: &Bitmap,
    out: &mut Vec<Finding>,
) -> Result<(), Error> {
    let Some(tail) = Tail::of(image, bitmap) else { return Ok(()) };
    let mut table = image.chunks("a bitmap table", Span::new(tail.entry_at, 8));
    let entry = table.next().transpose()?.and_then(|chunk| chunk.entries().next());
    let Some(BitmapData::Serialized(cluster)) = entry.map(|(_, entry)| BitmapTableEntry(entry).data()) else {
        return Ok(());
    };
    if !cluster.is_aligned(tail.cluster_size) {
        return Ok(());
    }
    let len = tail.cluster_size.saturating_sub(tail.byte);
    let mut keep = tail.first_byte_mask;
    let mut chunks =
        image.chunks("a bitmap's last cluster", Span::new(cluster.saturating_add(tail.byte), len));
    while let Some(chunk) = chunks.next().transpose()? {
        for (offset, byte) in (0_u64..).zip(chunk.bytes) {
            if byte & keep != 0 {
                let at = Span::new(chunk.at.saturating_add(offset), 1);
                let found = Evidence::Hex((*byte).into());
                let wanted = format!("zero in the bits {keep:#x}");
                out.push(Finding::new(&B18, Structure::Bitmap, at, found, wanted));
                return Ok(());
            }
            keep = u8::MAX;
        }
    }
    Ok(())
}

/// The first bit behind the end of the disk.
struct Tail {
    /// The table entry of its cluster.
    entry_at: HostOffset,
    /// Its byte in that cluster.
    byte: u64,
    /// Which bits of that byte are behind the end.
    first_byte_mask: u8,
    cluster_size: u64,
}

impl Tail {
    /// `None` where the disk's bits fill the last cluster, or where the table is not as long as they call for.
    fn of<R: ReadAt>(image: &Image<R>, bitmap: &Bitmap) -> Option<Self> {
        let geometry = image.geometry()?;
        let wanted = bitmap.head.table_size_for(image.disk_len(), geometry)?;
        if u64::from(bitmap.head.bitmap_table_size) != wanted {
            return None;
        }
        let bit = bitmap.head.bit_count_for(image.disk_len())?;
        let cluster_size = geometry.cluster_size();
        let (index, byte) = ((bit / 8).checked_div(cluster_size)?, (bit / 8).checked_rem(cluster_size)?);
        let first_byte_mask = u8::MAX.checked_shl(u32::try_from(bit % 8).ok()?)?;
        let entry_at = bitmap.head.bitmap_table_offset.saturating_add(index.saturating_mul(8));
        (index < wanted).then_some(Self { entry_at, byte, first_byte_mask, cluster_size })
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use super::super::testing_tables as testing;
    use super::*;
    use crate::testkit::Draft;

    /// What B18 finds in the first bitmap, and how many bytes were read for it.
    fn tail(draft: &Draft) -> (Vec<Finding>, u64) {
        let (image, bitmap, mut out) = (draft.image(), draft.bitmap(0), Vec::new());
        let before = image.bytes_read();
        check_bitmap_tail(&image, &bitmap, &mut out).unwrap();
        (out, image.bytes_read().saturating_sub(before))
    }

    #[test]
    fn stray_bits_are_found_where_they_are() {
        let (draft, first) = testing::finding("B18");
        let data = draft.get(draft.bitmap(0).table().at.0, 8);
        assert_eq!(first.at, Some(Span::new(HostOffset(data.saturating_add(1)), 1)));
        assert_eq!(first.wanted, "zero in the bits 0xf8".to_owned().into());
        let (_, last) = testing::finding("B18-last-bit");
        assert_eq!(last.at, Some(Span::new(HostOffset(data.saturating_add(511)), 1)));
        assert_eq!(last.wanted, "zero in the bits 0xff".to_owned().into());
    }

    #[test]
    fn no_more_is_read_than_needed() {
        // 11 bits: the table's entry, and all but one byte of the cluster.
        assert_eq!(tail(&testing::base("valid/v3-bitmap-tail")), (vec![], 8 + 511));
        // The bits fill the cluster.
        assert_eq!(tail(&testing::base("valid/v3-bitmaps")), (vec![], 0));
        let mut draft = testing::base("valid/v3-bitmap-tail");
        for (entry, wanted) in [(0, 8), (1, 8), (1 << 40, 8)] {
            draft.put_u64(draft.bitmap(0).table().at.0, entry);
            assert_eq!(tail(&draft), (vec![], wanted), "{entry:#x}");
        }
        draft.set_bitmap(0, "bitmap_table_size", 2);
        assert_eq!(tail(&draft), (vec![], 0));
    }
}
