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
use std::sync::Arc;

use crate::Image;
use crate::check::{CheckOptions, Verdict, check};
use crate::finding::{Findings, Risk, Rule, Severity};
use crate::image::SnapshotNames;
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
    /// What the snapshots are called that findings are about.
    pub names: Arc<SnapshotNames>,
}

impl Audit {
    /// Whether the image was rejected while another process had it open for writing, so that the same bytes may be
    /// accepted once that is over.
    pub fn is_of_the_moment(&self) -> bool {
        let is_written = |rule: &Rule| rule.attributes.risk == Some(Risk::BeingWritten);
        self.exit_code() == 2 && self.reasons.iter().any(|reason| reason.rule.is_some_and(is_written))
    }

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
        names: checked.names,
    }
}
