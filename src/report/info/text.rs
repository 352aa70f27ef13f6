//! `info` as text.

use std::io::{self, Write};

use super::{Survey, compression, encryption};
use crate::Image;
use crate::format::features::FeatureSet;
use crate::format::header::field;
use crate::format::{Field, extension};
use crate::image::{Bitmap, Luks, Part, Section, Snapshot};
use crate::report::feature_names;
use crate::report::human::{Clock, Size, Timestamp};
use crate::report::subject::Subject;
use crate::report::text::write_findings;
use crate::source::ReadAt;
use crate::text::{cut, escape, shown};

/// Characters of a path that one screen has room for; names in lists get fewer.
const LONGEST_PATH: usize = 1023;
/// Entries of a list that one screen has room for.
const SHOWN: usize = 20;

/// Writes `info` as text; true if nothing cut the work. `now` is the present in seconds since 1970.
///
/// # Errors
/// Only what `out` returns.
pub fn write_text<R: ReadAt>(
    mut out: impl Write,
    image: &Image<R>,
    subject: &Subject<'_>,
    now: Option<i64>,
    color: bool,
) -> io::Result<bool> {
    let out = &mut out;
    let mut survey = Survey::new(image, now)?;
    header(out, image, subject)?;
    let mut extensions = List::default();
    survey.section(Section::Extensions, |part| {
        if let Part::Extension(extension) = part {
            extensions.push(|| {
                let name = extension::name(extension.head.magic);
                name.map_or_else(|| format!("unknown {}", extension.head.magic), str::to_owned)
            });
        }
        Ok(())
    })?;
    line(out, "extensions", &extensions.join())?;
    survey.section(Section::Luks, |part| match part {
        Part::Luks(luks) => line(out, "luks", &cipher(luks)),
        _ => Ok(()),
    })?;
    let mut snapshots = List::default();
    survey.section(Section::Snapshots, |part| {
        if let Part::Snapshot(snapshot) = part {
            snapshots.push(|| snapshot_line(snapshot));
        }
        Ok(())
    })?;
    list(out, "snapshots", &snapshots)?;
    let mut bitmaps = List::default();
    survey.section(Section::Bitmaps, |part| {
        if let Part::Bitmap(bitmap) = part {
            bitmaps.push(|| bitmap_line(bitmap));
        }
        Ok(())
    })?;
    list(out, "bitmaps", &bitmaps)?;
    survey.finish();
    write_findings(out, survey.findings.iter(), color)?;
    if !survey.complete() {
        writeln!(out, "incomplete: something was not read, see above")?;
    }
    out.flush()?;
    Ok(survey.complete())
}

fn header<R: ReadAt>(out: &mut impl Write, image: &Image<R>, subject: &Subject<'_>) -> io::Result<()> {
    let header = image.header();
    let v3 = header.v3();
    line(out, "file", &subject.to_string())?;
    let mut line_of = |name: &str, field: Field, value: String| {
        line(out, name, if header.holds(field) { &value } else { "behind the end of the file" })
    };
    line_of("format", field::VERSION, format!("qcow2, version {}", header.v2.version))?;
    line_of("virtual size", field::SIZE, format!("{} ({} bytes)", Size(header.v2.size.0), header.v2.size.0))?;
    let cluster_size = image.geometry().map(|geometry| Size(geometry.cluster_size()).to_string());
    let invalid = || format!("invalid: 2^{}", header.v2.cluster_bits.0);
    line_of("cluster size", field::CLUSTER_BITS, cluster_size.unwrap_or_else(invalid))?;
    let width = image.refcount_width().map(|width| format!("{} bits", width.bits()));
    let invalid = || format!("invalid: 2^{} bits", v3.refcount_order);
    line_of("refcounts", field::REFCOUNT_ORDER, width.unwrap_or_else(invalid))?;
    let is_length_held = header.holds(field::HEADER_LENGTH);
    let told_by = if is_length_held { field::COMPRESSION_TYPE } else { field::HEADER_LENGTH };
    line_of("compression", told_by, compression(header.compression_type()))?;
    line_of("encryption", field::CRYPT_METHOD, encryption(header.v2.crypt_method))?;
    if let Ok(Some(name)) = image.backing_file() {
        line(out, "backing file", &cut(&name.bytes, LONGEST_PATH))?;
    }
    if let Some((_, format)) = image.backing_format() {
        line(out, "backing format", &shown(format))?;
    }
    if let Some((_, name)) = image.data_file() {
        line(out, "data file", &cut(name, LONGEST_PATH))?;
    }
    let sets = [v3.incompatible_features, v3.compatible_features, v3.autoclear_features];
    for (set, bits) in FeatureSet::ALL.into_iter().zip(sets).filter(|(_, bits)| bits.0 != 0) {
        line(out, set.as_str(), &feature_names(set, bits).join(", "))?;
    }
    Ok(())
}

fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    let value = if value.is_empty() { "none" } else { value };
    writeln!(out, "{:<16}{value}", format_args!("{name}:").to_string())
}

fn list(out: &mut impl Write, name: &str, list: &List) -> io::Result<()> {
    line(out, name, &if list.count == 0 { String::new() } else { list.count.to_string() })?;
    list.shown.iter().try_for_each(|shown| writeln!(out, "  {shown}"))?;
    match list.further() {
        0 => Ok(()),
        further => writeln!(out, "  and {further} more"),
    }
}

/// The first entries of a list, and how many it has.
#[derive(Default)]
struct List {
    shown: Vec<String>,
    count: usize,
}

impl List {
    fn push(&mut self, entry: impl FnOnce() -> String) {
        if self.count < SHOWN {
            self.shown.push(entry());
        }
        self.count = self.count.saturating_add(1);
    }

    fn further(&self) -> usize {
        self.count.saturating_sub(self.shown.len())
    }

    fn join(&self) -> String {
        match self.further() {
            0 => self.shown.join(", "),
            further => format!("{} and {further} more", self.shown.join(", ")),
        }
    }
}

fn cipher(luks: &Luks) -> String {
    let [name, mode, hash] = [luks.head.cipher_name, luks.head.cipher_mode, luks.head.hash_spec];
    format!("{}-{}, {}", escape(name.text()), escape(mode.text()), escape(hash.text()))
}

fn snapshot_line(snapshot: &Snapshot) -> String {
    let head = &snapshot.head;
    let mut line = format!(
        "{:<4} {:<24} {} clock {}",
        shown(&snapshot.id),
        shown(&snapshot.name),
        Timestamp::new(head.date_sec.0.into(), head.date_nsec),
        Clock(head.vm_clock_nsec),
    );
    if snapshot.vm_state_size() > 0 {
        line = format!("{line} vm state {}", Size(snapshot.vm_state_size()));
    }
    line
}

fn bitmap_line(bitmap: &Bitmap) -> String {
    let granularity = 1_u64.checked_shl(bitmap.head.granularity_bits.0.into());
    let granularity = granularity.map_or_else(|| "invalid".to_owned(), |bytes| Size(bytes).to_string());
    let flags: Vec<_> = bitmap.head.flags.names().collect();
    format!("{:<24} granularity {granularity} flags [{}]", shown(&bitmap.name), flags.join(", "))
}
