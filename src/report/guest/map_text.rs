//! The map for people.

use std::io::{self, Write};

use super::{Walked, backing};
use crate::guest::{Disk, State};
use crate::report::human::Size;
use crate::report::subject::Subject;
use crate::source::ReadAt;
use crate::units::GuestSpan;

/// Writes the extents as they come, and says how the walk ended.
///
/// # Errors
/// Where a line cannot be written.
pub fn write_map_text<R: ReadAt>(
    mut out: impl Write,
    disk: &Disk<'_, R>,
    range: GuestSpan,
    subject: &Subject<'_>,
) -> io::Result<Walked> {
    writeln!(out, "file {subject}")?;
    writeln!(out, "{} disk of {} ({} bytes)\n", disk.tree().l1.tree, Size(disk.len()), disk.len())?;
    let host = if disk.image().has_external_data() { "data file" } else { "file" };
    writeln!(out, "{:<18} {:<18} {:<12} {host}", "guest", "length", "kind")?;
    let (backing, unknown) = backing(disk.image());
    let mut walked = Walked { cut: unknown, ..Walked::default() };
    for extent in disk.extents(range) {
        let extent = match extent {
            Ok(extent) => extent,
            Err(error) => {
                walked.cut = Some(error);
                break;
            }
        };
        walked.add(&extent);
        let (start, len, kind) = (extent.guest.start.0, extent.guest.len, extent.state.as_str());
        write!(out, "{start:#018x} {len:#018x} {kind:<12}")?;
        match (extent.state, extent.host) {
            (State::Broken(rule), _) => writeln!(out, " {}: {}", rule.code, rule.title)?,
            (_, Some(host)) => writeln!(out, " {:#x}", host.0)?,
            (State::Unallocated, None) if backing.is_some() => writeln!(out, " backing file")?,
            (_, None) => writeln!(out)?,
        }
    }
    writeln!(out)?;
    let names = ["data", "zero", "compressed", "unallocated", "broken"];
    for (name, bytes) in names.iter().zip(walked.bytes).filter(|(_, bytes)| *bytes != 0) {
        writeln!(out, "{name}: {} ({bytes} bytes)", Size(bytes))?;
    }
    if let Some(name) = backing.filter(|_| walked.unallocated() != 0) {
        writeln!(out, "what is unallocated comes from the backing file \"{name}\", which was not opened")?;
    }
    if let Some(error) = walked.cut {
        writeln!(out, "incomplete: {error}")?;
    }
    out.flush()?;
    Ok(walked)
}
