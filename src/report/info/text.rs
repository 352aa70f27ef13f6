//! `info` as text.

use std::io::{self, Write};

use super::{InfoReport, compression, encryption};
use crate::Image;
use crate::format::features::FeatureSet;
use crate::format::header::field;
use crate::format::{Field, extension};
use crate::image::{Bitmap, Extension, Luks, Snapshot};
use crate::report::feature_names;
use crate::report::human::{Clock, Size, Timestamp};
use crate::report::subject::Subject;
use crate::source::ReadAt;
use crate::text::{cut, escape, shell_word, shown};
use crate::units::to_u64;

/// Characters of a path that one screen has room for; names in lists get fewer.
const LONGEST_PATH: usize = 1023;
/// Entries of a list that one screen has room for.
const SHOWN: usize = 20;

/// What stands for a value that the file is too short for.
const NOT_THERE: &str = "behind the end of the file";

pub(super) fn header<R: ReadAt>(
    out: &mut dyn Write,
    image: &Image<R>,
    subject: &Subject<'_>,
) -> io::Result<()> {
    let header = image.header();
    let v3 = header.v3();
    line(out, "file", &subject.to_string())?;
    if let Some(stored) = image.stored_len() {
        line(out, "on the host", &format!("{} ({stored} bytes)", Size(stored)))?;
    }
    let mut line_of = |name: &str, field: Field, value: String| {
        line(out, name, if header.holds(field) { &value } else { NOT_THERE })
    };
    line_of("format", field::VERSION, format!("qcow2, version {}", header.v2.version))?;
    line_of("virtual size", field::SIZE, format!("{} ({} bytes)", Size(header.v2.size.0), header.v2.size.0))?;
    let cluster_size = image.geometry().map(|geometry| Size(geometry.cluster_size()).to_string());
    let invalid = || format!("invalid: 2^{}", header.v2.cluster_bits.0);
    line_of("cluster size", field::CLUSTER_BITS, cluster_size.unwrap_or_else(invalid))?;
    let width = image.refcount_width().map(|width| format!("{} bits", width.bits()));
    let invalid = || format!("invalid: 2^{} bits", v3.refcount_order);
    line_of("refcounts", field::REFCOUNT_ORDER, width.unwrap_or_else(invalid))?;
    line_of("compression", field::COMPRESSION_TYPE, compression(header.compression_type()))?;
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

pub(super) fn line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    let value = if value.is_empty() { "none" } else { value };
    writeln!(out, "{:<16}{value}", format_args!("{name}:").to_string())
}

/// A list of which the image claims so many entries; without such a claim nothing says that there is a list.
pub(super) fn list(out: &mut dyn Write, name: &str, claimed: Claim, list: &List) -> io::Result<()> {
    let count = to_u64(list.count);
    line(
        out,
        name,
        &match claimed {
            Claim::NotThere => NOT_THERE.to_owned(),
            Claim::Of(claimed) if claimed != count => format!("{claimed} claimed, {count} readable"),
            Claim::Of(0) => String::new(),
            Claim::Of(count) => count.to_string(),
        },
    )?;
    list.shown.iter().try_for_each(|shown| writeln!(out, "  {shown}"))?;
    match list.further() {
        0 => Ok(()),
        further => writeln!(out, "  and {further} more"),
    }
}

/// How many entries the image says that a list has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// The file is too short to say it.
    NotThere,
    /// So many.
    Of(u64),
}

/// Says what a reader of this report must not take for granted, and what to do about it.
pub(super) fn not_looked_at(out: &mut dyn Write, report: &InfoReport<'_>) -> io::Result<()> {
    let place = if report.offset == 0 { String::new() } else { format!(" --offset {}", report.offset) };
    let path = shell_word(report.subject.path);
    let path = path.as_deref().unwrap_or("IMAGE");
    writeln!(out, "the tables were not looked at: qcow2-inspect check{place} {path}")
}

/// The first entries of a list, and how many it has.
#[derive(Default)]
pub(super) struct List {
    shown: Vec<String>,
    count: usize,
}

impl List {
    pub(super) fn push(&mut self, entry: impl FnOnce() -> String) {
        if self.count < SHOWN {
            self.shown.push(entry());
        }
        self.count = self.count.saturating_add(1);
    }

    fn further(&self) -> usize {
        self.count.saturating_sub(self.shown.len())
    }

    pub(super) fn join(&self) -> String {
        match self.further() {
            0 => self.shown.join(", "),
            further => format!("{} and {further} more", self.shown.join(", ")),
        }
    }
}

/// The name of an extension.
pub(super) fn extension(extension: &Extension<'_>) -> String {
    let magic = extension.head.magic;
    extension::name(magic).map_or_else(|| format!("unknown {magic}"), str::to_owned)
}

pub(super) fn cipher(luks: &Luks) -> String {
    let [name, mode, hash] = [luks.head.cipher_name, luks.head.cipher_mode, luks.head.hash_spec];
    format!("{}-{}, {}", escape(name.text()), escape(mode.text()), escape(hash.text()))
}

pub(super) fn snapshot(snapshot: &Snapshot) -> String {
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

pub(super) fn bitmap(bitmap: &Bitmap) -> String {
    let granularity = 1_u64.checked_shl(bitmap.head.granularity_bits.0.into());
    let granularity = granularity.map_or_else(|| "invalid".to_owned(), |bytes| Size(bytes).to_string());
    let flags: Vec<_> = bitmap.head.flags.names().collect();
    format!("{:<24} granularity {granularity} flags [{}]", shown(&bitmap.name), flags.join(", "))
}
