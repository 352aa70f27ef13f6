//! Dirty bitmaps and what they say.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use crate::Error;
use crate::check::{BitmapState, CheckOptions, Checked, JudgedBitmap, check};
use crate::finding::{Finding, Findings};
use crate::guest::{Combine, Combined};
use crate::image::{Bitmap, Image};
use crate::report::human::Size;
use crate::report::schema::{List, Shape, keys};
use crate::report::sink::Sink;
use crate::report::subject::Subject;
use crate::report::value::{Hex, unclean};
use crate::rules::being_written;
use crate::source::ReadAt;
use crate::text;
use crate::units::{GuestOffset, GuestSpan};

pub(in crate::report) const SHAPE: Shape =
    Shape::of_image("qcow2-inspect/bitmap/1").facts(&[keys::<Ended>()]).lists(&[BITMAPS]);
const BITMAPS: List = List::new("bitmaps", "bitmap", keys::<Head<'_>>()).holding(&DIRTY, keys::<Dirty>());
const DIRTY: List = List::new("dirty", "dirty", keys::<GuestSpan>());

/// Which bitmaps, and what of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitmapOptions<'a> {
    /// The name of the only one, where it is not all.
    pub name: Option<&'a [u8]>,
    /// Another bitmap to combine it with.
    pub with: Option<(Combine, &'a [u8])>,
    /// Leave out the ranges.
    pub only_list: bool,
}

/// How a report on bitmaps ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitmapsTold {
    /// How many were told.
    pub count: u64,
    /// What cut it.
    pub cut: Option<Error>,
    /// Whether a name was asked for that no bitmap has.
    pub missing: bool,
    /// Whether something was not looked at that decides whether one can be used.
    pub unknown: bool,
}

/// Ranges of the guest's disk.
type Runs<'i> = Box<dyn Iterator<Item = Result<GuestSpan, Error>> + 'i>;

#[derive(Serialize, JsonSchema)]
struct Head<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<Hex<'a>>,
    granularity: Option<u64>,
    flags: Vec<&'static str>,
    /// Whether an incremental backup can rest on it alone.
    trusted: bool,
    state: BitmapState,
    /// Why not.
    reason: Option<String>,
    /// Whether bits are set behind the end of the disk (B18), which are left out here.
    tail_bits: bool,
}

/// What is dirty in all; unknown where the bitmap could not be read.
#[derive(Serialize, JsonSchema)]
struct Dirty {
    dirty_bytes: Option<u64>,
    dirty_percent: Option<f64>,
}

/// How the report ended.
#[derive(Serialize, JsonSchema)]
struct Ended {
    complete: bool,
    error: Option<String>,
}

/// Tells `sink` of the bitmaps, as they are read.
///
/// # Errors
/// Only what the sink returns.
pub fn write_bitmaps<R: ReadAt>(
    image: &Image<R>,
    options: &BitmapOptions<'_>,
    subject: &Subject<'_>,
    sink: &mut impl Sink,
) -> io::Result<BitmapsTold> {
    sink.begin(&SHAPE, Some(subject))?;
    sink.text(|out, _| writeln!(out, "file {subject}"))?;
    sink.list(BITMAPS)?;
    let told = tell(image, options, sink)?;
    sink.end()?;
    sink.text(|out, _| {
        if told.count == 0 && !told.missing {
            writeln!(out, "\nno bitmaps")?;
        }
        match told.cut {
            Some(error) => writeln!(out, "\nincomplete: {error}"),
            None if told.unknown => writeln!(out, "\nincomplete: the image could not be checked as a whole"),
            None => Ok(()),
        }
    })?;
    let complete = told.cut.is_none() && !told.unknown && !sink.is_cut();
    sink.facts(&Ended { complete, error: told.cut.map(|error| error.to_string()) })?;
    // The rules of a bitmap that is not trusted are told with it; `dump` and `check` tell all findings.
    let mut findings = Findings::new(1);
    being_written(image).into_iter().for_each(|finding| findings.push(finding));
    sink.findings(&findings)?;
    sink.finish()?;
    Ok(told)
}

fn tell<R: ReadAt>(
    image: &Image<R>,
    options: &BitmapOptions<'_>,
    sink: &mut impl Sink,
) -> io::Result<BitmapsTold> {
    let mut told = BitmapsTold::default();
    if let Some(error) = image.unread_extensions().filter(|_| image.bitmaps_extension().is_none()) {
        return Ok(BitmapsTold { cut: Some(error), ..told });
    }
    let is_wanted = |bitmap: &Bitmap| options.name.is_none_or(|name| bitmap.name == name);
    let second = match options.with {
        None => None,
        Some((how, name)) => {
            match image.bitmaps().find(|bitmap| !matches!(bitmap, Ok(b) if b.name != name)) {
                Some(Ok(bitmap)) => Some((how, bitmap)),
                Some(Err(error)) => return Ok(BitmapsTold { cut: Some(error), ..told }),
                None => return Ok(BitmapsTold { missing: true, ..told }),
            }
        }
    };
    let mut checked = None;
    for bitmap in image.bitmaps() {
        let bitmap = match bitmap {
            Ok(bitmap) => bitmap,
            Err(error) => {
                told.cut = Some(error);
                break;
            }
        };
        if !is_wanted(&bitmap) {
            continue;
        }
        told.count = told.count.saturating_add(1);
        let checked =
            checked.get_or_insert_with(|| check(image, &CheckOptions::default(), &mut |_: Finding| {}));
        let judged = judged(checked, &bitmap, second.as_ref());
        told.unknown |= !checked.complete;
        if let Err(error) = one(image, &bitmap, judged, second.as_ref(), options.only_list, sink)? {
            told.cut = Some(error);
        }
    }
    told.missing = options.name.is_some() && told.count == 0 && told.cut.is_none();
    Ok(told)
}

