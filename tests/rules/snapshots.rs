//! Family S: the snapshot table.

use qcow2_inspect::finding::Severity;

use crate::tables;

#[test]
fn each_damage_breaks_its_rule() {
    tables::each_damage_breaks_its_rule(
        "S",
        &[
            "S01", "S02", "S03", "S04", "S05", "S06", "S07", "S08", "S09", "S10", "S11", "S12", "S13", "S14",
            "S15", "S18",
        ],
    );
}

#[test]
fn what_only_qemu_refuses_is_marked() {
    for (name, is_qemu) in
        [("S02", true), ("S02-beyond-file", true), ("S03", true), ("S06", true), ("S04", false)]
    {
        assert_eq!(tables::finding(name).1.qemu_limit, is_qemu, "{name}");
    }
    let (_, finding) = tables::finding("S02-beyond-limit");
    assert_eq!((finding.severity, finding.at.unwrap().len), (Severity::Fatal, 4));
}
