//! The bitmap directory, entry by entry. Each entry's table is judged in `bitmap_tables`. QEMU loads every bitmap
//! whenever it opens an image, so most breaches keep it from opening.

use super::names::{self, SeenNames};
use super::stopped;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure, rules};
use crate::format::bitmap::{BitmapFlags, BitmapHead, DIRTY_TRACKING, field};
use crate::format::extension::{BitmapsExtension, bitmaps_field};
use crate::format::scalar::text as before_nul;
use crate::format::{Field, Layout, part, qemu};
use crate::image::Bitmap;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, to_u64};
use crate::{Error, Image, Limit};

rules! {
    BITMAP_DIRECTORY_BROKEN: B01 "bitmap-directory-broken" Fatal Must {
        title: "the bitmap directory must be readable, and its entries must fill bitmap_directory_size \
            exactly",
        why: "no bitmap can be found behind the first broken entry, and QEMU opens the image no more",
        advice: "remove all bitmaps in a copy by clearing the extension; a full backup starts anew",
        spec: "Bitmap directory",
        fields: [BitmapsExtension.BITMAP_DIRECTORY_SIZE, Bitmap.NAME_SIZE, Bitmap.EXTRA_DATA_SIZE],
        qemu: Refused Refused "'Broken bitmap directory'",
    }
    BITMAP_COUNT_MISMATCH: B02 "bitmap-count-mismatch" Fatal Must {
        title: "the bitmap directory must have as many entries as nb_bitmaps says",
        why: "either an entry was lost or the number is wrong, and QEMU refuses both",
        advice: "count the entries that `dump --only bitmaps` shows, and set nb_bitmaps in a copy",
        spec: "Bitmaps extension",
        fields: [BitmapsExtension.NB_BITMAPS],
        qemu: Refused Refused "'More bitmaps found than specified in header extension', or 'Less bitmaps \
            found …'",
    }
    BITMAP_EXTRA_DATA: B03 "bitmap-extra-data" Fatal Should {
        title: "a bitmap's extra_data_size should be 0: no extra data is defined yet, and QEMU opens no \
            image with any",
        why: "what the data means is not defined, and QEMU opens no image with any",
        advice: "set the size to 0 in a copy and move the name up, or drop the bitmap",
        spec: "Bitmap directory",
        fields: [Bitmap.EXTRA_DATA_SIZE],
        qemu: Refused Refused "'Bitmap extra data is not supported', even with flag bit 2",
    }
    BITMAP_GRANULARITY_INVALID: B06 "bitmap-granularity-invalid" Fatal Must {
        title: "a bitmap's granularity_bits must be at most 63, and from 9 to 31 for QEMU to open the image",
        why: "a shift by so many bits means nothing, and QEMU takes only 512 bytes to 2 GiB",
        advice: "look at the table's length: disk size, divided by its bits, gives the true granularity",
        spec: "Bitmap directory",
        fields: [Bitmap.GRANULARITY_BITS],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    BITMAP_FLAGS_RESERVED: B07 "bitmap-flags-reserved" Fatal Must {
        title: "the reserved bits 3 to 31 of a bitmap's flags must be zero, and for QEMU bit 2 too",
        why: "a flag that nobody knows may say that the bitmap must not be used",
        advice: "clear it in a copy only if no newer program made the bitmap",
        spec: "Bitmap directory",
        fields: [Bitmap.FLAGS],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints', for bit 2 as well",
    }
    BITMAP_TYPE_UNKNOWN: B08 "bitmap-type-unknown" Fatal Must {
        title: "a bitmap's type must be 1, the dirty tracking bitmap",
        why: "its bits may mean anything but changed data",
        advice: "drop the bitmap, or use the program that knows its type",
        spec: "Bitmap directory",
        fields: [Bitmap.TYPE],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    BITMAP_NAME_TOO_LONG: B09 "bitmap-name-too-long" Fatal Qemu {
        title: "a bitmap's name must have at most 1023 bytes for QEMU to open the image",
        why: "QEMU keeps names up to 1,023 bytes",
        advice: "rename it with the program that made it",
        spec: "QEMU block/qcow2-bitmap.c, BME_MAX_NAME_SIZE",
        fields: [Bitmap.NAME_SIZE],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    BITMAP_NAME_EMPTY: B10 "bitmap-name-empty" Warning Must {
        title: "a bitmap must have a name",
        why: "nobody can ask for a bitmap without a name, and QEMU cannot remove it",
        advice: "remove it by editing the directory of a copy",
        spec: "Bitmap directory",
        fields: [Bitmap.NAME_SIZE],
        qemu: Silently Silently "accepted",
        risk: FalseName,
    }
    DUPLICATE_BITMAP: B11 "duplicate-bitmap" Fatal Must {
        title: "bitmap names must be unique",
        why: "a backup that asks by name gets either of them, and QEMU refuses the image",
        advice: "rename one in a copy, and trust neither without knowing which is newer",
        spec: "Bitmap directory",
        fields: [Bitmap.NAME],
        qemu: Refused Refused "'Bitmap already exists: N'",
    }
    BITMAP_NAME_MALFORMED: B12 "bitmap-name-malformed" Warning Extra {
        title: "a bitmap's name must be printable UTF-8 without NUL",
        why: "a NUL cuts the name, so that two may become one, and control characters attack whoever prints it",
        advice: "rename it; this tool shows it escaped",
        spec: "not in the specification; readers would see different names",
        fields: [Bitmap.NAME],
        qemu: Varies Varies "accepted, and shown with U+FFFD for each bad byte. A NUL cuts the name, so that \
            'a\\0b' and 'a\\0c' collide: 'Bitmap already exists: a'",
        risk: FalseName,
    }
    BITMAP_PADDING_NONZERO: B13 "bitmap-padding-nonzero" Warning Must {
        title: "the padding behind a bitmap directory entry must be zero",
        why: "a reader ignores the bytes, which can hide data or be a sign of shifted entries",
        advice: "look at them; QEMU zeroes them when it saves the bitmaps",
        spec: "Bitmap directory",
        fields: [Bitmap.PADDING],
        qemu: Silently Silently "not looked at",
        risk: HiddenBytes,
    }
    BITMAP_IN_USE: B19 "bitmap-in-use" Note Should {
        title: "the bitmap is marked in_use: it was not saved, and no backup may rely on it",
        why: "the program that used it did not close the image, and changes since are not in it",
        advice: "drop it (`qemu-img bitmap --remove`), and make a full backup",
        spec: "Dirty tracking bitmaps",
        fields: [Bitmap.FLAGS],
        qemu: Silently Silently "info shows the flag 'in-use'",
        bitmap: InUse,
    }
    BITMAP_AUTO_WRONG_TYPE: B20 "bitmap-auto-wrong-type" Note Must reported_as BITMAP_TYPE_UNKNOWN {
        title: "only a dirty tracking bitmap, type 1, may have the auto flag",
        why: "only for dirty tracking is it defined what automatic means",
        advice: "see B08",
        spec: "Bitmap directory",
        fields: [Bitmap.TYPE, Bitmap.FLAGS],
        qemu: Refused Refused "every type but 1 is refused: 'Bitmap 'N' doesn't satisfy the constraints'",
    }
    BITMAP_REFCOUNTS: B21 "bitmap-refcounts" Note Must reported_as REFCOUNT_TOO_LOW {
        title: "the clusters of the bitmap directory, the bitmap tables and the bitmap data must have \
            refcount 1",
        why: "a bitmap's cluster that is free gets overwritten, and then marks anything",
        advice: "see R05 and R07, which report it",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Varies "check: 'ERROR cluster N refcount=A reference=B' where it is too low, 'Leaked \
            cluster N …' where it is too high",
    }
}

/// The greatest `granularity_bits` of the specification.
const MAX_GRANULARITY: u8 = 63;
/// The longest entry without extra data, padded.
const MAX_BARE_ENTRY_LEN: u64 = BitmapHead::LEN + 65_535 + 8;

/// Judges one bitmap after the other with its table, and at the end the directory.
#[derive(Clone, Debug)]
pub(super) struct BitmapRules {
    pub(super) geometry: Option<Geometry>,
    pub(super) file_len: u64,
    pub(super) disk_len: u64,
    are_loaded: bool,
    directory: Option<Directory>,
    count: u64,
    names: SeenNames,
    shown_names: SeenNames,
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
    pub(super) fn new<R: ReadAt>(image: &Image<R>) -> Self {
        Self {
            geometry: image.geometry(),
            file_len: image.file_len(),
            disk_len: image.disk_len(),
            are_loaded: image.bitmaps_are_loaded(),
            directory: image.bitmaps_extension().map(|(at, extension)| Directory { at, extension }),
            count: 0,
            names: SeenNames::default(),
            shown_names: SeenNames::default(),
        }
    }

    /// Judges the next bitmap of the directory.
    pub(super) fn bitmap(&mut self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        self.count = self.count.saturating_add(1);
        self.padding(bitmap, out);
        self.table(bitmap, out);
        self.kind(bitmap, out);
        self.name(bitmap, out);
    }

    /// Judges the directory as a whole; `fault` is what ended it early.
    pub(super) fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        if let Some(fault) = fault {
            out.extend(extra_data_of(fault).map(|(span, len)| self.judged(extra_data(span, len))));
            let finding = self.judged(stopped(fault, Structure::Bitmap, &BITMAP_DIRECTORY_BROKEN));
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
            out.push(self.judged(directory.finding(
                &BITMAP_COUNT_MISMATCH,
                bitmaps_field::NB_BITMAPS,
                wanted,
                there,
            )));
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
                &BITMAP_DIRECTORY_BROKEN,
                bitmaps_field::BITMAP_DIRECTORY_SIZE,
                size,
                wanted,
            )));
        }
        if bitmap.padding.iter().any(|byte| *byte != 0) {
            let span = Span::new(bitmap.padding_at(), to_u64(bitmap.padding.len()));
            out.push(self.judged(Finding::new(
                &BITMAP_PADDING_NONZERO,
                Structure::Bitmap,
                span,
                "other bytes",
                "zeros",
            )));
        }
    }

    fn kind(&self, bitmap: &Bitmap, out: &mut Vec<Finding>) {
        let head = &bitmap.head;
        let granularity = head.granularity_bits.0;
        let granularities = qemu::BITMAP_GRANULARITY_BITS;
        if !granularities.contains(&granularity) {
            let wanted = format!("{} to {}", granularities.start(), granularities.end());
            let finding = self.field(
                bitmap,
                &BITMAP_GRANULARITY_INVALID,
                field::GRANULARITY_BITS,
                u64::from(granularity),
                wanted,
            );
            out.push(if granularity <= MAX_GRANULARITY { finding.only_qemu() } else { finding });
        }
        let reserved = head.flags.0 & BitmapFlags::RESERVED;
        if reserved != 0 {
            let wanted = format!("zero in the bits {reserved:#x}");
            out.push(self.field(
                bitmap,
                &BITMAP_FLAGS_RESERVED,
                field::FLAGS,
                Evidence::Hex(head.flags.0.into()),
                wanted,
            ));
        } else if head.flags.has(BitmapFlags::EXTRA_DATA_COMPATIBLE) {
            let wanted = "zero in the bits 0x4";
            let finding = self.field(
                bitmap,
                &BITMAP_FLAGS_RESERVED,
                field::FLAGS,
                Evidence::Hex(head.flags.0.into()),
                wanted,
            );
            out.push(finding.only_qemu());
        }
        if head.r#type != DIRTY_TRACKING {
            let found = u64::from(head.r#type);
            out.push(self.field(bitmap, &BITMAP_TYPE_UNKNOWN, field::TYPE, found, u64::from(DIRTY_TRACKING)));
        }
        if is_in_use(bitmap) {
            let found = Evidence::Hex(head.flags.0.into());
            out.push(self.field(bitmap, &BITMAP_IN_USE, field::FLAGS, found, "zero in the bits 0x1"));
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
        if len > qemu::MAX_BITMAP_NAME_LEN {
            out.push(
                size(&BITMAP_NAME_TOO_LONG, format!("at most {}", qemu::MAX_BITMAP_NAME_LEN)).only_qemu(),
            );
        }
        if len == 0 {
            out.push(size(&BITMAP_NAME_EMPTY, "at least 1".to_owned()));
        }
        let span = Span::new(bitmap.name_at(), to_u64(bitmap.name.len()));
        // QEMU's names end at the first NUL, so that different ones become equal.
        let (is_new, is_shown_new) =
            (self.names.is_new(&bitmap.name), self.shown_names.is_new(before_nul(&bitmap.name)));
        if !is_shown_new {
            let found = "the name of another bitmap";
            let finding =
                Finding::new(&DUPLICATE_BITMAP, Structure::Bitmap, span, found, "a name of its own");
            out.push(self.judged(if is_new { finding.only_qemu() } else { finding }));
        }
        if let Some(found) = names::unprintable(&bitmap.name) {
            let finding =
                Finding::new(&BITMAP_NAME_MALFORMED, Structure::Bitmap, span, found, "printable UTF-8");
            out.push(self.judged(finding));
        }
    }

    pub(super) fn field(
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
    Finding::new(&BITMAP_EXTRA_DATA, Structure::Bitmap, span, len, 0_u32).only_qemu()
}

/// Where `extra_data_size` stands in an entry that was too long to be read, and what it is at least.
fn extra_data_of(fault: Error) -> Option<(Span, u64)> {
    let Error::Budget { limit: Limit::EntryLen, value, at } = fault else { return None };
    let least = value.checked_sub(MAX_BARE_ENTRY_LEN).filter(|least| *least != 0)?;
    Some((field::EXTRA_DATA_SIZE.at(at), least))
}
