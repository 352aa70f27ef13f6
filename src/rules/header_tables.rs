//! The tables that the header points at: their sizes, and where they lie.

use super::field::header_field as field;
use super::is_cut;
use crate::finding::{Evidence, Finding, Rule, rules};
use crate::format::header::field;
use crate::format::refcount::RefcountWidth;
use crate::format::snapshot::SnapshotHead;
use crate::format::{Field, Layout, qemu};
use crate::image::Header;
use crate::units::{Geometry, HostOffset, SECTOR, Span};

rules! {
    L1_OFFSET_INVALID: H24 "l1-offset-invalid" Fatal Must {
        title: "l1_table_offset must be a multiple of the cluster size, and the table must end below 2^63",
        why: "without its L1 table no guest cluster of the active disk can be found",
        advice: "search for the table: its entries are multiples of the cluster size with bit 63 set; snapshots keep \
            older copies of it",
        spec: "Header",
        fields: [Header.L1_TABLE_OFFSET],
        qemu: Refused Refused "'Active L1 table offset invalid'; aligned but close below 2^63: 'Could not \
            read L1 table: Input/output error'",
    }
    L1_TABLE_TOO_LARGE: H25 "l1-table-too-large" Fatal Qemu {
        title: "l1_size must be at most 4,194,304 entries, which is 32 MiB, for QEMU to open the image",
        why: "QEMU loads the whole table into memory, and protects itself by this limit",
        advice: "larger clusters need a smaller table: convert with cluster_size=2M by a reader without the limit",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: [Header.L1_SIZE],
        qemu: Refused Refused "'Active L1 table too large'",
    }
    L1_TABLE_TOO_SMALL: H26 "l1-table-too-small" Fatal Must {
        title: "l1_size must give the whole virtual disk an entry: the size divided by what one L2 table \
            maps, rounded up",
        why: "the end of the virtual disk has no entry, and readers differ on whether they read beyond the table",
        advice: "compare size with l1_size: one of them was changed alone, and a smaller size in a copy makes the \
            rest readable",
        spec: "Cluster mapping",
        fields: [Header.L1_SIZE],
        qemu: Refused Refused "'L1 table is too small'; the size counts as it stands, not rounded down to \
            sectors",
    }
    DISK_SIZE_TOO_LARGE: H27 "disk-size-too-large" Fatal Qemu {
        title: "size must be one that QEMU can count: fewer than 2^31 L1 entries, and no overflow when \
            rounded",
        why: "sizes near 2^64 overflow where readers round them, and each then sees a disk of another length",
        advice: "take the true size from a snapshot or from the L1 table's last used entry, and set it in a copy",
        spec: "QEMU block/qcow2.c, qcow2_do_open",
        fields: [Header.SIZE],
        qemu: Refused Refused "'Image is too big'; so near 2^64 that rounding wraps: 'Could not refresh \
            total sector count: File too large'",
    }
    DISK_SIZE_UNALIGNED: H28 "disk-size-unaligned" Note Extra {
        title: "size is expected to be a multiple of 512, because QEMU shows the guest whole sectors only",
        why: "QEMU rounds it down and others up or not at all, so the disk ends at different bytes",
        advice: "nothing is lost that a guest could read in whole sectors; resize the disk to a multiple of 512 to \
            end the difference",
        spec: "not in the specification; QEMU rounds down to sectors",
        fields: [Header.SIZE],
        qemu: Silently Silently "the size is rounded down to 512 bytes, so the last bytes are out of reach",
        risk: TwoReadings,
    }
    REFCOUNT_TABLE_MISSING: H29 "refcount-table-missing" Fatal Must {
        title: "refcount_table_clusters must be at least 1",
        why: "no cluster could be counted, so the first write would allocate one that is in use",
        advice: "rebuild the refcounts on a copy: `qemu-img check -r all` opens such an image and does that",
        spec: "Header",
        fields: [Header.REFCOUNT_TABLE_CLUSTERS],
        qemu: Refused Corruption "'Image does not contain a reference count table'. Check opens it all the \
            same, and counts a corruption for each cluster in use",
    }
    REFCOUNT_TABLE_TOO_LARGE: H30 "refcount-table-too-large" Fatal Qemu {
        title: "the refcount table must be at most 8 MiB for QEMU to open the image",
        why: "QEMU loads the whole table, and refuses one that only a file of many petabytes would need",
        advice: "look whether the clusters behind the first few are all zero; then set a smaller number in a copy",
        spec: "QEMU block/qcow2.h, QCOW_MAX_REFTABLE_SIZE",
        fields: [Header.REFCOUNT_TABLE_CLUSTERS],
        qemu: Refused Refused "'Reference count table too large'",
    }
    REFCOUNT_TABLE_OFFSET_INVALID: H31 "refcount-table-offset-invalid" Fatal Must {
        title: "refcount_table_offset must be a multiple of the cluster size, and the table must end below \
            2^63",
        why: "refcounts would be read from anywhere, and written there by the next allocation",
        advice: "set it to the real table if a dump of the file's clusters shows one, else have it rebuilt on a copy",
        spec: "Header",
        fields: [Header.REFCOUNT_TABLE_OFFSET],
        qemu: Refused Refused "'Reference count table offset invalid'",
    }
    SNAPSHOTS_OFFSET_INVALID: H32 "snapshots-offset-invalid" Fatal Must {
        title: "snapshots_offset must be a multiple of the cluster size, even where there are no snapshots",
        why: "QEMU refuses the image for it even where no snapshot would ever be read",
        advice: "set the field to 0 in a copy if nb_snapshots is 0; else look for the table on a cluster boundary",
        spec: "Header",
        fields: [Header.SNAPSHOTS_OFFSET],
        qemu: Refused CheckError "'Snapshot table offset invalid'",
    }
    TOO_MANY_SNAPSHOTS: H33 "too-many-snapshots" Fatal Qemu {
        title: "nb_snapshots must be at most 65536 for QEMU to open the image",
        why: "each entry costs a reader memory and time, and QEMU stops here",
        advice: "look at the table with `dump --only snapshots`: mostly the number is damaged, and the entries end \
            earlier",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOTS",
        fields: [Header.NB_SNAPSHOTS],
        qemu: Refused CheckError "'Snapshot table too large'. Check: 'You can force-remove all N overhanging \
            snapshots with qemu-img check -r all', and that repair drops them",
    }
    TABLE_BEYOND_FILE: H34 "table-beyond-file" Corruption Must {
        title: "the L1 table, the refcount table and the snapshot table must lie inside the file",
        why: "what lies behind the end reads as zeros: guest ranges vanish without any error",
        advice: "get the rest of the file: a copy that was cut is the usual reason",
        spec: "Header",
        fields: [Header.L1_TABLE_OFFSET, Header.REFCOUNT_TABLE_OFFSET, Header.SNAPSHOTS_OFFSET],
        qemu: Silently Varies "bytes behind the end read as zeros. Check: 'counting reference for region \
            exceeding the end of the file' where a cluster or more is missing, and leaks for what the table \
            led to; a small table that starts less than a cluster behind the end gives leaks only",
        reads_as_unallocated: true,
    }
    TABLE_IN_HEADER_CLUSTER: H35 "table-in-header-cluster" Corruption Extra {
        title: "no table may lie in cluster 0, which belongs to the header",
        why: "the table's entries would be the header's bytes, and writing an entry would destroy the header",
        advice: "do not write to the image; the offset is wrong, or was set to 0, and the real table may be elsewhere \
            in the file",
        spec: "not in the specification; the header's own bytes would be read as table entries",
        fields: [Header.L1_TABLE_OFFSET, Header.REFCOUNT_TABLE_OFFSET, Header.SNAPSHOTS_OFFSET],
        qemu: Silently Corruption "the header is read as entries. Check: 'ERROR found L1 entry with reserved \
            bits set: 514649fb00000003', or 'refcount table entry N has reserved bits set'",
    }
    REFCOUNT_TABLE_TOO_SHORT: R10 "refcount-table-too-short" Note Extra {
        title: "the refcount table is expected to cover the whole file",
        why: "clusters behind what it covers count as free; QEMU enlarges the table when it needs to",
        advice: "nothing: the next allocation extends the table",
        spec: "not in the specification; clusters without a block have refcount 0",
        fields: [Header.REFCOUNT_TABLE_CLUSTERS],
        qemu: Silently Varies "check: 'ERROR cluster N refcount=0 reference=1' for each cluster in use that \
            is not covered, and nothing where none is",
    }
}

