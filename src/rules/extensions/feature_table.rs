//! The feature name table: readers put its names into their messages.

use super::about;
use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::features::{self, FeatureName, FeatureSet};
use crate::format::{Field, Layout, extension};
use crate::image::Extension;
use crate::rules::codes::{E07, E08};
use crate::rules::names;
use crate::units::{HostOffset, to_u64};

/// The features that a table has named so far, one bit each, by their sets.
pub(super) type Named = [u64; FeatureSet::ALL.len()];

/// Judges a table apart from its rows.
pub(super) fn check(extension: &Extension<'_>, out: &mut Vec<Finding>) {
    if !u64::from(extension.head.length).is_multiple_of(FeatureName::LEN) {
        let wanted = format!("a multiple of {}", FeatureName::LEN);
        out.push(about(extension, &E07, extension::field::LENGTH, extension.head.length, wanted));
    }
}

/// Judges a row.
pub(super) fn check_row(at: HostOffset, row: &FeatureName, named: &mut Named, out: &mut Vec<Finding>) {
    let finding = |rule: &'static Rule, field: Field, found: Evidence, wanted: Evidence| {
        Finding::new(rule, Structure::FeatureName, field.at(at), found, wanted)
    };
    let set = FeatureSet::from_type(row.r#type);
    if set.is_none() {
        out.push(finding(&E07, features::field::TYPE, u32::from(row.r#type).into(), "0, 1 or 2".into()));
    }
    let bit = Some(u32::from(row.bit)).filter(|bit| *bit < u64::BITS);
    if bit.is_none() {
        out.push(finding(&E07, features::field::BIT, u32::from(row.bit).into(), "at most 63".into()));
    }
    let name = row.name.text();
    if let Some(found) = names::unprintable(name) {
        out.push(finding(&E07, features::field::NAME, found.into(), "printable UTF-8".into()));
    } else if row.name.0.iter().skip(name.len()).any(|byte| *byte != 0) {
        let found = format!("bytes that are not 0 behind the {} of the name", to_u64(name.len()));
        out.push(finding(&E07, features::field::NAME, found.into(), "a name padded with zeros".into()));
    }
    let (Some(set), Some(bit)) = (set, bit) else { return };
    let of_set = FeatureSet::ALL.iter().zip(named).find(|(other, _)| **other == set);
    if let Some((_, seen)) = of_set {
        let mask = 1_u64.unbounded_shl(bit);
        if *seen & mask != 0 {
            let found = format!("{} bit {bit} again", set.as_str());
            out.push(finding(&E07, features::field::BIT, found.into(), "each feature once".into()));
        }
        *seen |= mask;
    }
    if let Some(known) = set.known().find(|known| known.bit == bit && known.name.as_bytes() != name) {
        out.push(finding(&E08, features::field::NAME, names::shown(name).into(), known.name.into()));
    }
}
