//! The references that the check counts, against the plain visitor of them. The check has a faster way of its own, and
//! tells a count where the refcount is another: so a refcount of which it says nothing is the count.

use std::collections::BTreeMap;

use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::refcount::{RefcountTableEntry, RefcountWidth};
use qcow2_inspect::references::count;
use qcow2_inspect::units::{HostOffset, to_u64, to_usize};
use qcow2_inspect::{Image, Limits};

/// Nothing that is found of a refcount may be left out.
const LIMITS: Limits = Limits { findings_per_rule: 1 << 20, ..Limits::DEFAULT };

/// The references to each cluster of the file and to the one behind it, as the check tells them; `None` where it does not
/// tell, as of clusters whose refcount block is off a cluster boundary.
pub fn told_counts(bytes: &[u8]) -> Vec<(u64, Option<u64>)> {
    let Ok(image) = Image::open(bytes, LIMITS) else { return Vec::new() };
    let Some(stored) = Stored::of(&image, bytes) else { return Vec::new() };
    let mut told = BTreeMap::new();
    let options = CheckOptions { each: true, ..CheckOptions::default() };
    let checked = check(&image, &options, &mut |finding: Finding| match finding.rule.code {
        "R04" | "R05" | "R06" | "R07" => {
            let count = number(&finding.wanted.to_string());
            // What a refcount cannot say stands in a finding of its own.
            clusters(&finding, stored.cluster_size)
                .for_each(|cluster| _ = told.entry(cluster).or_insert(count));
        }
        "R09" => {
            let count = number(&finding.found.to_string());
            clusters(&finding, stored.cluster_size).for_each(|cluster| _ = told.insert(cluster, count));
        }
        _ => {}
    });
    let in_file = to_u64(bytes.len()).div_ceil(stored.cluster_size);
    let last = told.keys().next_back().map_or(0, |last| last + 1);
    let of = |cluster| match (told.get(&cluster), stored.get(cluster)) {
        (Some(count), _) => Some(*count),
        // A refcount that seems too high is not told of where references may be missing.
        (None, stored) => stored.filter(|stored| checked.complete || *stored == 0),
    };
    let end = in_file.max(last).max(checked.counters.image_end_offset / stored.cluster_size);
    // Nothing refers to the cluster behind all of these, unless nobody knows its refcount.
    let behind = (end, stored.get(end).map(|_| 0));
    (0..end).map(|cluster| (cluster, of(cluster))).chain([behind]).collect()
}

/// Holds the check's count of each cluster to the visitor's, and says how many there were to compare.
///
/// # Panics
/// Where they differ, or the visitor cannot go through the image.
pub fn check_counts(bytes: &[u8]) -> usize {
    let Ok(image) = Image::open(bytes, LIMITS) else { return 0 };
    // Of an entry that the end of the file cuts the check makes what QEMU makes of it.
    if image.refcount_width().is_none() || image.snapshots().any(|snapshot| snapshot.is_err()) {
        return 0;
    }
    let counts = count(&image).unwrap_or_else(|error| panic!("references cannot be counted: {error}"));
    compare(&told_counts(bytes), &counts)
}

fn compare(told: &[(u64, Option<u64>)], counts: &[(u64, u64)]) -> usize {
    let mut counts: BTreeMap<u64, u64> = counts.iter().copied().collect();
    let mut compared = 0;
    for (cluster, told) in told {
        let count = counts.remove(cluster).unwrap_or_default();
        if let Some(told) = told {
            assert_eq!(*told, count, "references to cluster {cluster}: the check's, and the visitor's");
            compared += 1;
        }
    }
    assert!(counts.is_empty(), "the check knows nothing of {counts:?}");
    compared
}