/// Judges the disk's size, the tables' sizes, and where the tables lie.
pub(super) fn check(header: &Header, geometry: Geometry, file_len: u64, out: &mut Vec<Finding>) {
    disk_size(header, geometry, out);
    let v2 = &header.v2;
    let refcount_table_len = u64::from(v2.refcount_table_clusters).saturating_mul(geometry.cluster_size());
    if v2.refcount_table_clusters == 0 {
        out.push(field(header, &REFCOUNT_TABLE_MISSING, field::REFCOUNT_TABLE_CLUSTERS, 0_u32, "at least 1"));
    }
    if refcount_table_len > qemu::MAX_REFCOUNT_TABLE_LEN {
        let most = qemu::MAX_REFCOUNT_TABLE_LEN.unbounded_shr(geometry.cluster_bits());
        let (wanted, clusters) = (format!("at most {most}"), v2.refcount_table_clusters);
        out.push(
            field(header, &REFCOUNT_TABLE_TOO_LARGE, field::REFCOUNT_TABLE_CLUSTERS, clusters, wanted)
                .only_qemu(),
        );
    }
    let width = RefcountWidth::new(header.v3().refcount_order);
    let wanted =
        width.map_or(0, |width| table_clusters_for(geometry.clusters_for(file_len), geometry, width));
    // One without any clusters is H29.
    if v2.refcount_table_clusters != 0 && u64::from(v2.refcount_table_clusters) < wanted {
        let (wanted, clusters) = (format!("at least {wanted}"), v2.refcount_table_clusters);
        out.push(field(header, &REFCOUNT_TABLE_TOO_SHORT, field::REFCOUNT_TABLE_CLUSTERS, clusters, wanted));
    }
    if v2.nb_snapshots > qemu::MAX_SNAPSHOTS {
        let wanted = format!("at most {}", qemu::MAX_SNAPSHOTS);
        out.push(
            field(header, &TOO_MANY_SNAPSHOTS, field::NB_SNAPSHOTS, v2.nb_snapshots, wanted).only_qemu(),
        );
    }

    let l1_len = u64::from(v2.l1_size).saturating_mul(8);
    // An entry without name and id is the shortest. QEMU reads just such ones behind the end of the file; what
    // the entries in the file add is for the rules about those to say.
    let snapshots_len = u64::from(v2.nb_snapshots).saturating_mul(SnapshotHead::LEN);
    let tables = [
        (field::L1_TABLE_OFFSET, v2.l1_table_offset, l1_len, &L1_OFFSET_INVALID),
        (
            field::REFCOUNT_TABLE_OFFSET,
            v2.refcount_table_offset,
            refcount_table_len,
            &REFCOUNT_TABLE_OFFSET_INVALID,
        ),
        (field::SNAPSHOTS_OFFSET, v2.snapshots_offset, snapshots_len, &SNAPSHOTS_OFFSET_INVALID),
    ];
    for (pointer, at, len, rule) in tables {
        let table = Table { pointer, span: Span::new(at, len), rule };
        out.extend(place(header, &table, geometry, file_len));
    }
}

