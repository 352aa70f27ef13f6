//! The bitmap directory, entry by entry: B01 to B13, B17, B19.

use super::seen::Seen;
use super::{ends_past_file, is_cut, stopped};
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::bitmap::{BitmapFlags, BitmapHead, DIRTY_TRACKING, field};
use crate::format::extension::{BitmapsExtension, bitmaps_field};
use crate::format::scalar::text as before_nul;
use crate::format::{Field, Layout, part};
use crate::image::Bitmap;
use crate::rules::codes::{B01, B02, B03, B04, B05, B06, B07, B08, B09, B10, B11, B12, B13, B17, B19};
use crate::source::ReadAt;
use crate::text;
use crate::units::{Geometry, HostOffset, Span, to_u64};
use crate::{Error, Image};

/// QEMU's limits (block/qcow2-bitmap.c): BME_MAX_TABLE_SIZE, BME_MAX_PHYS_SIZE, BME_MAX_NAME_SIZE and the
/// granularities.
const MAX_TABLE_SIZE: u64 = 0x800_0000;
const MAX_DATA_LEN: u64 = 512 << 20;
const MAX_NAME_LEN: u16 = 1023;
const GRANULARITIES: std::ops::RangeInclusive<u8> = 9..=31;
/// The greatest `granularity_bits` of the specification.
const MAX_GRANULARITY: u8 = 63;
/// The longest entry without extra data, padded.
const MAX_BARE_ENTRY_LEN: u64 = BitmapHead::LEN + 65_535 + 8;

/// Judges one bitmap after the other with its table, and at the end the directory.
#[derive(Clone, Debug)]
pub struct BitmapRules {
    pub(super) geometry: Option<Geometry>,
    pub(super) file_len: u64,
    disk_len: u64,
    are_loaded: bool,
    directory: Option<Directory>,
    count: u64,
    names: Seen,
    shown_names: Seen,
}

/// What the bitmaps extension says.
#[derive(Clone, Copy, Debug)]
struct Directory {
    at: HostOffset,
    extension: BitmapsExtension,
}

impl Directory {
    fn end(self) -> HostOffset {
        self.extension.bitmap_directory_offset.saturating_add(self.extension.bitmap_directory_size)
    }

    fn finding(self, rule: &'static Rule, field: Field, found: u64, wanted: impl Into<Evidence>) -> Finding {
        Finding::new(rule, Structure::BitmapsExtension, field.at(self.at), found, wanted)
    }
}

impl BitmapRules {
    /// The rules for this image.
    pub fn new<R: ReadAt>(image: &Image<R>) -> Self {
        Self {
            geometry: image.geometry(),
            file_len: image.file_len(),
            disk_len: image.disk_len(),
            are_loaded: image.header().has_v3() && image.bitmaps_are_loaded(),
            directory: image.bitmaps_extension().map(|(at, extension)| Directory { at, extension }),
            count: 0,
            names: Seen::default(),
            shown_names: Seen::default(),
        }
    }

    /// Judges the next bitmap of the directory.
    pub fn bitmap(&mut self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        self.count = self.count.saturating_add(1);
        self.padding(bitmap, out);
        self.table(bitmap, out);
        self.kind(bitmap, out);
        self.name(bitmap, out);
    }

