//! Family B: the bitmap directory.

use qcow2_inspect::finding::Severity;
use qcow2_inspect::format::bitmap::field;
use qcow2_inspect::format::header;
use qcow2_testkit::damages;

use crate::{load, tables};

#[test]
fn each_damage_breaks_its_rule() {
    tables::each_damage_breaks_its_rule(
        "B",
        &[
            "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B13", "B14",
            "B15", "B16", "B17", "B18", "B19",
        ],
    );
}

#[test]
fn severities_follow_what_qemu_opens() {
    let cases = [
        ("B01", Severity::Fatal, false),
        ("B03", Severity::Fatal, true),
        ("B04-zero", Severity::Fatal, false),
        ("B04-beyond-file", Severity::Corruption, false),
        ("B04-cut", Severity::Corruption, false),
        ("B05-zero", Severity::Fatal, false),
        ("B05-too-large", Severity::Fatal, true),
        ("B06-too-coarse", Severity::Fatal, true),
        ("B06-impossible", Severity::Fatal, false),
        ("B07", Severity::Fatal, false),
        ("B07-extra-data-compatible", Severity::Fatal, true),
        ("B09", Severity::Fatal, true),
        ("B11", Severity::Fatal, false),
        ("B11-up-to-nul", Severity::Fatal, true),
        ("B14", Severity::Fatal, false),
        ("B14-in-use", Severity::Corruption, false),
        ("B16-unaligned", Severity::Fatal, false),
        ("B16-beyond-file", Severity::Corruption, false),
    ];
    for (name, severity, is_qemu) in cases {
        let (_, finding) = tables::finding(name);
        assert_eq!((finding.severity, finding.qemu_limit), (severity, is_qemu), "{name}");
    }
}

#[test]
fn bitmaps_that_are_not_loaded_break_nothing() {
    for damage in damages().filter(|damage| damage.rule.code.starts_with('B')) {
        let mut draft = load(damage.base);
        (damage.breaks)(&mut draft);
        draft.set_header(header::field::AUTOCLEAR_FEATURES, 0);
        let found = tables::findings(&draft);
        let name = tables::title(damage);
        assert!(found.iter().any(|finding| finding.rule == damage.rule), "{name}");
        assert!(found.iter().all(|finding| finding.severity <= Severity::Warning), "{name}");
    }
}

#[test]
fn a_bitmap_in_use_may_have_any_table_size() {
    let mut draft = load("valid/v3-bitmaps");
    draft.set_bitmap(1, field::FLAGS, 1);
    draft.set_bitmap(1, field::BITMAP_TABLE_SIZE, 2);
    let found = tables::findings(&draft);
    assert_eq!(tables::codes(&found), ["B17", "B19"]);
    assert!(found.iter().all(|finding| finding.severity == Severity::Note));
}

#[test]
fn a_name_cut_by_the_end_of_the_file_is_not_fatal() {
    let mut draft = load("valid/v3-bitmaps");
    draft.truncate(draft.bitmap(1).name_at().0 + 2);
    let found = tables::findings(&draft);
    assert_eq!(tables::codes(&found), ["B01"]);
    assert_eq!(found[0].severity, Severity::Corruption);
}

#[test]
fn an_entry_beyond_the_limit_has_extra_data() {
    let mut draft = load("valid/v3-bitmaps");
    draft.set_bitmap(1, field::EXTRA_DATA_SIZE, 1 << 30);
    let found = tables::findings(&draft);
    assert_eq!(tables::codes(&found), ["B03", "T01"]);
}
