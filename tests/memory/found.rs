//! What is found takes no more memory than its limits say, however much that is.

use std::io;

use qcow2_inspect::audit::{AuditOptions, Policy, audit};
use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::Layout;
use qcow2_inspect::format::extension::{ExtensionHead, FEATURE_TABLE};
use qcow2_inspect::format::header::{HeaderV2, HeaderV3};
use qcow2_inspect::format::scalar::ByteSize;
use qcow2_inspect::format::snapshot::SnapshotHead;
use qcow2_inspect::report::{self, CheckReport, Report, Subject, TextOptions, write_check};
use qcow2_inspect::units::HostOffset;
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::oracle::{Format, LIMITS, run};

use super::images::{Sparse, bitmaps, image};
use super::peak;

/// What a look at an image of a few MiB may take, however much is wrong with it: most of it for 65,536 snapshots.
const FOUND: usize = 8 << 20;

/// An image in which each entry of a table is wrong takes no more than another, whoever looks at it.
pub(super) fn check_findings(name: &str, source: &Sparse) {
    let image = || Image::open(source, Limits::default()).unwrap();
    for each in [false, true] {
        let (mut found, image, options) = (0, image(), CheckOptions { each, ..CheckOptions::default() });
        let peak =
            peak(|| _ = check(&image, &options, &mut |finding: Finding| found += finding.consequences));
        println!("{peak:>10}  {found} findings in {name}, each by itself: {each}");
        assert!(found > 60_000, "only {found} findings in {name}");
        assert!(peak < FOUND, "{name} took {peak} bytes, each by itself: {each}");
    }
    let audited = || drop(audit(&image(), &Policy::upload(), &AuditOptions::default()));
    let walked = || drop(run(source, Format::Walk, LIMITS));
    let told = || drop(run(source, Format::InfoText, LIMITS));
    for (who, peak) in [("an audit", peak(audited)), ("a dump", peak(walked)), ("info", peak(told))] {
        println!("{peak:>10}  {who} of {name}");
        assert!(peak < FOUND, "{who} of {name} took {peak} bytes");
    }
}

/// Images of few bytes with very many breaches, each in another structure.
pub(super) fn broken() -> Vec<(&'static str, Sparse)> {
    const BITS: u32 = 21;
    const CLUSTER: u64 = 1 << BITS;
    const GARBAGE: fn(u64) -> u64 = |_| 0x3fff_ffff_ffff_fffe;
    let filled = |filled, change: fn(&mut HeaderV2), change_v3: fn(&mut HeaderV3)| {
        let mut image = image(BITS, change, change_v3, &[], Vec::new());
        (image.len, image.filled, image.elsewhere) = (6 * CLUSTER, filled, GARBAGE);
        image
    };
    let mut l2 = filled(4 * CLUSTER..5 * CLUSTER, |_| {}, |_| {});
    l2.put(3 * CLUSTER, &((4 * CLUSTER) | (1 << 63)).to_be_bytes());
    let huge = |v2: &mut HeaderV2| (v2.size, v2.l1_size) = (ByteSize(1 << 50), 1 << 17);
    let l1 = filled(3 * CLUSTER..4 * CLUSTER, huge, |_| {});
    let refcount_table = filled(CLUSTER + 8..CLUSTER + (1 << 19), |_| {}, |_| {});
    // Every other refcount of one bit, of clusters that the file does not have.
    let mut block = filled(2 * CLUSTER..2 * CLUSTER + (1 << 15), |_| {}, |v3| v3.refcount_order = 0);
    block.elsewhere = |_| 0x5555_5555_5555_5555;
    let listed = |v2: &mut HeaderV2| {
        (v2.nb_snapshots, v2.snapshots_offset) = (65_536, HostOffset(4 * CLUSTER));
    };
    let mut snapshots = filled(0..0, listed, |_| {});
    let l1_table_offset = HostOffset(0x7f_ffff_ff01);
    let head = SnapshotHead { l1_table_offset, l1_size: u32::MAX, date_nsec: u32::MAX, ..Default::default() };
    snapshots.put(4 * CLUSTER, &head.encode().repeat(65_536));
    let rows = ExtensionHead { magic: FEATURE_TABLE, length: 48 * 43_000 };
    let mut names = filled(112..112 + 48 * 43_000, |_| {}, |_| {});
    names.put(104, &rows.encode());
    let mut bitmap_table = bitmaps(1, None);
    bitmap_table.put(4 << 16, &(5_u64 << 16).to_be_bytes());
    bitmap_table.put((4 << 16) + 8, &(1_u32 << 17).to_be_bytes());
    (bitmap_table.filled, bitmap_table.elsewhere) = (5 << 16..(5 << 16) + (1 << 20), GARBAGE);
    bitmap_table.len = 2 << 20;
    vec![
        ("an L2 table", l2),
        ("an L1 table", l1),
        ("a refcount table", refcount_table),
        ("a refcount block", block),
        ("65,536 snapshots", snapshots),
        ("a feature name table", names),
        ("a bitmap table", bitmap_table),
    ]
}

/// Findings that are kept one by one take what their limit says, and a bound on all memory holds for them too.
pub(super) fn check_listed() {
    let listed = |findings_per_rule: usize, memory: Option<u64>, format| {
        let limits = Limits { findings_per_rule, ..Limits::DEFAULT };
        let limits = memory.map_or(limits, |bytes| limits.within_memory(bytes));
        let (_, source) = broken().remove(0);
        let image = Image::open(&source, limits).unwrap();
        let options = CheckOptions { each: true, ..CheckOptions::default() };
        let subject = Subject { path: b"image", len: image.file_len() };
        let report = CheckReport { subject, options, as_qemu: false };
        let mut sink = Report::new(io::sink(), format, u64::MAX);
        let mut rules = Vec::new();
        let write = || rules = write_check(&image, &report, &mut sink, &mut |_| ()).unwrap().0.rules;
        let peak = peak(write);
        (peak, rules.iter().filter(|(_, count)| *count > 20_000).count())
    };
    for format in [report::Format::Text(TextOptions::default()), report::Format::Json] {
        let (none, rules) = listed(0, None, format);
        let (some, _) = listed(20_000, None, format);
        let cost = some.saturating_sub(none) / (20_000 * rules);
        println!("{cost:>10}  for a finding of {rules} rules, as {format:?}");
        assert!(cost > 65 && cost <= 655, "a finding took {cost} bytes as {format:?}");
        let (bound, _) = listed(1 << 14, Some(66 << 20), format);
        println!("{bound:>10} of {:>10}  for all findings within 66 MiB, as {format:?}", 66 << 20);
        assert!(bound <= 66 << 20, "all findings took {bound} bytes as {format:?}");
    }
}
