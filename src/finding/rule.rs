//! One row of the catalogue of rules, and the macro that declares one.

use serde::Serialize;

/// Declares the rules of one file: each as a static that is called by its code, all of them as `ALL`, and `codes` for
/// re-exporting them.
macro_rules! rules {
    ($($code:ident $slug:literal $severity:ident $origin:ident {
        title: $title:literal,
        why: $why:literal,
        advice: $advice:literal,
        spec: $spec:literal,
        fields: [$($field:literal),* $(,)?],
        qemu: $opens:ident $checks:ident $says:literal
        $(, reported_as: $alias:literal)? $(,)?
    })*) => {
        $(
            #[doc = $title]
            pub static $code: $crate::finding::Rule = $crate::finding::Rule {
                code: stringify!($code),
                slug: $slug,
                title: $title,
                severity: $crate::finding::Severity::$severity,
                origin: $crate::finding::Origin::$origin,
                spec: $spec,
                fields: &[$($field),*],
                opens: $crate::finding::Opens::$opens,
                checks: $crate::finding::Checks::$checks,
                qemu_says: $says,
                reported_as: rules!(@alias $($alias)?),
                why: $why,
                advice: $advice,
            };
        )*
        pub(crate) static ALL: &[&$crate::finding::Rule] = &[$(&$code),*];
        pub(crate) mod codes {
            $(pub use super::$code;)*
        }
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}
pub(crate) use rules;

/// How bad a finding is; the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// A requirement broken without effect on guest data, or a risk.
    Warning,
    /// Clusters are allocated that nothing uses.
    Leak,
    /// The guest would read wrong data, or metadata is shared or overwritten.
    Corruption,
    /// QEMU would not open the image.
    Fatal,
}

impl Severity {
    /// The word that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Leak => "leak",
            Self::Corruption => "corruption",
            Self::Fatal => "fatal",
        }
    }
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A MUST of the specification.
    Must,
    /// A SHOULD of the specification, or a reserved value.
    Should,
    /// A limit of QEMU's own.
    Qemu,
    /// Ours: security, forensics, or readers that would disagree.
    Extra,
}

/// What QEMU does when it opens an image that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opens {
    /// It opens, and nothing is said.
    Silently,
    /// It is refused.
    Refused,
    /// It opens; reading the guest range fails.
    FailsOnRead,
    /// It depends, as `qemu_says` tells.
    Varies,
}

/// What `qemu-img check` makes of an image that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checks {
    /// No error is reported: a blind spot, or nothing wrong.
    Silently,
    /// `corruptions`, exit 2.
    Corruption,
    /// `leaks`, exit 3.
    Leak,
    /// The check itself fails, exit 1.
    CheckError,
    /// The image cannot be opened, exit 1.
    Refused,
    /// It depends, as `qemu_says` tells.
    Varies,
}

/// One row of the catalogue.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The public name, such as `H08`.
    pub code: &'static str,
    /// The readable name, such as `header-length-unaligned`: lower case and hyphens.
    pub slug: &'static str,
    /// What must hold, as one sentence without its full stop.
    pub title: &'static str,
    /// The highest severity that a finding of this rule can take.
    pub severity: Severity,
    /// Who asks for it.
    pub origin: Origin,
    /// The section of QEMU's docs/interop/qcow2.rst, or what stands in for it.
    pub spec: &'static str,
    /// The fields that it judges, as `structure.field`.
    pub fields: &'static [&'static str],
    /// What opening does.
    pub opens: Opens,
    /// What `qemu-img check` does.
    pub checks: Checks,
    /// QEMU's own words, and what decides where it varies.
    pub qemu_says: &'static str,
    /// The rule that reports in its place, where this one has no finding of its own.
    pub reported_as: Option<&'static str>,
    /// What goes wrong where it is broken, for people who met it in a report.
    #[serde(skip)]
    pub why: &'static str,
    /// What one can do.
    #[serde(skip)]
    pub advice: &'static str,
}
