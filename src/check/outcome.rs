//! What came of a check: the verdict, the counters, and what qemu-img would have said.

use std::sync::Arc;

use serde::Serialize;

use super::bitmaps::{BitmapState, Bitmaps, JudgedBitmap};
use super::reporter::Reporter;
use super::{Loss, Owner, Ranges};
use crate::Image;
use crate::finding::{BitmapTrust, Rule, Severity};
use crate::format::bitmap::BitmapFlags;
use crate::format::features::EXTERNAL_DATA;
use crate::format::header::CRYPT_NONE;
use crate::image::{Bitmap, SnapshotNames};
use crate::rules::named::BITMAP_GRANULARITY_INVALID;
use crate::source::ReadAt;

/// What the image is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// QEMU would not open it.
    Unusable,
    /// Metadata is wrong, and guest data is lost or at risk.
    Corrupt,
    /// A limit or an I/O error cut the check: what was seen is not worse than a leak.
    Incomplete,
    /// The dirty bit is set, and refcounts are stale: QEMU mends them when it next opens the image for writing.
    NotClosed,
    /// Clusters are allocated that nothing uses.
    Leaks,
    /// Nothing worse than a warning.
    Clean,
}

impl Verdict {
    /// The word that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unusable => "unusable",
            Self::Corrupt => "corrupt",
            Self::Incomplete => "incomplete",
            Self::NotClosed => "not-closed",
            Self::Leaks => "leaks",
            Self::Clean => "clean",
        }
    }

    /// The exit code of `check`, as qemu-img has it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Unusable | Self::Corrupt => 2,
            Self::Incomplete => 1,
            Self::NotClosed | Self::Leaks => 3,
            Self::Clean => 0,
        }
    }
}

/// The counters that `qemu-img check` shows, counted as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Counters {
    /// Clusters of the virtual disk.
    pub total_clusters: u64,
    /// Clusters of the active tree that have a host cluster.
    pub allocated_clusters: u64,
    /// Those that do not lie behind the one before; every compressed one.
    pub fragmented_clusters: u64,
    /// Those that are compressed.
    pub compressed_clusters: u64,
    /// Behind the last cluster that has a refcount or a reference.
    pub image_end_offset: u64,
}

/// What `qemu-img check` would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct QemuAnswer {
    /// Its exit code.
    pub exit_code: u8,
    /// The rule for which it refuses the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_for: Option<&'static str>,
    /// What it needs beside the file: `key`, `data-file`, `backing-file`; without it the exit code is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<&'static str>,
    /// Its `corruptions`.
    pub corruptions: u64,
    /// Its `leaks`.
    pub leaks: u64,
    /// Its `check-errors`.
    pub check_errors: u64,
}

/// What came of a check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What the image is.
    pub verdict: Verdict,
    /// Whether neither a limit nor an I/O error cut the work.
    pub complete: bool,
    /// Breaches of the severities corruption and fatal.
    pub corruptions: u64,
    /// Leaked clusters.
    pub leaks: u64,
    /// Structures that could not be judged.
    pub check_errors: u64,
    /// The counters of `qemu-img check`.
    pub counters: Counters,
    /// Compressed clusters of all trees, as far as the check came: those of a table that trees share count once. No
    /// tree has more, unless it has a table twice (L26).
    pub compressed: u64,
    /// What `qemu-img check` would answer; `None` where something was not looked at that QEMU counts.
    pub qemu: Option<QemuAnswer>,
    /// Breaches that are notes only because the image was not closed, so that its refcounts may be stale (R11).
    pub excused: u64,
    /// The rules that fired, each with its number of breaches.
    pub rules: Vec<(&'static Rule, u64)>,
    /// Clusters in conflict with their owners.
    pub owners: Vec<(u64, Vec<Owner>)>,
    /// Which guest data is hit, for each tree where any is.
    pub losses: Vec<Loss>,
    /// Compressed clusters that were decompressed, by a deep check.
    pub decompressed: Option<u64>,
    /// With a backing file: which guest ranges this file holds alone, whole clusters at a time. They are all that
    /// is left where the backing file is lost.
    pub held: Option<Ranges>,
    /// What was found in each bitmap.
    pub bitmaps: Bitmaps,
    /// The rule for which QEMU refuses the image.
    pub refused: Option<&'static Rule>,
    /// What the snapshots are called that findings are about.
    pub names: Arc<SnapshotNames>,
}

