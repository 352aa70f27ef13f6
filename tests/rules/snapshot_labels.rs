//! Names, ids and dates of snapshots.

use qcow2_inspect::finding::Severity;
use qcow2_inspect::image::Part;
use qcow2_inspect::rules::Judge;

use crate::{load, tables};

#[test]
fn names_may_repeat_and_ids_not() {
    assert_eq!(tables::finding("S09-id").1.severity, Severity::Warning);
    assert_eq!(tables::finding("S09-name").1.severity, Severity::Note);
}

#[test]
fn the_present_is_not_in_the_future() {
    let draft = load("valid/v3-snapshots");
    let snapshot = draft.snapshot(0);
    let date = i64::from(snapshot.head.date_sec.0);
    for (now, count) in [(None, 0), (Some(date), 0), (Some(date - 1), 1)] {
        let mut out = Vec::new();
        Judge::new(&draft.image(), now).part(&Part::Snapshot(&snapshot), &mut out);
        assert_eq!(out.len(), count, "{now:?}");
    }
}
