//! The map as JSON Lines: an extent a line, and a summary.

use std::io::{self, Write};

use serde::Serialize;

use super::{Walked, backing};
use crate::guest::{Disk, State};
use crate::report::subject::Subject;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Tree};

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    schema: &'static str,
    file: &'a Subject<'a>,
    tree: Tree,
    length: u64,
    backing_file: Option<&'a str>,
}

#[derive(Serialize)]
struct Line {
    r#type: &'static str,
    start: GuestOffset,
    length: u64,
    kind: &'static str,
    offset: Option<HostOffset>,
    /// Whether a backing file fills it.
    backing: bool,
    rule: Option<&'static str>,
}

#[derive(Serialize)]
struct End {
    r#type: &'static str,
    complete: bool,
    error: Option<String>,
    data: u64,
    zero: u64,
    compressed: u64,
    unallocated: u64,
    broken: u64,
}

/// Writes the extents as they come, and says how the walk ended.
///
/// # Errors
/// Where a line cannot be written.
pub fn write_map_lines<R: ReadAt>(
    mut out: impl Write,
    disk: &Disk<'_, R>,
    range: GuestSpan,
    subject: &Subject<'_>,
) -> io::Result<Walked> {
    let mut line = |item: &dyn erased::Line| -> io::Result<()> { item.write(&mut out) };
    let (backing, unknown) = backing(disk.image());
    line(&Start {
        r#type: "file",
        schema: "qcow2-inspect/map/1",
        file: subject,
        tree: disk.tree().l1.tree,
        length: disk.len(),
        backing_file: backing.as_deref(),
    })?;
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
        line(&Line {
            r#type: "extent",
            start: extent.guest.start,
            length: extent.guest.len,
            kind: extent.state.as_str(),
            offset: extent.host,
            backing: extent.state == State::Unallocated && backing.is_some(),
            rule: match extent.state {
                State::Broken(rule) => Some(rule.code),
                _ => None,
            },
        })?;
    }
    let [data, zero, compressed, unallocated, broken] = walked.bytes;
    line(&End {
        r#type: "summary",
        complete: walked.cut.is_none(),
        error: walked.cut.map(|error| error.to_string()),
        data,
        zero,
        compressed,
        unallocated,
        broken,
    })?;
    out.flush()?;
    Ok(walked)
}

/// Any of the lines.
mod erased {
    use std::io::{self, Write};

    use serde::Serialize;

    pub(super) trait Line {
        fn write(&self, out: &mut dyn Write) -> io::Result<()>;
    }

    impl<T: Serialize> Line for T {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            serde_json::to_writer(&mut *out, self)?;
            out.write_all(b"\n")
        }
    }
}
