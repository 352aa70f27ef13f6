//! What this tool has to say about its own work, and about the file around the image: T04 and T05 are judged in audit/.

use crate::Error;
use crate::finding::{Evidence, Finding, Rule, Structure, rules};
use crate::image::Image;
use crate::source::ReadAt;
use crate::units::Span;

rules! {
    BUDGET_SPENT: T01 "budget-spent" Note Extra {
        title: "the image asked for more work than one of the limits allows, so a part of it was not judged",
        why: "what was not looked at can hold anything, so the image is never called clean",
        advice: "raise the limit that is named (`--limit NAME=NUMBER`), or distrust the image: no ordinary one comes near it",
        spec: "not in the specification; a limit of this tool, which can be raised",
        fields: [],
        qemu: Silently Silently "QEMU has limits of its own for each table, and none for the work as a \
            whole: a small hostile image can keep it busy without end",
        cut: Unread,
    }
    READ_ERROR: T02 "read-error" Note Extra {
        title: "the file must be readable: an I/O error cut a structure short, and a part was not judged",
        why: "what could not be read can hold anything, and the finding says where",
        advice: "copy the file from the failing medium with a tool that goes on after errors, and check the copy",
        spec: "not in the specification; an error of the medium",
        fields: [],
        qemu: Varies Varies "it depends on what cannot be read: tables of the header keep the image from \
            opening, the rest fails when it is read, and check ends with 'Check failed: Input/output error'",
        cut: Unread,
    }
    FILE_CHANGED: T03 "file-changed" Warning Extra {
        title: "the file must not change while it is inspected",
        why: "parts of two states were read together, so that findings may be of neither. It is seen by the length, the header \
            and the time that no writer can put back (ctime), which chmod and ln move as well",
        advice: "stop what writes to it, or make a snapshot of the storage, and inspect that. Where only its attributes \
            changed, inspect it again",
        spec: "not in the specification; findings about a moving file cannot be relied on",
        fields: [],
        qemu: Silently Silently "QEMU locks the file against other QEMUs, not against other programs",
        cut: Changed,
    }
    OTHER_FORMAT_INSIDE: T04 "other-format-inside" Warning Extra {
        title: "the file is not expected to read as another format too, where other tools look for one",
        why: "a scanner, a boot loader or a probe by content sees another file than QEMU does",
        advice: "reject it from strangers; name the format wherever you open it",
        spec: "not in the specification; two readers would see two different files",
        fields: [],
        qemu: Silently Silently "not looked for: once the header says qcow2, that settles it",
        risk: FromWarning,
    }
    GUEST_LOOKS_LIKE_IMAGE: T05 "guest-looks-like-image" Warning Extra {
        title: "the guest's first sectors are not expected to look like the header of a disk image",
        why: "whoever converts the disk to raw and lets a program probe it hands the guest the choice of the \
            format",
        advice: "always name the format of the raw copy: `-f raw`",
        spec: "not in the specification; a raw copy of the disk would be probed as that format",
        fields: [],
        qemu: Silently Silently "not looked at here; a raw copy of the disk, opened without naming its \
            format, is taken for what the guest wrote",
        risk: FromWarning,
    }
    BEING_WRITTEN: T06 "being-written" Warning Extra {
        title: "no other process may have the image open for writing while it is inspected",
        why: "a writer holds tables back in its memory, so that the file alone may look broken, leaky or whole without being \
            so, and what is read may be of several moments. No writer seen proves nothing: locking can be off, or the \
            writer elsewhere",
        advice: "do not repair: two writers destroy an image. Wait until the writer has closed it, and inspect it again. Of a \
            running guest let QEMU make a backup, or snapshot the storage: a plain copy and `qemu-img convert -U` read a \
            moving file",
        spec: "not in the specification; QEMU's locks on single bytes of the file, of which no data is touched",
        fields: [],
        qemu: Refused Refused "'Failed to get shared \"write\" lock', or '\"resize\"', and 'Is another process using the \
            image?', from every command but those with -U",
        risk: BeingWritten,
    }
}

/// The finding for `error`, which stopped the reading of `structure`: T01 for a spent limit, T02 for bytes that
/// could not be read, and `cut` where a part does not fit into its list or into the file.
pub fn stopped(error: Error, structure: Structure, cut: &'static Rule) -> Finding {
    match error {
        Error::Cut { what, at, wanted, had } => Finding::new(
            cut,
            structure,
            Span::new(at, had),
            format!("{what} with {had} bytes left"),
            format!("{wanted} bytes"),
        ),
        Error::Budget { limit, value, at } => Finding::new(
            &BUDGET_SPENT,
            structure,
            Span::new(at, 0),
            Evidence::Spent(limit, value),
            "a higher limit",
        ),
        Error::Io { what, at, kind } => Finding::new(
            &READ_ERROR,
            structure,
            Span::new(at, 0),
            format!("{what}: {kind}"),
            "bytes that can be read",
        ),
        Error::NotQcow2 { looks_like } => {
            Finding::new(cut, structure, Span::default(), looks_like, Evidence::from("a qcow2 image"))
        }
    }
}

/// T06, where another process is seen to have the image open for writing.
pub fn being_written<R: ReadAt>(image: &Image<R>) -> Option<Finding> {
    let lock = image.writer()?;
    let found = format!("QEMU's {} lock, on byte {}, held by another process", lock.as_str(), lock.byte());
    Some(Finding::new(&BEING_WRITTEN, Structure::File, Span::default(), found, "no writer"))
}

/// T06 and T03: to be asked when everything else has been read.
pub(super) fn check_unchanged<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    out.extend(being_written(image));
    match image.has_changed() {
        Ok(false) => {}
        Ok(true) => {
            let found = "another length, header or ctime: the file or its attributes changed";
            out.push(Finding::new(&FILE_CHANGED, Structure::File, Span::default(), found, "the same"));
        }
        Err(error) => out.push(stopped(error, Structure::File, &READ_ERROR)),
    }
}
