//! Family E: the header extensions.

use qcow2_inspect::finding::Severity;
use qcow2_inspect::format::extension::{self, BITMAPS};
use qcow2_inspect::format::header::field;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::units::HostOffset;

use crate::heads::{families, findings};
use crate::load;

#[test]
fn damages_fire_their_rule_and_near_ones_do_not() {
    families(&["E"]);
}

/// What QEMU does not look at cannot keep it from opening the image.
#[test]
fn bitmaps_that_are_not_loaded_are_no_more_than_warnings() {
    let mut draft = load("valid/v3-bitmaps");
    let data = draft.extension_data(BITMAPS);
    draft.put(data, &[0xff; 24]);
    let severities = |file: &[u8]| -> Vec<_> {
        let had = findings(file);
        had.iter().map(|finding| (finding.rule.code, finding.severity)).collect()
    };
    let fatal = ["E15", "E17", "E19", "E18"];
    assert_eq!(severities(&draft.bytes), fatal.map(|code| (code, Severity::Fatal)));
    draft.set_header(field::AUTOCLEAR_FEATURES, 0);
    let lower = ["E21", "E15", "E17", "E19", "E18"].map(|code| (code, Severity::Warning));
    assert_eq!(severities(&draft.bytes), lower);
    draft.set_field(HostOffset(draft.extension(BITMAPS)), extension::field::LENGTH, 16);
    assert!(severities(&draft.bytes).contains(&("E14", Severity::Fatal)));
}

/// Bytes that are too few for an end mark are too few behind the end of the file, too.
#[test]
fn left_over_bytes_are_missed_nowhere() {
    let mut draft = load("valid/v3-basic");
    draft.set_header(field::HEADER_LENGTH, 1023);
    for len in [130, 1023, 1024] {
        let had = findings(&draft.bytes[..len]);
        let fatal = had.iter().filter(|finding| finding.severity == Severity::Fatal);
        assert_eq!(fatal.map(|finding| finding.rule.code).collect::<Vec<_>>(), ["E01"], "{len}");
    }
}

/// An area full of empty extensions: QEMU needs seconds for it.
#[test]
fn many_extensions_are_cheap() {
    let mut draft = load("valid/v3-extended-l2");
    draft.set_header(field::CLUSTER_BITS, 21);
    draft.bytes.resize(2 << 20, 0);
    let at = draft.image().header().extensions_at().0;
    for n in 0..((2 << 20) - at) / 8 {
        draft.put_number(at + n * 8, 8, (u64::from(Magic(0x6162_6364).0) + n % 100_000) << 32);
    }
    let had = findings(&draft.bytes);
    assert_eq!(had.iter().filter(|finding| finding.rule.code == "E26").count(), 262_130);
    assert_eq!(had.iter().filter(|finding| finding.rule.code == "E02").count(), 162_130);
}
