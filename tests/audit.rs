//! What an audit decides, and which reasons it has.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use qcow2_inspect::audit::{Audit, AuditOptions, Decision, Policy, Quotas, Reason, audit};
use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::{header, snapshot};
use qcow2_inspect::units::{HostOffset, Span, to_u64};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::Draft;
use qcow2_testkit::readers::FailingAt;

/// An image of the corpus.
fn load(name: &str) -> Draft {
    let path = format!("{}/corpus/{name}.qcow2", env!("CARGO_MANIFEST_DIR"));
    Draft::new(std::fs::read(path).unwrap())
}

fn judged(draft: &Draft, policy: &Policy) -> Audit {
    audit(&draft.image(), policy, &AuditOptions::default())
}

/// The reasons by rule or by key.
fn reasons(audit: &Audit) -> Vec<&str> {
    let name = |reason: &'_ Reason| reason.rule.map(|rule| rule.code);
    audit.reasons.iter().map(|reason| name(reason).or(reason.key.as_deref()).unwrap_or_default()).collect()
}

#[test]
fn an_ordinary_image_is_accepted_by_every_policy() {
    for name in Policy::BUILT_IN {
        let audit = judged(&load("valid/v3-snapshots"), &Policy::built_in(name).unwrap());
        assert_eq!((reasons(&audit), audit.exit_code()), (vec![], 0), "{name}");
    }
}

