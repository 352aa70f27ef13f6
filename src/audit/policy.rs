//! Policies as data: what rejects an image, and how much it may claim.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::finding::{Finding, Reported, Risk, Rule, Severity};
use crate::rules::{catalogue, find};

/// Characters of a policy's name.
const NAME_LEN: usize = 64;

/// When a finding rejects the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bar {
    /// Never.
    #[serde(alias = "allow")]
    Never,
    /// From severity `fatal` on.
    Fatal,
    /// From severity `corruption` on.
    Corruption,
    /// From severity `leak` on.
    Leak,
    /// From severity `warning` on.
    Warning,
    /// Whatever its severity.
    #[serde(alias = "deny")]
    Always,
}

impl Bar {
    /// The word that policies use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Fatal => "fatal",
            Self::Corruption => "corruption",
            Self::Leak => "leak",
            Self::Warning => "warning",
            Self::Always => "always",
        }
    }

    /// Whether a finding of this severity rejects the image.
    pub fn rejects(self, severity: Severity) -> bool {
        match self {
            Self::Never => false,
            Self::Fatal => severity >= Severity::Fatal,
            Self::Corruption => severity >= Severity::Corruption,
            Self::Leak => severity >= Severity::Leak,
            Self::Warning => severity >= Severity::Warning,
            Self::Always => true,
        }
    }
}

/// How much an image may claim; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Bytes of the virtual disk, or of a snapshot's where that is larger.
    pub virtual_size: Option<u64>,
    /// Bytes of the file, its holes included.
    pub file_size: Option<u64>,
    /// Internal snapshots.
    pub snapshots: Option<u64>,
    /// Persistent bitmaps.
    pub bitmaps: Option<u64>,
    /// Bytes of the largest of these disks for each byte of the file that is not in a hole.
    pub virtual_ratio: Option<u64>,
    /// Bytes of the compressed clusters of all trees, decompressed, for each byte of the file that is not in a hole. L2
    /// tables that trees share count once.
    pub compressed_ratio: Option<u64>,
}

impl Quotas {
    /// Each by the key that policies and reports have for it, in the order of a policy.
    pub fn by_key(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("limits.virtual_size", self.virtual_size),
            ("limits.file_size", self.file_size),
            ("limits.snapshots", self.snapshots),
            ("limits.bitmaps", self.bitmaps),
            ("limits.virtual_ratio", self.virtual_ratio),
            ("limits.compressed_ratio", self.compressed_ratio),
        ]
    }
}

/// What rejects an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Policy {
    /// Its name, for reports: at most 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Whether every compressed cluster is decompressed, so that one that cannot be is a finding (L15).
    pub deep: bool,
    /// How much an image may claim.
    pub limits: Quotas,
    /// When a finding rejects whose rule is not in `rules`.
    pub default: Bar,
    /// When a finding of a rule rejects, by the rule's code.
    pub rules: BTreeMap<&'static str, Bar>,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The name cannot stand in a report.
    #[error("name: at most 64 letters, digits, `-`, `_` and `.` are allowed, and at least one")]
    Name,
    /// There is no such rule.
    #[error("reject.{0}: there is no such rule")]
    NoRule(String),
    /// A rule that no policy may allow.
    #[error("reject.{0}: what could not be judged is never accepted, so no policy can say so")]
    Fixed(&'static str),
    /// A rule that never fires by its own code.
    #[error("reject.{0}: it has no findings of its own{1}")]
    Silent(&'static str, String),
    /// The same rule twice, in two spellings.
    #[error("reject.{0}: named twice")]
    Twice(&'static str),
}

/// A policy as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    deep: bool,
    #[serde(default, deserialize_with = "quotas")]
    limits: Quotas,
    reject: BTreeMap<String, Bar>,
}

/// Limits by their names alone: serde takes them in their order too, in which nobody would see what is which.
fn quotas<'de, D: Deserializer<'de>>(from: D) -> Result<Quotas, D::Error> {
    struct Named;

    impl<'de> Visitor<'de> for Named {
        type Value = Quotas;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of limits")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quotas, A::Error> {
            Quotas::deserialize(MapAccessDeserializer::new(map))
        }
    }

    from.deserialize_map(Named)
}

