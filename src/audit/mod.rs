//! The upload gate: everything is checked, and a policy says whether the image may go further.
//!
//! It fails closed. What could not be judged, because a budget was spent or the file could not be read, is never
//! accepted, whatever the policy says.
#![warn(clippy::arithmetic_side_effects)]

mod capabilities;
mod claims;
mod guest_start;
mod judge;
mod other_formats;
mod own_name;
mod policy;

use std::num::NonZero;

use crate::Image;
use crate::check::{CheckOptions, Verdict, check};
use crate::finding::{Findings, Rule, Severity};
use crate::source::ReadAt;
use crate::units::Span;

use judge::PolicyJudge;

pub use capabilities::Capabilities;
pub use policy::{Bar, Policy, PolicyFault, Quotas};

/// What an audit knows beside the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    /// The present, in seconds since 1970; without it nothing is said of dates in the future.
    pub now: Option<i64>,
    /// The image's own path from the root, so that a name that leads back to it is seen. No file is looked for.
    pub path: Option<Vec<u8>>,
    /// On how many threads clusters are decompressed where the policy is deep; without it, on the caller's alone.
    pub threads: Option<NonZero<usize>>,
}

/// Whether the image may go further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything was judged, and nothing is against it.
    Accept,
    /// Something is against it, or could not be judged.
    Reject,
}

impl Decision {
    /// The word that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
        }
    }
}

/// What is against an image: one for each rule and for each limit of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule that was broken; `None` where a limit of the policy was passed.
    pub rule: Option<&'static Rule>,
    /// The line of the policy that decides, such as `limits.virtual_size`; `None` where no policy could decide
    /// otherwise.
    pub key: Option<String>,
    /// The highest severity among the breaches.
    pub severity: Severity,
    /// What is wrong, of the first breach with that severity.
    pub message: String,
    /// The bytes of the file that show it, where there are such bytes.
    pub at: Option<Span>,
    /// How many breaches there are.
    pub count: u64,
}

/// What came of an audit.
#[derive(Debug)]
pub struct Audit {
    /// Whether the image may go further.
    pub decision: Decision,
    /// The policy's name.
    pub policy: String,
    /// What is against it, the worst first.
    pub reasons: Vec<Reason>,
    /// Whether everything was judged.
    pub complete: bool,
    /// What the check said.
    pub verdict: Verdict,
    /// What a reader needs to support.
    pub capabilities: Capabilities,
    /// Compressed clusters that were decompressed; `None` where the policy is not deep, and nothing is known of them.
    pub decompressed: Option<u64>,
    /// All that was found, whether the policy minds or not.
    pub findings: Findings,
}

impl Audit {
    /// The exit code of `audit`: 0 accepted, 2 rejected, 1 where all that is against the image is that a part of it
    /// could not be judged.
    pub fn exit_code(&self) -> u8 {
        match self.decision {
            Decision::Accept => 0,
            Decision::Reject
                if self.reasons.iter().all(|reason| reason.rule.is_some_and(Rule::means_incomplete)) =>
            {
                1
            }
            Decision::Reject => 2,
        }
    }
}

/// Judges an image by a policy: the whole check, what else the file could be taken for, and the policy's limits.
///
/// Nothing but the image's own bytes is read, within its [`Limits`](crate::Limits).
pub fn audit<R: ReadAt + Sync>(image: &Image<R>, policy: &Policy, options: &AuditOptions) -> Audit {
    let mut judge = PolicyJudge::new(policy, image.limits().findings_per_rule);
    let deep = policy.deep.then_some(options.threads.unwrap_or(NonZero::<usize>::MIN));
    let check_options = CheckOptions { now: options.now, deep, ..CheckOptions::default() };
    let checked = check(image, &check_options, &mut |finding| judge.finding(finding));
    let mut out = Vec::new();
    own_name::check(image, options.path.as_deref(), &mut out);
    other_formats::check(image, &mut out);
    guest_start::check(image, &mut out);
    out.into_iter().for_each(|finding| judge.finding(finding));
    let capabilities = Capabilities::new(image, checked.compressed > 0);
    judge.limits(image, checked.compressed);

    let PolicyJudge { findings, mut reasons, .. } = judge;
    let complete =
        checked.complete && !reasons.values().any(|reason| reason.rule.is_some_and(Rule::means_incomplete));
    let mut sorted: Vec<_> = std::mem::take(&mut reasons).into_values().collect();
    sorted.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    let decision = if complete && sorted.is_empty() { Decision::Accept } else { Decision::Reject };
    Audit {
        decision,
        policy: policy.name.clone(),
        reasons: sorted,
        complete,
        verdict: checked.verdict,
        capabilities,
        decompressed: checked.decompressed,
        findings,
    }
}

#[cfg(all(test, feature = "testkit"))]
#[expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::format::{header, snapshot};
    use crate::testkit::Draft;
    use crate::testkit::readers::FailingAt;

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
        audit
            .reasons
            .iter()
            .map(|reason| name(reason).or(reason.key.as_deref()).unwrap_or_default())
            .collect()
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
        let len = crate::units::to_u64(draft.bytes.len());
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
        let active: Vec<_> = (0..draft.header(header::field::L1_SIZE))
            .map(|index| draft.get(draft.l1_entry(index), 8))
            .collect();
        let active: Vec<_> = active.iter().map(|entry| entry & 0x00ff_ffff_ffff_fe00).collect();
        let l1 = draft.snapshot(0).head.l1_table_offset.0;
        let table = (0..draft.header(header::field::L1_SIZE))
            .map(|index| draft.get(l1 + 8 * index, 8) & 0x00ff_ffff_ffff_fe00)
            .find(|table| *table != 0 && !active.contains(table))
            .unwrap();
        draft.put_u64(table, 1 << 62 | 512);
        let checked = check(&draft.image(), &CheckOptions::default(), &mut |_: crate::finding::Finding| ());
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
        let len = crate::units::to_u64(draft.bytes.len());
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
            assert_eq!(at, is_image.then(|| Span::new(crate::units::HostOffset(entry), 0)));
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
}