/// The number that a text starts with.
fn number(text: &str) -> u64 {
    let digits = text.split(|char: char| !char.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The clusters side by side that a finding is about. The first is the only offset before a `+` that it names.
fn clusters(finding: &Finding, cluster_size: u64) -> impl Iterator<Item = u64> {
    let text = finding.found.to_string();
    let at = text.split_once("0x").map(|(_, rest)| rest.split(|char: char| !char.is_ascii_hexdigit()).next());
    let at = at.flatten().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let first = at.unwrap_or_else(|| panic!("no cluster in {text}")) / cluster_size;
    first..first + finding.consequences
}

/// What is stored of refcounts, read without the reader.
struct Stored<'b> {
    bytes: &'b [u8],
    table: Vec<u8>,
    width: RefcountWidth,
    cluster_size: u64,
    per_block: u64,
}

impl<'b> Stored<'b> {
    fn of(image: &Image<&[u8]>, bytes: &'b [u8]) -> Option<Self> {
        let (geometry, width) = (image.geometry()?, image.refcount_width()?);
        let table = image.refcount_table()?.span;
        let per_block = width.block_entry_count(geometry);
        let cluster_size = geometry.cluster_size();
        // No cluster of the file has its block behind these.
        let most = to_u64(bytes.len()).saturating_add(8);
        let table = filled(bytes, table.at, table.len.min(most));
        Some(Self { bytes, table, width, cluster_size, per_block })
    }

    /// The refcount of a cluster; `None` where its block is off a cluster boundary.
    fn get(&self, cluster: u64) -> Option<u64> {
        let at = to_usize((cluster / self.per_block).saturating_mul(8));
        let entry = self.table.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let block = RefcountTableEntry(u64::from_be_bytes(entry)).block_offset();
        if block.0 == 0 {
            return Some(0);
        }
        let span = self.width.span(block, cluster % self.per_block, 1);
        let index = self.width.index_in_byte(cluster % self.per_block);
        let refcount = filled(self.bytes, span.at, span.len);
        block.is_aligned(self.cluster_size).then(|| self.width.get(&refcount, index)).flatten()
    }
}

/// Bytes of the file, and zeros behind its end.
fn filled(bytes: &[u8], at: HostOffset, len: u64) -> Vec<u8> {
    let there = bytes.get(to_usize(at.0).min(bytes.len())..).unwrap_or_default();
    let mut filled = there.get(..to_usize(len).min(there.len())).unwrap_or_default().to_vec();
    filled.resize(to_usize(len), 0);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Model};

    /// Refcounts of 16 bits that are all right, and how many clusters there are.
    fn sound() -> (Draft, u64) {
        let mut plan = Model::small_from_seed(3).unwrap().plan();
        plan.v3.get_or_insert_default().refcount_order = 4;
        let mut draft = Draft::new(plan.write().bytes);
        draft.agree();
        let clusters = to_u64(draft.bytes.len()).div_ceil(draft.cluster_size());
        (draft, clusters)
    }

    #[test]
    fn a_count_is_told_whatever_the_refcount_is() {
        let (draft, clusters) = sound();
        let wanted = told_counts(&draft.bytes);
        assert!(clusters > 5 && wanted.iter().all(|(_, count)| count.is_some()));
        assert_eq!(check_counts(&draft.bytes), wanted.len());
        for cluster in 0..clusters {
            for refcount in [0, 1, 2, 0xffff] {
                let mut wrong = draft.clone();
                wrong.set_refcounts(cluster, 1, refcount);
                assert_eq!(told_counts(&wrong.bytes), wanted, "{refcount} for cluster {cluster}");
            }
        }
    }

    /// Each refcount that is wrong is found, and no other.
    #[test]
    fn a_refcount_is_wrong_where_it_is_not_the_count() {
        let (draft, clusters) = sound();
        let wrong = |draft: &Draft| {
            let mut codes = Vec::new();
            check(&draft.image(), &CheckOptions::default(), &mut |finding: Finding| {
                codes.push(finding.rule.code)
            });
            codes.iter().any(|code| ["R04", "R05", "R06", "R07"].contains(code))
        };
        assert!(!wrong(&draft));
        for (cluster, count) in
            told_counts(&draft.bytes).into_iter().filter(|(cluster, _)| *cluster < clusters)
        {
            let count = count.unwrap();
            for refcount in [count.wrapping_sub(1) & 0xffff, count + 1] {
                let mut changed = draft.clone();
                changed.set_refcounts(cluster, 1, refcount);
                assert!(wrong(&changed), "{refcount} for cluster {cluster}");
            }
        }
    }

    #[test]
    #[should_panic = "references to cluster 1"]
    fn a_reference_too_many_is_seen() {
        compare(&[(0, Some(1)), (1, Some(1))], &[(0, 1), (1, 2)]);
    }

    #[test]
    #[should_panic = "the check knows nothing of {7: 1}"]
    fn a_cluster_that_is_forgotten_is_seen() {
        compare(&[(0, Some(1))], &[(0, 1), (7, 1)]);
    }
}
