//! Family H: the header's own fields.

use qcow2_inspect::format::header::field;
use qcow2_inspect::rules::named::HEADER_CLUSTER_HIDDEN_DATA;

use crate::heads::{check_file, families, findings};
use crate::load;

/// H43 is about the first cluster, wherever the backing file's name stands: other structures lie behind it.
#[test]
fn what_lies_between_the_first_cluster_and_a_name_is_not_hidden_in_it() {
    let hidden = |byte_at: Option<usize>| {
        let mut draft = load("valid/v3-backing");
        let (cluster, name_at) = (draft.cluster_size(), draft.add_clusters(1));
        draft.put(name_at, b"base.raw");
        draft.put(draft.header(field::BACKING_FILE_OFFSET), &[0; 8]);
        draft.set_header(field::BACKING_FILE_OFFSET, name_at);
        byte_at.into_iter().for_each(|at| draft.bytes[at] = 1);
        let spans: Vec<_> = findings(&draft.bytes)
            .iter()
            .filter(|finding| finding.rule.code == HEADER_CLUSTER_HIDDEN_DATA.code)
            .filter_map(|finding| finding.at.map(|span| (span.at.0, span.len)))
            .collect();
        (cluster, spans)
    };
    let (cluster, none) = hidden(None);
    assert_eq!(none, []);
    let last = usize::try_from(cluster - 1).unwrap();
    assert_eq!(hidden(Some(last)).1, [(cluster - 1, 1)]);
}

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