impl TryFrom<Written> for Policy {
    type Error = PolicyFault;

    fn try_from(written: Written) -> Result<Self, PolicyFault> {
        let Written { name, deep, limits, reject } = written;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_LEN || !name.chars().all(is_plain) {
            return Err(PolicyFault::Name);
        }
        // Without a word on it, a policy is as strict as it can be.
        let mut policy = Self { name, deep, limits, default: Bar::Always, rules: BTreeMap::new() };
        for (key, bar) in reject {
            if key == "default" {
                policy.default = bar;
                continue;
            }
            let rule = find(&key)
                .ok_or_else(|| PolicyFault::NoRule(crate::text::escape(key.as_bytes()).into_owned()))?;
            if rule.means_incomplete() {
                return Err(PolicyFault::Fixed(rule.code));
            }
            let others = match rule.reported_as {
                Reported::Itself => None,
                Reported::As(other) => Some(format!(", {} has them", other.code)),
                Reported::Never => Some(String::new()),
            };
            if let Some(others) = others {
                return Err(PolicyFault::Silent(rule.code, others));
            }
            if policy.rules.insert(rule.code, bar).is_some() {
                return Err(PolicyFault::Twice(rule.code));
            }
        }
        Ok(policy)
    }
}

impl Policy {
    /// The names of the policies that come with the crate.
    pub const BUILT_IN: [&str; 3] = ["upload", "import", "forensic"];

    /// A policy that comes with the crate, by its name.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "upload" => Some(Self::upload()),
            "import" => Some(Self::import()),
            "forensic" => Some(Self::forensic()),
            _ => None,
        }
    }

    /// For images of strangers: no other file, one reading, a closed image without bytes beyond what it needs in the
    /// places that are looked at, names that are what they look like, and claims that a cloud would carry.
    ///
    /// What a table leaves free of its last cluster, clusters in the middle of the file that are not in use, and the areas
    /// of a LUKS header are not looked at.
    pub fn upload() -> Self {
        Self {
            name: "upload".to_owned(),
            // What is decompressed costs time in proportion to what the image claims, and a stream that is broken harms
            // nobody but its guest.
            deep: false,
            limits: Quotas {
                // The largest volume of the large clouds.
                virtual_size: Some(64 << 40),
                file_size: Some(64 << 40),
                // QEMU reads the tables of all of them whenever it opens the image; no one keeps so many.
                snapshots: Some(1024),
                bitmaps: Some(1024),
                virtual_ratio: None,
                // The most that deflate can reach; a whole image beyond it shares its streams, or is a bomb.
                compressed_ratio: Some(1032),
            },
            default: Bar::Corruption,
            rules: by_risk(|risk| match risk {
                Risk::FromWarning => Some(Bar::Warning),
                _ => Some(Bar::Always),
            }),
        }
    }

    /// For images from one's own house: another file is fine where its name is a plain path.
    pub fn import() -> Self {
        Self {
            name: "import".to_owned(),
            deep: false,
            limits: Quotas::default(),
            default: Bar::Corruption,
            rules: by_risk(|risk| match risk {
                Risk::TwoReadings | Risk::FalseName | Risk::UnclearDataFile | Risk::Unsound => {
                    Some(Bar::Always)
                }
                Risk::OtherFile | Risk::FromWarning => Some(Bar::Warning),
                Risk::HiddenBytes | Risk::NotClosed => None,
            }),
        }
    }

    /// Reports, and rejects nothing that could be judged.
    pub fn forensic() -> Self {
        Self {
            name: "forensic".to_owned(),
            deep: false,
            limits: Quotas::default(),
            default: Bar::Never,
            rules: BTreeMap::new(),
        }
    }

    /// The line of the policy by which a finding rejects the image; `None` where it does not.
    pub(super) fn against(&self, finding: &Finding) -> Option<String> {
        let named = self.rules.get(finding.rule.code);
        let bar = named.copied().unwrap_or(self.default);
        let key = if named.is_some() { finding.rule.code } else { "default" };
        bar.rejects(finding.severity).then(|| format!("reject.{key}"))
    }
}

