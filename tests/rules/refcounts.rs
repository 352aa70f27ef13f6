//! Family R: the refcount table and its blocks.

use qcow2_inspect::format::refcount::RefcountWidth;
use qcow2_inspect::image::{Part, RefcountRun, Table};
use qcow2_inspect::rules::Judge;
use qcow2_inspect::units::{Geometry, HostOffset, Span};
use qcow2_testkit::Draft;
use qcow2_testkit::writer::Plan;

use crate::{heads, tables};

#[test]
fn each_damage_breaks_its_rule() {
    tables::each_damage_breaks_its_rule("R", &["R01", "R02", "R03", "R08"]);
    // Which the header alone tells.
    heads::families(&["R10"]);
}

#[test]
fn a_run_past_the_end_tells_its_first_cluster() {
    let geometry = Geometry::new(16, false).unwrap();
    let mut bytes = Plan::new(16, 0).write().bytes;
    bytes.resize(10 << 16, 0);
    let draft = Draft::new(bytes);
    let image = draft.image();
    let block = Table::refcount_block(0, HostOffset(0x2_0000), geometry, RefcountWidth::new(4).unwrap());
    let (mut judge, mut out) = (Judge::new(&image, None), Vec::new());
    let mut run = |first_cluster, count, value| {
        let (at, host_offset) = (Span::default(), Some(HostOffset(0)));
        let run = RefcountRun { index: first_cluster, count, value, at, first_cluster, host_offset };
        judge.part(&Part::Refcounts(&block, &run), &mut out);
        std::mem::take(&mut out)
    };
    assert_eq!(run(0, 10, 1), []);
    assert_eq!(run(10, u64::MAX, 0), []);
    let found = run(8, 4, 7);
    assert_eq!((found[0].at, found[0].consequences), (Some(Span::new(HostOffset(0x2_0014), 4)), 2));
    assert_eq!(found[0].found, "7 for cluster 10".to_owned().into());
    assert_eq!(run(u64::MAX, u64::MAX, 1)[0].consequences, u64::MAX);
}