/// The disk's size, and whether the L1 table is long enough for it.
fn disk_size(header: &Header, geometry: Geometry, out: &mut Vec<Finding>) {
    let (size, l1_size) = (header.v2.size.0, header.v2.l1_size);
    if !size.is_multiple_of(SECTOR) {
        out.push(field(header, &DISK_SIZE_UNALIGNED, field::SIZE, size, format!("a multiple of {SECTOR}")));
    }
    let wanted = geometry.l1_entries_for(size);
    // QEMU rounds up by adding, which wraps.
    let wraps = size.checked_add(geometry.l2_coverage().saturating_sub(1)).is_none();
    if wraps || i32::try_from(wanted).is_err() {
        out.push(
            field(header, &DISK_SIZE_TOO_LARGE, field::SIZE, size, "fewer than 2^31 L1 entries").only_qemu(),
        );
    }
    if u64::from(l1_size) < wanted {
        out.push(field(header, &L1_TABLE_TOO_SMALL, field::L1_SIZE, l1_size, format!("at least {wanted}")));
    }
    if l1_size > qemu::MAX_L1_ENTRIES {
        let wanted = format!("at most {}", qemu::MAX_L1_ENTRIES);
        out.push(field(header, &L1_TABLE_TOO_LARGE, field::L1_SIZE, l1_size, wanted).only_qemu());
    }
}

/// A table, its fields, and the rule for where it may lie.
struct Table {
    pointer: Field,
    span: Span,
    rule: &'static Rule,
}

fn place(header: &Header, table: &Table, geometry: Geometry, file_len: u64) -> Option<Finding> {
    let Table { pointer, span, rule } = *table;
    let (at, cluster_size) = (span.at, geometry.cluster_size());
    let wrong = |rule, wanted: Evidence| Some(field(header, rule, pointer, Evidence::Hex(at.0), wanted));
    // QEMU looks at the offset even where the table has no entry.
    if !at.is_aligned(cluster_size) {
        return wrong(rule, format!("a multiple of {cluster_size:#x}").into());
    }
    let max_end = if span.len == 0 { i64::MAX.unsigned_abs() } else { qemu::MAX_FILE_LEN };
    if span.len > max_end || at.0 > max_end.saturating_sub(span.len) {
        return wrong(rule, format!("a table that ends at {max_end:#x} or before").into());
    }
    if span.len == 0 {
        return None;
    }
    if at < HostOffset(cluster_size) {
        return wrong(&TABLE_IN_HEADER_CLUSTER, format!("at least {cluster_size:#x}").into());
    }
    if !is_cut(file_len, span) {
        return None;
    }
    let found = format!("a table of {} bytes at {at}", span.len);
    Some(field(header, &TABLE_BEYOND_FILE, pointer, found, format!("an end at {file_len:#x} or before")))
}

/// Clusters of a refcount table that covers `clusters` of the file.
fn table_clusters_for(clusters: u64, geometry: Geometry, width: RefcountWidth) -> u64 {
    let blocks = clusters.div_ceil(width.block_entry_count(geometry).max(1));
    geometry.clusters_for(blocks.saturating_mul(8))
}