    /// Judges the directory as a whole; `fault` is what ended it early.
    pub fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        if let Some(fault) = fault {
            out.extend(extra_data_of(fault).map(|(span, len)| self.judged(extra_data(span, len))));
            let finding = self.judged(stopped(fault, Structure::Bitmap, &B01));
            // Where the file ends, QEMU reads zeros: a name that becomes shorter by it does no harm to the rest.
            let is_cut_name = matches!(fault, Error::Cut { what: part::NAME, at, wanted, .. }
                if self.directory.is_some_and(|directory| at.saturating_add(wanted) <= directory.end()));
            out.push(if is_cut_name { finding.at_most(Severity::Corruption) } else { finding });
        }
        let Some(directory) = self.directory else { return };
        let wanted = u64::from(directory.extension.nb_bitmaps);
        // A count of 0 is E16, a directory of 0 bytes E19.
        let is_other = if fault.is_none() { self.count != wanted } else { self.count > wanted };
        if is_other && wanted != 0 && directory.extension.bitmap_directory_size != 0 {
            let there = format!("{}, the entries of the directory", self.count);
            out.push(self.judged(directory.finding(&B02, bitmaps_field::NB_BITMAPS, wanted, there)));
        }
    }

    /// A finding at the severity that it has in this image: what QEMU does not load keeps nothing from opening.
    pub(super) fn judged(&self, finding: Finding) -> Finding {
        if self.are_loaded { finding } else { finding.at_most(Severity::Warning) }
    }

    fn padding(&self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let padded_end = bitmap.at.saturating_add(bitmap.head.entry_len().next_multiple_of(8));
        if let Some(directory) = self.directory.filter(|directory| padded_end > directory.end()) {
            let size = directory.extension.bitmap_directory_size;
            let wanted = format!("the padding behind the entry at {} too", bitmap.at);
            out.push(self.judged(directory.finding(
                &B01,
                bitmaps_field::BITMAP_DIRECTORY_SIZE,
                size,
                wanted,
            )));
        }
        if bitmap.padding.iter().any(|byte| *byte != 0) {
            let span = Span::new(bitmap.padding_at(), to_u64(bitmap.padding.len()));
            out.push(self.judged(Finding::new(&B13, Structure::Bitmap, span, "other bytes", "zeros")));
        }
    }

    fn table(&self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let Some(geometry) = self.geometry else { return };
        let head = &bitmap.head;
        let size = u64::from(head.bitmap_table_size);
        let wanted_size = head.table_size_for(self.disk_len, geometry);
        let max_size = MAX_TABLE_SIZE.min(MAX_DATA_LEN.unbounded_shr(geometry.cluster_bits()));
        if size == 0 || size > max_size {
            let finding =
                self.field(bitmap, &B05, field::BITMAP_TABLE_SIZE, size, format!("1 to {max_size}"));
            // Without entries, a bitmap of a disk that has any bytes breaks the specification too.
            let is_legal = size != 0 || wanted_size == Some(0);
            out.push(if is_legal { finding.only_qemu() } else { finding });
        }
        if let Some(wanted) = wanted_size.filter(|wanted| size != 0 && size != *wanted) {
            let finding = self.field(bitmap, &B17, field::BITMAP_TABLE_SIZE, size, wanted);
            out.push(if is_in_use(bitmap) { finding.at_most(Severity::Note) } else { finding });
        }
        self.table_offset(bitmap, geometry, size <= max_size, out);
    }

    fn table_offset(&self, bitmap: &Bitmap, geometry: Geometry, is_size_known: bool, out: &mut Vec<Finding>) {
        let offset = bitmap.head.bitmap_table_offset;
        let finding = |wanted: String| {
            self.field(bitmap, &B04, field::BITMAP_TABLE_OFFSET, Evidence::Hex(offset.0), wanted)
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

    fn kind(&self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let head = &bitmap.head;
        let granularity = head.granularity_bits.0;
        if !GRANULARITIES.contains(&granularity) {
            let wanted = format!("{} to {}", GRANULARITIES.start(), GRANULARITIES.end());
            let finding = self.field(bitmap, &B06, field::GRANULARITY_BITS, u64::from(granularity), wanted);
            out.push(if granularity <= MAX_GRANULARITY { finding.only_qemu() } else { finding });
        }
        let reserved = head.flags.0 & BitmapFlags::RESERVED;
        if reserved != 0 {
            let wanted = format!("zero in the bits {reserved:#x}");
            out.push(self.field(bitmap, &B07, field::FLAGS, Evidence::Hex(head.flags.0.into()), wanted));
        } else if head.flags.has(BitmapFlags::EXTRA_DATA_COMPATIBLE) {
            let wanted = "zero in the bits 0x4";
            let finding = self.field(bitmap, &B07, field::FLAGS, Evidence::Hex(head.flags.0.into()), wanted);
            out.push(finding.only_qemu());
        }
        if head.r#type != DIRTY_TRACKING {
            let found = u64::from(head.r#type);
            out.push(self.field(bitmap, &B08, field::TYPE, found, u64::from(DIRTY_TRACKING)));
        }
        if is_in_use(bitmap) {
            let found = Evidence::Hex(head.flags.0.into());
            out.push(self.field(bitmap, &B19, field::FLAGS, found, "zero in the bits 0x1"));
        }
        if head.extra_data_size != 0 {
            let span = field::EXTRA_DATA_SIZE.at(bitmap.at);
            out.push(self.judged(extra_data(span, head.extra_data_size.into())));
        }
    }

    fn name(&mut self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let len = bitmap.head.name_size;
        let size = |rule: &'static Rule, wanted: String| {
            self.field(bitmap, rule, field::NAME_SIZE, u64::from(len), wanted)
        };
        if len > MAX_NAME_LEN {
            out.push(size(&B09, format!("at most {MAX_NAME_LEN}")).only_qemu());
        }
        if len == 0 {
            out.push(size(&B10, "at least 1".to_owned()));
        }
        let span = Span::new(bitmap.name_at(), to_u64(bitmap.name.len()));
        // QEMU's names end at the first NUL, so that different ones become equal.
        let (is_new, is_shown_new) =
            (self.names.is_new(&bitmap.name), self.shown_names.is_new(before_nul(&bitmap.name)));
        if !is_shown_new {
            let found = "the name of another bitmap";
            let finding = Finding::new(&B11, Structure::Bitmap, span, found, "a name of its own");
            out.push(self.judged(if is_new { finding.only_qemu() } else { finding }));
        }
        if let Some((position, byte)) = text::unprintable(&bitmap.name) {
            let found = format!("the byte {byte:#04x} at position {position}");
            let finding = Finding::new(&B12, Structure::Bitmap, span, found, "printable UTF-8");
            out.push(self.judged(finding));
        }
    }

    fn field(
        &self,
        bitmap: &Bitmap,
        rule: &'static Rule,
        field: Field,
        found: impl Into<Evidence>,
        wanted: impl Into<Evidence>,
    ) -> Finding {
        self.judged(Finding::new(rule, Structure::Bitmap, field.at(bitmap.at), found, wanted))
    }
}

