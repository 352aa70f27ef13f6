//! One row of the catalogue of rules, and the macro that declares one.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

use super::{Judged, Structure};

/// Declares the rules of one file: each as a static that is called by its readable name, all of them as `ALL`, and `named` for
/// re-exporting them. In a row stand that name, the code, the readable name as it is shown, the highest severity and who asks for it; for a rule
/// without findings of its own the rule that `reported_as` names, or `never`; in braces its words, and last those of its
/// [`Attributes`] that are not as by default.
macro_rules! rules {
    ($($name:ident: $code:ident $slug:literal $severity:ident $origin:ident $(reported_as $alias:ident)? {
        title: $title:literal,
        why: $why:literal,
        advice: $advice:literal,
        spec: $spec:literal,
        fields: [$($structure:ident.$field:ident),* $(,)?],
        qemu: $opens:ident $checks:ident $says:literal
        $(, $attribute:ident: $value:ident)* $(,)?
    })*) => {
        $(
            #[doc = $title]
            pub static $name: $crate::finding::Rule = $crate::finding::Rule {
                code: stringify!($code),
                slug: $slug,
                title: $title,
                severity: $crate::finding::Severity::$severity,
                origin: $crate::finding::Origin::$origin,
                spec: $spec,
                fields: &[$($crate::finding::Judged {
                    structure: $crate::finding::Structure::$structure,
                    name: $crate::finding::judged_name!($structure $field),
                }),*],
                opens: $crate::finding::Opens::$opens,
                checks: $crate::finding::Checks::$checks,
                qemu_says: $says,
                reported_as: rules!(@alias $($alias)?),
                why: $why,
                advice: $advice,
                attributes: $crate::finding::Attributes {
                    $($attribute: rules!(@$attribute $value),)*
                    ..$crate::finding::Attributes::DEFAULT
                },
            };
            const _: () = assert!($crate::finding::rule::is_slug_of($slug, stringify!($name)));
        )*
        pub(super) static ALL: &[&$crate::finding::Rule] = &[$(&$name),*];
        pub(super) mod named {
            $(pub use super::$name;)*
        }
    };
    (@alias) => { $crate::finding::Reported::Itself };
    (@alias never) => { $crate::finding::Reported::Never };
    (@alias $alias:ident) => { $crate::finding::Reported::As(&super::named::$alias) };
    (@guest $value:ident) => { $crate::finding::GuestData::$value };
    (@bitmap $value:ident) => { $crate::finding::BitmapTrust::$value };
    (@risk $value:ident) => { Some($crate::finding::Risk::$value) };
    (@cut $value:ident) => { Some($crate::finding::Cut::$value) };
    (@shared $value:ident) => { $crate::finding::Structure::$value };
    (@$yes_or_no:ident $value:ident) => { $value };
}
pub(crate) use rules;

/// Whether a slug is this constant's name in small letters, with `-` for `_`.
pub(crate) const fn is_slug_of(slug: &str, name: &str) -> bool {
    let (mut slug, mut name) = (slug.as_bytes(), name.as_bytes());
    while let ([shown, slug_rest @ ..], [own, name_rest @ ..]) = (slug, name) {
        if !matches!((*shown, *own), (b'-', b'_')) && *shown != own.to_ascii_lowercase() {
            return false;
        }
        (slug, name) = (slug_rest, name_rest);
    }
    slug.is_empty() && name.is_empty()
}

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

/// Who reports a breach of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It has findings of its own.
    Itself,
    /// This rule, in its place.
    As(&'static Rule),
    /// Nobody: it is no breach by itself, and what it says is told in other ways.
    Never,
}

/// As reports have it: the code of the rule in its place, `none`, or nothing.
impl Serialize for Reported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Itself => serializer.serialize_none(),
            Self::As(rule) => serializer.serialize_some(rule.code),
            Self::Never => serializer.serialize_some("none"),
        }
    }
}

