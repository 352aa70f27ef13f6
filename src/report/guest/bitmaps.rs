//! Dirty bitmaps and what they say.

use std::io::{self, Write};

use serde::Serialize;

use crate::Error;
use crate::finding::{BitmapTrust, Rule};
use crate::guest::{Combine, Combined, Trust, Trusts};
use crate::image::{Bitmap, Image};
use crate::report::document::Document;
use crate::report::human::Size;
use crate::report::subject::Subject;
use crate::report::value::Hex;
use crate::source::ReadAt;
use crate::text;
use crate::units::{GuestOffset, GuestSpan};

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
}

/// Ranges of the guest's disk.
type Runs<'i> = Box<dyn Iterator<Item = Result<GuestSpan, Error>> + 'i>;

/// What takes the bitmaps down.
trait Writer {
    fn begin(&mut self, bitmap: &Bitmap, trust: Trust) -> io::Result<()>;
    fn run(&mut self, span: GuestSpan) -> io::Result<()>;
    fn end(&mut self, dirty: Option<u64>, disk_len: u64) -> io::Result<()>;
}

fn tell<R: ReadAt>(
    image: &Image<R>,
    options: &BitmapOptions<'_>,
    writer: &mut dyn Writer,
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
    let mut trusts = Trusts::new(image);
    for bitmap in image.bitmaps() {
        let bitmap = match bitmap {
            Ok(bitmap) => bitmap,
            Err(error) => {
                told.cut = Some(error);
                break;
            }
        };
        if !is_wanted(&bitmap) {
            trusts.pass(&bitmap);
            continue;
        }
        told.count = told.count.saturating_add(1);
        let mut trust = trusts.next(&bitmap);
        if let Some((_, other)) = &second {
            // The result is as good as the worse of the two.
            let other = Trusts::new(image).next(other);
            trust = trust.and_then(|one| Ok(Trust { against: one.against.or(other?.against), ..one }));
        }
        if let Err(error) = one(image, &bitmap, trust, second.as_ref(), options.only_list, writer)? {
            told.cut = Some(error);
        }
    }
    told.missing = options.name.is_some() && told.count == 0 && told.cut.is_none();
    Ok(told)
}

