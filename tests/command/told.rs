//! What `check` tells people: the progress is gone before the report, and its numbers make sense.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};

use qcow2_inspect::check::CheckOptions;
use qcow2_inspect::format::header;
use qcow2_inspect::report::{CheckReport, Sink, Subject, write_check};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::Draft;

use crate::process::{image, run};

/// What is shown of the progress is taken off the terminal before the report is written.
#[test]
fn progress_ends_before_the_report_begins() {
    struct Page<'l>(&'l RefCell<Vec<&'static str>>);

    impl Sink for Page<'_> {
        fn text(&mut self, _: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>) -> io::Result<()> {
            self.0.borrow_mut().push("text");
            Ok(())
        }
    }

    let bytes = image("valid/v3-basic");
    let image = Image::open(bytes.as_slice(), Limits::default()).unwrap();
    let log = RefCell::new(Vec::new());
    let report = CheckReport {
        subject: Subject { path: b"image", len: image.file_len() },
        options: CheckOptions::default(),
        as_qemu: false,
    };
    write_check(&image, &report, &mut Page(&log), &mut |progress| {
        log.borrow_mut().push(if progress.is_some() { "progress" } else { "gone" });
    })
    .unwrap();
    let log = log.into_inner();
    let (shown, rest) = log.split_at(log.iter().position(|event| *event == "gone").unwrap());
    assert!(!shown.is_empty() && shown.iter().all(|event| *event == "progress"), "{log:?}");
    assert_eq!(rest, ["gone", "text"]);
}

/// Nothing is counted as more than all of it, nor is a range told that is none.
#[test]
fn numbers_make_sense_to_who_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let text = |draft: &Draft| {
        fs::write(&path, &draft.bytes).unwrap();
        String::from_utf8(run(&["check", path.to_str().unwrap()]).stdout).unwrap()
    };
    let mut draft = Draft::new(image("valid/v3-basic"));
    draft.set_header(header::field::SIZE, 1024);
    let crowded = text(&draft);
    assert!(crowded.contains("clusters: 4 allocated, more than the 1 of the disk, "), "{crowded}");

    let mut draft = Draft::new(image("valid/v3-backing"));
    for n in 0..draft.image().header().v2.l1_size {
        draft.put_u64(draft.l1_entry(n.into()), 0);
    }
    let empty = text(&draft);
    assert!(empty.contains("without the backing file this file holds nothing\n"), "{empty}");
}