/// One row of the catalogue. Two are the same, or in order, by their codes.
#[derive(Debug, Serialize)]
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
    /// The fields that it judges.
    pub fields: &'static [Judged],
    /// What opening does.
    pub opens: Opens,
    /// What `qemu-img check` does.
    pub checks: Checks,
    /// QEMU's own words, and what decides where it varies.
    pub qemu_says: &'static str,
    /// Which rule reports it.
    pub reported_as: Reported,
    /// What goes wrong where it is broken, for people who met it in a report.
    #[serde(skip)]
    pub why: &'static str,
    /// What one can do.
    #[serde(skip)]
    pub advice: &'static str,
    /// What other rooms ask of it.
    #[serde(skip)]
    pub attributes: Attributes,
}

/// What other rooms ask of a rule. Its row says what is not as by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What a corruption means for the guest range that its finding names.
    pub guest: GuestData,
    /// What a breach says of bitmaps beyond its severity.
    pub bitmap: BitmapTrust,
    /// Why an image may be turned away for a breach that QEMU does not mind; `None` leaves that to the severity.
    pub risk: Option<Risk>,
    /// The structure that a cluster with several owners is a breach in.
    pub shared: Structure,
    /// Why nothing can be called clean where there is a breach.
    pub cut: Option<Cut>,
    /// Whether lazy refcounts leave such a breach behind by design, so that it is a note while the dirty bit is set (R11).
    pub stale_when_dirty: bool,
    /// Whether entries of a table are not there, for which QEMU reads zeros: it takes for unallocated what is lost.
    pub reads_as_unallocated: bool,
    /// Whether `qemu-img check` counts each breach as one corruption, without regard to what else it counts there.
    pub counted_one_by_one: bool,
    /// Whether `qemu-img check` opens an image of version 2 where its finding is fatal.
    pub opens_in_version_2: bool,
}

impl Attributes {
    /// What most rules have.
    pub(crate) const DEFAULT: Self = Self {
        guest: GuestData::Doubtful,
        bitmap: BitmapTrust::Kept,
        risk: None,
        shared: Structure::File,
        cut: None,
        stale_when_dirty: false,
        reads_as_unallocated: false,
        counted_one_by_one: false,
        opens_in_version_2: false,
    };
}

/// What a corruption means for guest data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestData {
    /// It cannot be read, or reads as zeros.
    Lost,
    /// It may have been overwritten, or another owner may overwrite it.
    Doubtful,
    /// It is what it was: only the next write may do harm.
    Unharmed,
}

/// What a breach says of bitmaps, beyond that a corruption in one leaves nothing to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapTrust {
    /// They mark what has changed, as far as this rule knows.
    Kept,
    /// This one was not saved when the image was closed.
    InUse,
    /// None of them: a program without support for bitmaps may have written to the image.
    Inconsistent,
}

/// Why an image with a breach cannot be called clean, whatever else is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A part of it was not looked at.
    Unread,
    /// It is not what it was when it was looked at.
    Changed,
}

/// Why a gate may turn away an image that QEMU opens and checks without complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Two readers read it differently: where extensions or the disk end, which of two counts, what is cut off.
    TwoReadings,
    /// Bytes that no structure needs: in and behind the header and its extensions, behind the end, beyond the disk. Not
    /// the seven at most behind a snapshot's entry (S15), which QEMU leaves as they were in a cluster that it takes again.
    HiddenBytes,
    /// A name that is not what it looks like.
    FalseName,
    /// Which data file it wants is unclear.
    UnclearDataFile,
    /// A name in it decides which other file is opened.
    OtherFile,
    /// It cannot be relied on: it calls itself corrupt, or a write to one guest cluster changes another.
    Unsound,
    /// Nobody closed it: all refcounts may be wrong, and what they break is a note.
    NotClosed,
    /// From a warning on, and harmless below: two snapshots with one id, the file or the guest's disk as another format.
    FromWarning,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Rule {}

impl PartialOrd for Rule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rule {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code.cmp(other.code)
    }
}

impl Hash for Rule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code.hash(state);
    }
}

impl Rule {
    /// Whether it has findings of its own.
    pub fn reports_itself(&self) -> bool {
        self.reported_as == Reported::Itself
    }

    /// Whether it says that something was not looked at, or is not what it was: nothing can be called clean then.
    pub fn means_incomplete(&self) -> bool {
        self.attributes.cut.is_some()
    }
}