/// What the check says of a bitmap, or of two that are combined: that is as good as the worse of them.
fn judged(checked: &Checked, bitmap: &Bitmap, second: Option<&(Combine, Bitmap)>) -> JudgedBitmap {
    let judged = checked.bitmap(bitmap);
    let Some((how, other)) = second else { return judged };
    let other = checked.bitmap(other);
    // What a disabled one lacks is left in where it is taken away, and left out where both must have it.
    let is_harmless = *how == Combine::Minus && other.state == BitmapState::Disabled;
    let worse = if other.state > judged.state && !is_harmless { other } else { judged };
    JudgedBitmap { has_tail_bits: judged.has_tail_bits || other.has_tail_bits, ..worse }
}

/// Tells one bitmap; an [`Error`] of the image cuts it, and the next is told all the same.
fn one<R: ReadAt>(
    image: &Image<R>,
    bitmap: &Bitmap,
    judged: JudgedBitmap,
    second: Option<&(Combine, Bitmap)>,
    only_list: bool,
    sink: &mut impl Sink,
) -> io::Result<Result<(), Error>> {
    let mut result = Ok(());
    begin(bitmap, judged, sink)?;
    let mut dirty = None;
    if let Some(runs) = runs(image, bitmap, second) {
        let mut bytes = 0_u64;
        for run in runs {
            match run {
                Ok(span) => {
                    bytes = bytes.saturating_add(span.len);
                    if !only_list {
                        sink.item(&span)?;
                        let GuestSpan { start: GuestOffset(start), len } = span;
                        sink.text(|out, _| writeln!(out, "{start:#018x} {len:#018x}"))?;
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        dirty = Some(bytes);
    }
    end(dirty.filter(|_| result.is_ok()), image.disk_len(), sink)?;
    Ok(result)
}

fn runs<'i, R: ReadAt>(
    image: &'i Image<R>,
    bitmap: &Bitmap,
    second: Option<&(Combine, Bitmap)>,
) -> Option<Runs<'i>> {
    let first = image.dirty_runs(bitmap)?;
    Some(match second {
        None => Box::new(first),
        Some((how, other)) => Box::new(Combined::new(*how, first, image.dirty_runs(other)?)),
    })
}

fn begin(bitmap: &Bitmap, judged: JudgedBitmap, sink: &mut impl Sink) -> io::Result<()> {
    let name = text::escape(&bitmap.name);
    let granularity = 1_u64.checked_shl(bitmap.head.granularity_bits.0.into());
    let head = Head {
        name: &name,
        name_hex: unclean(&bitmap.name),
        granularity,
        flags: bitmap.head.flags.names().collect(),
        trusted: judged.state == BitmapState::Recording,
        state: judged.state,
        reason: reason(judged),
        tail_bits: judged.has_tail_bits,
    };
    sink.open(&head, DIRTY)?;
    sink.text(|out, _| {
        write!(out, "\nbitmap \"{name}\"")?;
        if let Some(granularity) = granularity {
            write!(out, " granularity={}", Size(granularity))?;
        }
        for flag in &head.flags {
            write!(out, " {flag}")?;
        }
        let verdict = head.reason.map_or_else(|| "yes".to_owned(), |reason| format!("no, {reason}"));
        writeln!(out, "\ncan be used for an incremental backup: {verdict}")?;
        if judged.has_tail_bits {
            writeln!(out, "bits behind the end of the disk are set, and left out here (B18)")?;
        }
        Ok(())
    })
}

fn end(dirty: Option<u64>, disk_len: u64, sink: &mut impl Sink) -> io::Result<()> {
    let percent = dirty.and_then(|dirty| percent(dirty, disk_len));
    sink.close(&Dirty { dirty_bytes: dirty, dirty_percent: percent })?;
    sink.text(|out, _| match (dirty, percent) {
        (None, _) => writeln!(out, "dirty: unknown"),
        (Some(dirty), Some(percent)) => {
            writeln!(out, "dirty: {} ({dirty} bytes), {percent} % of the disk", Size(dirty))
        }
        (Some(dirty), None) => writeln!(out, "dirty: {} ({dirty} bytes)", Size(dirty)),
    })
}

/// Why no incremental backup can rest on it alone; `None` where one can.
fn reason(judged: JudgedBitmap) -> Option<String> {
    let rule = judged.rule.map(|rule| format!(" ({})", rule.code)).unwrap_or_default();
    Some(match judged.state {
        BitmapState::Recording => return None,
        BitmapState::Disabled => {
            "disabled: it has no write since it was disabled, so it is not enough alone".to_owned()
        }
        BitmapState::InUse => format!("in-use: it was not saved when the image was closed{rule}"),
        BitmapState::Inconsistent => {
            format!("inconsistent: a program without support for bitmaps may have written{rule}")
        }
        BitmapState::Broken => match judged.rule {
            Some(rule) => format!("broken: {} ({})", rule.title, rule.code),
            None => "broken: QEMU would not open the image".to_owned(),
        },
        BitmapState::Unknown => "unknown: not everything could be looked at that decides".to_owned(),
    })
}

/// Hundredths of a per cent, rounded down, as a number with two places.
fn percent(part: u64, whole: u64) -> Option<f64> {
    let hundredths = u128::from(part).checked_mul(10_000)?.checked_div(u128::from(whole))?;
    Some(f64::from(u32::try_from(hundredths).ok()?) / 100.0)
}
