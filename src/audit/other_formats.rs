//! T04: the file as other tools would read it.

use crate::Image;
use crate::finding::{Finding, Severity, Structure};
use crate::format::foreign::{self, Foreign};
use crate::rules::named::{OTHER_FORMAT_INSIDE, READ_ERROR};
use crate::rules::stopped;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

/// Looks for the signatures of other formats where their readers look for them.
///
/// Whatever stands there, be it padding or the guest's own data: a reader that goes by content takes the file for the
/// other format, and sees another disk than QEMU does. Only where the signature is too short to be no accident it is a
/// note.
pub(super) fn check<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let tail_at = image.file_len().saturating_sub(foreign::LONG_TAIL_LEN);
    let start = read(image, "the file's start", HostOffset(0), foreign::START_LEN, out);
    let tail = read(image, "the file's end", HostOffset(tail_at), foreign::LONG_TAIL_LEN, out);
    let mut found = foreign::beside_qcow2(&start, &tail, tail_at);
    for at in foreign::LUKS2_AT {
        let header = read(image, "a second LUKS header", HostOffset(at), foreign::LUKS2_LEN, out);
        found.extend(foreign::luks2_at(at, &header));
    }
    for Foreign { at, len, name, is_certain } in found {
        let at = Span::new(HostOffset(at), len);
        let found = format!("what makes it {name}");
        let finding = Finding::new(&OTHER_FORMAT_INSIDE, Structure::File, at, found, "a qcow2 image alone");
        out.push(if is_certain { finding } else { finding.at_most(Severity::Note) });
    }
}

fn read<R: ReadAt>(
    image: &Image<R>,
    what: &'static str,
    at: HostOffset,
    len: u64,
    out: &mut Vec<Finding>,
) -> Vec<u8> {
    let bytes = image.source().read_vec(what, at, len);
    bytes.unwrap_or_else(|error| {
        out.push(stopped(error, Structure::File, &READ_ERROR));
        Vec::new()
    })
}