/// Whether the bitmap was not saved: QEMU reads neither its table nor its data.
pub(super) fn is_in_use(bitmap: &Bitmap) -> bool {
    bitmap.head.flags.has(BitmapFlags::IN_USE)
}

fn extra_data(span: Span, len: u64) -> Finding {
    Finding::new(&B03, Structure::Bitmap, span, len, 0_u32).only_qemu()
}

/// Where `extra_data_size` stands in an entry that was too long to be read, and what it is at least.
fn extra_data_of(fault: Error) -> Option<(Span, u64)> {
    let Error::Budget { limit: "entry_len", value, at } = fault else { return None };
    let least = value.checked_sub(MAX_BARE_ENTRY_LEN).filter(|least| *least != 0)?;
    Some((field::EXTRA_DATA_SIZE.at(at), least))
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use super::super::testing_tables as testing;
    use super::*;
    use crate::format::header;
    use crate::testkit::damages;

    #[test]
    fn each_damage_breaks_its_rule() {
        testing::each_damage_breaks_its_rule(
            "B",
            &[
                "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B13",
                "B14", "B15", "B16", "B17", "B18", "B19",
            ],
        );
    }

    #[test]
    fn severities_follow_what_qemu_opens() {
        let cases = [
            ("B01", Severity::Fatal, false),
            ("B03", Severity::Fatal, true),
            ("B04-zero", Severity::Fatal, false),
            ("B04-beyond-file", Severity::Corruption, false),
            ("B04-cut", Severity::Corruption, false),
            ("B05-zero", Severity::Fatal, false),
            ("B05-too-large", Severity::Fatal, true),
            ("B06-too-coarse", Severity::Fatal, true),
            ("B06-impossible", Severity::Fatal, false),
            ("B07", Severity::Fatal, false),
            ("B07-extra-data-compatible", Severity::Fatal, true),
            ("B09", Severity::Fatal, true),
            ("B11", Severity::Fatal, false),
            ("B11-up-to-nul", Severity::Fatal, true),
            ("B14", Severity::Fatal, false),
            ("B14-in-use", Severity::Corruption, false),
            ("B16-unaligned", Severity::Fatal, false),
            ("B16-beyond-file", Severity::Corruption, false),
        ];
        for (name, severity, is_qemu) in cases {
            let (_, finding) = testing::finding(name);
            assert_eq!((finding.severity, finding.qemu_limit), (severity, is_qemu), "{name}");
        }
    }

    #[test]
    fn bitmaps_that_are_not_loaded_break_nothing() {
        for damage in damages().filter(|damage| damage.rule.code.starts_with('B')) {
            let mut draft = testing::base(damage.base);
            (damage.breaks)(&mut draft);
            draft.set_header(header::field::AUTOCLEAR_FEATURES, 0);
            let found = testing::findings(&draft);
            let name = testing::title(damage);
            assert!(found.iter().any(|finding| finding.rule == damage.rule), "{name}");
            assert!(found.iter().all(|finding| finding.severity <= Severity::Warning), "{name}");
        }
    }

    #[test]
    fn a_bitmap_in_use_may_have_any_table_size() {
        let mut draft = testing::base("valid/v3-bitmaps");
        draft.set_bitmap(1, field::FLAGS, 1);
        draft.set_bitmap(1, field::BITMAP_TABLE_SIZE, 2);
        let found = testing::findings(&draft);
        assert_eq!(testing::codes(&found), ["B17", "B19"]);
        assert!(found.iter().all(|finding| finding.severity == Severity::Note));
    }

    #[test]
    fn a_name_cut_by_the_end_of_the_file_is_not_fatal() {
        let mut draft = testing::base("valid/v3-bitmaps");
        draft.truncate(draft.bitmap(1).name_at().0 + 2);
        let found = testing::findings(&draft);
        assert_eq!(testing::codes(&found), ["B01"]);
        assert_eq!(found[0].severity, Severity::Corruption);
    }

    #[test]
    fn an_entry_beyond_the_limit_has_extra_data() {
        let mut draft = testing::base("valid/v3-bitmaps");
        draft.set_bitmap(1, field::EXTRA_DATA_SIZE, 1 << 30);
        let found = testing::findings(&draft);
        assert_eq!(testing::codes(&found), ["B03", "T01"]);
    }
}
