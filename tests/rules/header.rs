//! Family H: the header's own fields.

use crate::heads::{check_file, families};
use crate::load;

#[test]
fn damages_fire_their_rule_and_near_ones_do_not() {
    families(&["H"]);
}

/// Cut at each length, an image gives findings about what is there, and H01 exactly while the header is cut.
#[test]
fn a_cut_header_is_one_finding() {
    for (base, whole) in [("valid/v2-basic", 72), ("valid/v3-basic", 112)] {
        let bytes = load(base).bytes;
        for len in 4..160 {
            let codes = check_file(&bytes[..len]);
            let cut = codes.contains(&"H01");
            assert_eq!(cut, len < whole, "{base} cut to {len}: {codes:?}");
            let allowed = |code: &&str| ["H01", "H34", "E01"].contains(code);
            assert!(codes.iter().all(allowed), "{base} cut to {len}: {codes:?}");
        }
    }
}
