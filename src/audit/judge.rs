//! What is found in an image, held against a policy.

use std::collections::BTreeMap;

use super::{Policy, Quotas, Reason, claims};
use crate::finding::{Finding, Findings, Rule, Severity, Structure};
use crate::format::{extension, header};
use crate::rules::named::READ_ERROR;
use crate::rules::stopped;
use crate::source::ReadAt;
use crate::{Error, Image};

/// Takes what is found, and holds it against the policy.
pub(super) struct PolicyJudge<'p> {
    policy: &'p Policy,
    pub(super) findings: Findings,
    /// By the rule's code, or the limit's key.
    pub(super) reasons: BTreeMap<&'static str, Reason>,
}

impl<'p> PolicyJudge<'p> {
    pub(super) fn new(policy: &'p Policy, per_rule: usize) -> Self {
        Self { policy, findings: Findings::new(per_rule), reasons: BTreeMap::new() }
    }

    pub(super) fn finding(&mut self, finding: Finding) {
        let rule = finding.rule;
        let key = if rule.means_incomplete() { Some(None) } else { self.policy.against(&finding).map(Some) };
        if let Some(key) = key {
            self.reason(rule, key, &finding);
        }
        self.findings.push(finding);
    }

    fn reason(&mut self, rule: &'static Rule, key: Option<String>, finding: &Finding) {
        let new = || Reason {
            rule: Some(rule),
            key,
            severity: finding.severity,
            message: finding.message(),
            at: finding.at,
            count: 0,
        };
        let reason = self.reasons.entry(rule.code).or_insert_with(new);
        reason.count = reason.count.saturating_add(finding.consequences);
        if finding.severity > reason.severity {
            (reason.severity, reason.message, reason.at) = (finding.severity, finding.message(), finding.at);
        }
    }

    /// Holds what the image claims against the policy's limits.
    pub(super) fn limits<R: ReadAt>(&mut self, image: &Image<R>, compressed_clusters: u64) {
        let header = image.header();
        let cluster_size = image.geometry().map_or(0, |geometry| geometry.cluster_size());
        let bitmaps = image.bitmaps_extension();
        let decompressed = compressed_clusters.saturating_mul(cluster_size);
        let (size, size_at) = self.cut_off(claims::largest_disk(image));
        let Quotas { virtual_ratio, compressed_ratio, .. } = self.policy.limits;
        let ratios = [(size, virtual_ratio), (decompressed, compressed_ratio)];
        let data_len = self.cut_off(claims::data_len(image, &ratios)).max(1);
        let bitmaps_at = bitmaps.map(|(at, _)| extension::bitmaps_field::NB_BITMAPS.at(at));
        let [virtual_size, file_size, snapshots, most_bitmaps, virtual_ratio, compressed_ratio] =
            self.policy.limits.by_key();
        let claims = [
            (virtual_size, size, Some(size_at), "bytes of virtual disk"),
            (file_size, image.file_len(), None, "bytes of file"),
            (
                snapshots,
                header.v2.nb_snapshots.into(),
                Some(header.span(header::field::NB_SNAPSHOTS)),
                "snapshots",
            ),
            (
                most_bitmaps,
                bitmaps.map_or(0, |(_, extension)| extension.nb_bitmaps.into()),
                bitmaps_at,
                "bitmaps",
            ),
            (
                virtual_ratio,
                size.div_ceil(data_len),
                Some(size_at),
                "bytes of virtual disk for each byte of file",
            ),
            (
                compressed_ratio,
                decompressed.div_ceil(data_len),
                None,
                "bytes of compressed clusters, decompressed, for each byte of file",
            ),
        ];
        for ((key, most), claim, at, what) in claims {
            let Some(most) = most.filter(|most| claim > *most) else { continue };
            let reason = Reason {
                rule: None,
                key: Some(key.to_owned()),
                severity: Severity::Warning,
                message: format!("the policy has a limit; found {claim} {what}, wanted at most {most}"),
                at,
                count: 1,
            };
            self.reasons.insert(key, reason);
        }
    }

    /// What is known, with a finding of what kept the rest from being known.
    fn cut_off<T>(&mut self, (known, error): (T, Option<Error>)) -> T {
        if let Some(error) = error {
            self.finding(stopped(error, Structure::File, &READ_ERROR));
        }
        known
    }
}