/// The bar of each rule that has a risk with one.
fn by_risk(bar: impl Fn(Risk) -> Option<Bar>) -> BTreeMap<&'static str, Bar> {
    let of = |rule: &'static Rule| Some((rule.code, bar(rule.attributes.risk?)?));
    catalogue().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<Policy, String> {
        serde_json::from_str::<Policy>(text).map_err(|error| error.to_string())
    }

    #[test]
    fn built_in_policies_name_rules_that_fire() {
        for name in Policy::BUILT_IN {
            let policy = Policy::built_in(name).unwrap();
            assert_eq!(policy.name, name);
            for code in policy.rules.keys() {
                let rule = catalogue().find(|rule| rule.code == *code).unwrap();
                assert!(rule.reports_itself(), "{code}");
            }
        }
        assert_eq!(Policy::built_in("Upload"), None);
    }

    #[test]
    fn a_bar_rejects_from_its_severity_on() {
        let bars = [Bar::Never, Bar::Fatal, Bar::Corruption, Bar::Leak, Bar::Warning, Bar::Always];
        let severities =
            [Severity::Fatal, Severity::Corruption, Severity::Leak, Severity::Warning, Severity::Note];
        for (strictness, bar) in bars.into_iter().enumerate() {
            let rejected = severities.iter().filter(|severity| bar.rejects(**severity)).count();
            assert_eq!(rejected, strictness, "{bar:?}");
        }
    }

    #[test]
    fn what_is_not_said_is_strict_and_what_is_wrong_is_told() {
        let policy = written(r#"{"name": "a", "reject": {"l10": "allow", "R12": "deny"}}"#).unwrap();
        assert_eq!((policy.default, policy.limits), (Bar::Always, Quotas::default()));
        assert_eq!(policy.rules, BTreeMap::from([("L10", Bar::Never), ("R12", Bar::Always)]));
        for (text, wanted) in [
            (r#"{"name": "a b", "reject": {}}"#, "name: at most 64"),
            (r#"{"name": "", "reject": {}}"#, "name: at most 64"),
            (r#"{"name": "a", "reject": {"H99": "never"}}"#, "reject.H99: there is no such rule"),
            (r#"{"name": "a", "reject": {"T01": "never"}}"#, "reject.T01: what could not be judged"),
            (
                r#"{"name": "a", "reject": {"H47": "never"}}"#,
                "reject.H47: it has no findings of its own, L07",
            ),
            (r#"{"name": "a", "reject": {"O06": "never"}}"#, "reject.O06: it has no findings of its own"),
            (r#"{"name": "a", "reject": {"L10": "never", "l10": "fatal"}}"#, "reject.L10: named twice"),
            (r#"{"name": "a", "reject": {"L10": "sometimes"}}"#, "unknown variant `sometimes`"),
            (r#"{"name": "a", "reject": {}, "limits": {"size": 1}}"#, "unknown field `size`"),
            (r#"{"name": "a", "reject": {}, "limit": {}}"#, "unknown field `limit`"),
            (
                r#"{"name": "a", "reject": {}, "limits": [1, 2, 3, 4, 5, 6]}"#,
                "invalid type: sequence, expected a table of limits",
            ),
            (r#"{"name": "a", "reject": {}, "deep": 1}"#, "invalid type: integer `1`"),
            (r#"{"name": "a", "reject": {}, "limits": {"bitmaps": -1}}"#, "invalid value: integer `-1`"),
            (r#"{"name": "a"}"#, "missing field `reject`"),
        ] {
            let had = written(text).unwrap_err();
            assert!(had.starts_with(wanted), "{text}: {had}");
        }
    }
}