impl Checked {
    /// What the check says of this bitmap of the image.
    pub fn bitmap(&self, bitmap: &Bitmap) -> JudgedBitmap {
        let own = self.bitmaps.own(bitmap.index);
        let own_rule = own.against.map(|(rule, _)| rule);
        let has = |trust: BitmapTrust| move |rule: &&'static Rule| rule.attributes.bitmap == trust;
        let inconsistent = self.rules.iter().map(|(rule, _)| *rule).find(has(BitmapTrust::Inconsistent));
        // Without a cluster size nobody can tell where its bits are.
        let has_granularity = 1_u64.checked_shl(bitmap.head.granularity_bits.0.into()).is_some();
        let broken = own_rule.or(self.refused).or((!has_granularity).then_some(&BITMAP_GRANULARITY_INVALID));
        let (state, rule) = if let Some(in_use) = own_rule.filter(has(BitmapTrust::InUse)) {
            (BitmapState::InUse, Some(in_use))
        } else if inconsistent.is_some() {
            (BitmapState::Inconsistent, inconsistent)
        } else if broken.is_some() || self.verdict == Verdict::Unusable {
            (BitmapState::Broken, broken)
        } else if !self.complete {
            (BitmapState::Unknown, None)
        } else if bitmap.head.flags.has(BitmapFlags::AUTO) {
            (BitmapState::Recording, None)
        } else {
            (BitmapState::Disabled, None)
        };
        JudgedBitmap { state, rule, has_tail_bits: own.has_tail_bits }
    }
}

/// What the passes have found out beside the findings.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) counters: Counters,
    pub(super) compressed: u64,
    pub(super) owners: Vec<(u64, Vec<Owner>)>,
    pub(super) losses: Vec<Loss>,
    pub(super) held: Option<Ranges>,
    pub(super) decompressed: Option<u64>,
    pub(super) bitmaps: Bitmaps,
}

impl Reporter<'_> {
    /// The check as a whole, with what the passes have found out.
    pub(super) fn finish<R: ReadAt>(
        self,
        image: &Image<R>,
        Parts { counters, compressed, owners, losses, held, decompressed, bitmaps }: Parts,
    ) -> Checked {
        let count = |severity: Severity| self.severities.get(&severity).copied().unwrap_or(0);
        let fatal = count(Severity::Fatal);
        let corruptions = fatal.saturating_add(count(Severity::Corruption));
        let leaks = count(Severity::Leak);
        let verdict = match () {
            () if fatal != 0 => Verdict::Unusable,
            () if corruptions != 0 => Verdict::Corrupt,
            () if self.is_incomplete => Verdict::Incomplete,
            () if self.excused != 0 => Verdict::NotClosed,
            () if leaks != 0 => Verdict::Leaks,
            () => Verdict::Clean,
        };
        let rules: Vec<_> = self.rules.values().copied().collect();
        let cut = rules.iter().filter(|(rule, _)| rule.means_incomplete()).map(|(_, count)| *count);
        Checked {
            verdict,
            complete: !self.is_incomplete,
            corruptions,
            leaks,
            check_errors: cut.fold(0, u64::saturating_add),
            counters,
            compressed,
            qemu: (!self.is_qemu_unknown || self.refused.is_some()).then(|| self.qemu_answer(image)),
            excused: self.excused,
            rules,
            owners,
            losses,
            decompressed,
            held,
            bitmaps,
            refused: self.refused,
            names: Arc::default(),
        }
    }

    fn qemu_answer<R: ReadAt>(&self, image: &Image<R>) -> QemuAnswer {
        let header = image.header();
        let needs = match () {
            () if header.v2.crypt_method != CRYPT_NONE => Some("key"),
            () if header.v3().incompatible_features.contains(EXTERNAL_DATA) => Some("data-file"),
            () if image.has_backing_file() => Some("backing-file"),
            () => None,
        };
        let refused_for = self.refused.map(|rule| rule.code);
        let tally = self.qemu;
        let exit_code = match () {
            () if refused_for.is_some() || tally.gives_up || tally.check_errors != 0 => 1,
            () if tally.corruptions != 0 => 2,
            () if tally.leaks != 0 => 3,
            () => 0,
        };
        let shown = |count| if refused_for.is_some() || tally.gives_up { 0 } else { count };
        QemuAnswer {
            exit_code,
            refused_for,
            needs,
            corruptions: shown(tally.corruptions),
            leaks: shown(tally.leaks),
            check_errors: shown(tally.check_errors),
        }
    }
}