/// Tells one bitmap; an [`Error`] of the image cuts it, and the next is told all the same.
fn one<R: ReadAt>(
    image: &Image<R>,
    bitmap: &Bitmap,
    trust: Result<Trust, Error>,
    second: Option<&(Combine, Bitmap)>,
    only_list: bool,
    writer: &mut dyn Writer,
) -> io::Result<Result<(), Error>> {
    let mut result = trust.map(|_| ());
    writer.begin(bitmap, trust.unwrap_or_default())?;
    let mut dirty = None;
    if let Some(runs) = runs(image, bitmap, second) {
        let mut bytes = 0_u64;
        for run in runs {
            match run {
                Ok(span) => {
                    bytes = bytes.saturating_add(span.len);
                    if !only_list {
                        writer.run(span)?;
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        dirty = Some(bytes);
    }
    writer.end(dirty.filter(|_| result.is_ok()), image.disk_len())?;
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

/// Writes the bitmaps as JSON, as they are read.
///
/// # Errors
/// Where it cannot be written.
pub fn write_bitmaps_json<R: ReadAt>(
    out: impl Write,
    image: &Image<R>,
    options: &BitmapOptions<'_>,
    subject: &Subject<'_>,
) -> io::Result<BitmapsTold> {
    let mut document = Document::new(out);
    document.field("schema", "qcow2-inspect/bitmap/1")?;
    document.field("file", subject)?;
    document.begin_array("bitmaps")?;
    let mut writer = JsonWriter { document, first: true, runs: 0 };
    let told = tell(image, options, &mut writer)?;
    let mut document = writer.document;
    document.end_array()?;
    document.field("complete", &told.cut.is_none())?;
    document.field("error", &told.cut.map(|error| error.to_string()))?;
    // The rules of a bitmap that is not trusted are told with it; `dump` and `check` tell all findings.
    document.field::<[u8; 0]>("findings", &[])?;
    document.finish()?;
    Ok(told)
}

struct JsonWriter<W> {
    document: Document<W>,
    first: bool,
    runs: u64,
}

#[derive(Serialize)]
struct Head<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<Hex<'a>>,
    granularity: Option<u64>,
    flags: Vec<&'static str>,
    trusted: bool,
    reason: Option<String>,
    tail_bits: bool,
}

impl<W: Write> Writer for JsonWriter<W> {
    fn begin(&mut self, bitmap: &Bitmap, trust: Trust) -> io::Result<()> {
        let head = Head {
            name: &text::escape(&bitmap.name),
            name_hex: (!text::is_clean(&bitmap.name)).then_some(Hex(&bitmap.name)),
            granularity: 1_u64.checked_shl(bitmap.head.granularity_bits.0.into()),
            flags: bitmap.head.flags.names().collect(),
            trusted: trust.against.is_none(),
            reason: trust.against.map(reason),
            tail_bits: trust.has_tail_bits,
        };
        let head = serde_json::to_string(&head)?;
        // The object stays open for its ranges.
        let open = head.strip_suffix('}').unwrap_or(&head);
        let separator = if self.first { "\n" } else { ",\n" };
        (self.first, self.runs) = (false, 0);
        self.document.raw(&[separator, open, ",\"dirty\":["])
    }

    fn run(&mut self, span: GuestSpan) -> io::Result<()> {
        let mut number = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [start, len] = &mut number;
        let separator = if self.runs == 0 { "\n{\"start\":" } else { ",\n{\"start\":" };
        self.runs = self.runs.saturating_add(1);
        self.document.raw(&[separator, start.format(span.start.0), ",\"length\":", len.format(span.len), "}"])
    }

    fn end(&mut self, dirty: Option<u64>, disk_len: u64) -> io::Result<()> {
        let percent = dirty.and_then(|dirty| percent(dirty, disk_len));
        let dirty = serde_json::to_string(&dirty)?;
        let percent = serde_json::to_string(&percent)?;
        self.document.raw(&["],\"dirty_bytes\":", &dirty, ",\"dirty_percent\":", &percent, "}"])
    }
}

/// Writes the bitmaps for people, as they are read.
///
/// # Errors
/// Where it cannot be written.
pub fn write_bitmaps_text<R: ReadAt>(
    mut out: impl Write,
    image: &Image<R>,
    options: &BitmapOptions<'_>,
    subject: &Subject<'_>,
) -> io::Result<BitmapsTold> {
    writeln!(out, "file {subject}")?;
    let mut writer = TextWriter(out);
    let told = tell(image, options, &mut writer)?;
    let mut out = writer.0;
    if told.count == 0 && !told.missing {
        writeln!(out, "\nno bitmaps")?;
    }
    if let Some(error) = told.cut {
        writeln!(out, "\nincomplete: {error}")?;
    }
    out.flush()?;
    Ok(told)
}

struct TextWriter<W>(W);

impl<W: Write> Writer for TextWriter<W> {
    fn begin(&mut self, bitmap: &Bitmap, trust: Trust) -> io::Result<()> {
        let out = &mut self.0;
        write!(out, "\nbitmap \"{}\"", text::escape(&bitmap.name))?;
        if let Some(granularity) = 1_u64.checked_shl(bitmap.head.granularity_bits.0.into()) {
            write!(out, " granularity={}", Size(granularity))?;
        }
        for flag in bitmap.head.flags.names() {
            write!(out, " {flag}")?;
        }
        let verdict = trust.against.map_or_else(|| "yes".to_owned(), |rule| format!("no: {}", reason(rule)));
        writeln!(out, "\ncan be used for an incremental backup: {verdict}")?;
        if trust.has_tail_bits {
            writeln!(out, "bits behind the end of the disk are set, and left out here (B18)")?;
        }
        Ok(())
    }

    fn run(&mut self, span: GuestSpan) -> io::Result<()> {
        let GuestSpan { start: GuestOffset(start), len } = span;
        writeln!(self.0, "{start:#018x} {len:#018x}")
    }

    fn end(&mut self, dirty: Option<u64>, disk_len: u64) -> io::Result<()> {
        match dirty {
            None => writeln!(self.0, "dirty: unknown"),
            Some(dirty) => {
                write!(self.0, "dirty: {} ({dirty} bytes)", Size(dirty))?;
                match percent(dirty, disk_len) {
                    Some(percent) => writeln!(self.0, ", {percent} % of the disk"),
                    None => writeln!(self.0),
                }
            }
        }
    }
}

fn reason(rule: &'static Rule) -> String {
    let code = rule.code;
    match rule.attributes.bitmap {
        BitmapTrust::InUse => format!("in-use: it was not saved when the image was closed ({code})"),
        BitmapTrust::Inconsistent => {
            format!("inconsistent: a program without support for bitmaps may have written ({code})")
        }
        BitmapTrust::Kept => format!("{}: {} ({code})", rule.slug, rule.title),
    }
}

/// Hundredths of a per cent, rounded down, as a number with two places.
fn percent(part: u64, whole: u64) -> Option<f64> {
    let hundredths = u128::from(part).checked_mul(10_000)?.checked_div(u128::from(whole))?;
    Some(f64::from(u32::try_from(hundredths).ok()?) / 100.0)
}