#[test]
fn a_backing_file_is_for_the_policy_to_judge() {
    let mut draft = load("valid/v3-backing");
    let codes = |draft: &Draft, policy| -> Vec<String> {
        reasons(&judged(draft, &policy)).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(codes(&draft, Policy::upload()), ["H41"]);
    assert_eq!(codes(&draft, Policy::import()), [""; 0]);
    let at = draft.header(header::field::BACKING_FILE_OFFSET);
    draft.put(at, b"nbd:hst:");
    assert_eq!(codes(&draft, Policy::import()), ["H41"]);
    assert_eq!(codes(&draft, Policy::forensic()), [""; 0]);
    draft.put(at, b"base.raw");
    let own = AuditOptions { path: Some(b"/images/base.raw".to_vec()), ..AuditOptions::default() };
    assert_eq!(reasons(&audit(&draft.image(), &Policy::import(), &own)), ["H41"]);
}

#[test]
fn what_could_not_be_judged_is_never_accepted() {
    let draft = load("valid/v3-basic");
    let whole = draft.image();
    audit(&whole, &Policy::upload(), &AuditOptions::default());
    for most in 150..whole.bytes_read() {
        let limits = Limits { read_bytes: most, ..Limits::default() };
        let Ok(image) = Image::open(draft.bytes.as_slice(), limits) else { continue };
        for policy in [Policy::upload(), Policy::forensic()] {
            let audit = audit(&image, &policy, &AuditOptions::default());
            let had = (audit.decision, audit.complete, audit.exit_code());
            assert_eq!(had, (Decision::Reject, false, 1), "{most} bytes: {:?}", audit.reasons);
            assert_eq!(audit.reasons[0].key, None);
        }
    }
}

#[test]
fn what_could_not_be_read_is_never_accepted() {
    let draft = load("valid/v3-basic");
    let mut failed = 0;
    for reads in 0.. {
        let source = FailingAt::new(draft.bytes.as_slice(), reads, std::io::ErrorKind::Other);
        let Ok(image) = Image::open(&source, Limits::default()) else { continue };
        let audit = audit(&image, &Policy::forensic(), &AuditOptions::default());
        if !source.has_failed() {
            assert_eq!(audit.exit_code(), 0);
            break;
        }
        failed += 1;
        assert_eq!((audit.decision, audit.exit_code()), (Decision::Reject, 1), "after {reads} reads");
    }
    assert!(failed > 5, "only {failed} runs failed");
}

#[test]
fn what_is_against_it_goes_before_what_was_not_judged() {
    let draft = load("valid/v3-backing");
    let limits = Limits { read_bytes: 2000, ..Limits::default() };
    let image = Image::open(draft.bytes.as_slice(), limits).unwrap();
    let audit = audit(&image, &Policy::upload(), &AuditOptions::default());
    assert_eq!(reasons(&audit), ["H41", "T01"]);
    assert_eq!((audit.complete, audit.exit_code()), (false, 2));
}

#[test]
fn each_limit_is_held_to_the_last() {
    let draft = load("valid/v3-zlib");
    let len = to_u64(draft.bytes.len());
    let (size, clusters) = (draft.header(header::field::SIZE), judged(&draft, &Policy::forensic()));
    assert!(clusters.capabilities.compressed_clusters);
    let limit = |limits: Quotas| {
        let policy = Policy { limits, ..Policy::forensic() };
        let audit = judged(&draft, &policy);
        assert_eq!(audit.exit_code() == 2, audit.decision == Decision::Reject);
        reasons(&audit).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let none = Quotas::default();
    assert_eq!(limit(Quotas { virtual_size: Some(size), ..none }), [""; 0]);
    assert_eq!(limit(Quotas { virtual_size: Some(size - 1), ..none }), ["limits.virtual_size"]);
    assert_eq!(limit(Quotas { file_size: Some(len), ..none }), [""; 0]);
    assert_eq!(limit(Quotas { file_size: Some(len - 1), ..none }), ["limits.file_size"]);
    let ratio = size.div_ceil(len);
    assert_eq!(limit(Quotas { virtual_ratio: Some(ratio), ..none }), [""; 0]);
    assert_eq!(limit(Quotas { virtual_ratio: Some(ratio - 1), ..none }), ["limits.virtual_ratio"]);
    assert_eq!(limit(Quotas { compressed_ratio: Some(ratio), ..none }), [""; 0]);
    assert_eq!(limit(Quotas { compressed_ratio: Some(0), ..none }), ["limits.compressed_ratio"]);
    for (base, key, count) in
        [("valid/v3-snapshots", "limits.snapshots", 2), ("valid/v3-bitmaps", "limits.bitmaps", 2)]
    {
        let draft = load(base);
        for (most, rejects) in [(count, false), (count - 1, true)] {
            let limits = match key {
                "limits.bitmaps" => Quotas { bitmaps: Some(most), ..none },
                _ => Quotas { snapshots: Some(most), ..none },
            };
            let audit = judged(&draft, &Policy { limits, ..Policy::forensic() });
            assert_eq!(reasons(&audit), if rejects { vec![key] } else { vec![] });
        }
    }
}

/// What a snapshot has comes out of it as well as what the active disk has.
#[test]
fn snapshots_are_held_to_the_limits_too() {
    let limit = |draft: &Draft, limits: Quotas| {
        let audit = judged(draft, &Policy { limits, ..Policy::forensic() });
        let at = audit.reasons.first().and_then(|reason| reason.at);
        (reasons(&audit).into_iter().map(str::to_owned).collect::<Vec<_>>(), at)
    };
    let mut draft = load("valid/v3-snapshots");
    let size = draft.header(header::field::SIZE);
    draft.set_snapshot_extra(1, snapshot::extra_field::DISK_SIZE, size + 1);
    let at = snapshot::extra_field::DISK_SIZE.at(draft.snapshot(1).extra_at());
    let most = |most| Quotas { virtual_size: Some(most), ..Quotas::default() };
    assert_eq!(limit(&draft, most(size)), (vec!["limits.virtual_size".to_owned()], Some(at)));
    assert_eq!(limit(&draft, most(size + 1)).0, [""; 0]);

    // A table that the active tree does not have.
    let mut draft = load("valid/v3-snapshots");
    let compressed = Quotas { compressed_ratio: Some(0), ..Quotas::default() };
    assert_eq!(limit(&draft, compressed).0, [""; 0]);
    let active: Vec<_> =
        (0..draft.header(header::field::L1_SIZE)).map(|index| draft.get(draft.l1_entry(index), 8)).collect();
    let active: Vec<_> = active.iter().map(|entry| entry & 0x00ff_ffff_ffff_fe00).collect();
    let l1 = draft.snapshot(0).head.l1_table_offset.0;
    let table = (0..draft.header(header::field::L1_SIZE))
        .map(|index| draft.get(l1 + 8 * index, 8) & 0x00ff_ffff_ffff_fe00)
        .find(|table| *table != 0 && !active.contains(table))
        .unwrap();
    draft.put_u64(table, 1 << 62 | 512);
    let checked = check(&draft.image(), &CheckOptions::default(), &mut |_: Finding| ());
    assert_eq!((checked.counters.compressed_clusters, checked.compressed), (0, 1));
    assert_eq!(limit(&draft, compressed).0, ["limits.compressed_ratio"]);
}

#[test]
fn a_file_that_reads_as_another_format_is_rejected() {
    let second_luks = [&b"SKUL\xba\xbe\0\x02"[..], &[0; 248], &0x4000_u64.to_be_bytes()].concat();
    for (at, bytes) in [
        (0x8001, &b"CD001"[..]),
        (510, b"\x55\xaa"),
        (512, b"EFI PART"),
        (257, b"ustar"),
        (0xff6, b"SWAP-SPACE"),
        (0x4000, &second_luks),
    ] {
        let mut draft = load("valid/v3-extended-l2");
        draft.put(at, bytes);
        let audit = judged(&draft, &Policy::import());
        assert!(reasons(&audit).contains(&"T04"), "{at:#x}: {:?}", audit.reasons);
    }
    let mut draft = load("valid/v3-basic");
    let len = to_u64(draft.bytes.len());
    draft.put(len - 512, b"conectix");
    assert!(reasons(&judged(&draft, &Policy::upload())).contains(&"T04"));
}

#[test]
fn a_guest_that_starts_like_an_image_is_rejected() {
    let mut draft = load("valid/v3-basic");
    let entry = draft.get(draft.l2_entry(0), 8) & 0x00ff_ffff_ffff_fe00;
    for (magic, is_image) in [
        (&b"QFI\xfb\0\0\0\x03"[..], true),
        (b"KDMV", true),
        (b"# x\n \nversion=1\n", true),
        (b"# x\n \nversion=4\n", false),
        (b"\xeb\x63\x90\0", false),
    ] {
        draft.put(entry, magic);
        let audit = judged(&draft, &Policy::upload());
        assert_eq!(reasons(&audit), if is_image { vec!["T05"] } else { vec![] });
        let at = audit.reasons.first().and_then(|reason| reason.at);
        assert_eq!(at, is_image.then(|| Span::new(HostOffset(entry), 0)));
    }
}

#[test]
fn a_first_cluster_that_does_not_decompress_is_told() {
    let mut draft = load("valid/v3-zlib");
    let entry = draft.get(draft.l2_entry(0), 8);
    let at = entry & ((1 << 60) - 1);
    draft.put(at, &[0xff; 4]);
    assert_eq!(reasons(&judged(&draft, &Policy::upload())), ["L15"]);
}
