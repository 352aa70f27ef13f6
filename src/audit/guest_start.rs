//! T05: what the guest wrote into its first sectors, as a program would take it that probes a raw copy of the disk.

use std::io;

use crate::Image;
use crate::finding::{Finding, Guest, Structure};
use crate::format::probe::{self, PROBED_LEN};
use crate::guest::{Cause, CopyError, CopyOptions, DataFile, Disk, Fault, Sink, copy};
use crate::rules::named::{COMPRESSED_DATA_BROKEN, GUEST_LOOKS_LIKE_IMAGE, READ_ERROR};
use crate::rules::stopped;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Span, to_usize};

/// The guest's first bytes, with zeros for what is not in this file.
struct Start<'o> {
    bytes: Vec<u8>,
    out: &'o mut Vec<Finding>,
}

impl Sink for Start<'_> {
    fn bytes(&mut self, _: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend(bytes);
        Ok(())
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        let len = self.bytes.len().saturating_add(to_usize(range.len.min(PROBED_LEN)));
        self.bytes.resize(len, 0);
        Ok(())
    }

    fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        match fault.cause {
            Cause::Read(error) => self.out.push(stopped(error, Structure::File, &READ_ERROR)),
            Cause::Stream { at, fault: what } => {
                let finding = Finding::new(
                    &COMPRESSED_DATA_BROKEN,
                    Structure::L2Table,
                    Span::new(at, 0),
                    what.to_string(),
                    "a whole cluster",
                );
                let guest = Guest { tree: crate::units::Tree::Active, span: fault.guest };
                self.out.push(finding.hurting(guest));
            }
            // The check has said so, or the bytes are not in this file.
            _ => {}
        }
        Ok(())
    }
}

/// Looks at the first sectors of the active disk, as far as this file has them in the clear.
pub(super) fn check<R: ReadAt + Sync>(image: &Image<R>, out: &mut Vec<Finding>) {
    let Some(disk) = Disk::active(image).filter(|disk| !disk.is_encrypted()) else { return };
    if image.has_external_data() {
        return;
    }
    let range = GuestSpan { start: GuestOffset(0), len: disk.len().min(PROBED_LEN) };
    let options = CopyOptions { keep_going: true, without_backing: true, ..CopyOptions::default() };
    let mut start = Start { bytes: Vec::new(), out };
    let copied = copy(&disk, None::<&DataFile<&[u8]>>, range, options, &mut start);
    let Start { bytes, out } = start;
    match copied {
        Err(CopyError::Read(error)) => out.push(stopped(error, Structure::L2Table, &READ_ERROR)),
        // Memory takes what it is given, and faults are passed over.
        Err(CopyError::Fault(_) | CopyError::Output(_)) | Ok(_) => {}
    }
    if let Some(name) = probe::disk_image(&bytes) {
        let found = format!("the start of {name}");
        let at = match disk.locate(GuestOffset(0)) {
            Ok(trace) => trace.host.unwrap_or_default(),
            Err(error) => {
                out.push(stopped(error, Structure::L2Table, &READ_ERROR));
                HostOffset(0)
            }
        };
        let finding = Finding::new(
            &GUEST_LOOKS_LIKE_IMAGE,
            Structure::File,
            Span::new(at, 0),
            found,
            "sectors that no program takes for an image",
        );
        let guest = Guest { tree: crate::units::Tree::Active, span: range };
        out.push(finding.hurting(guest));
    }
}
