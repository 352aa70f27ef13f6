//! The tables that the header points at: their size, and where they lie.

use super::field;
use crate::finding::{Evidence, Finding, Rule};
use crate::format::header::field;
use crate::format::snapshot::SnapshotHead;
use crate::format::{Field, Layout};
use crate::image::Header;
use crate::rules::codes::{H24, H25, H26, H27, H28, H29, H30, H31, H32, H33, H34, H35};
use crate::rules::is_cut;
use crate::units::{Geometry, HostOffset, SECTOR, Span};

/// QEMU's longest L1 table (block/qcow2.h, `QCOW_MAX_L1_SIZE`: 32 MiB).
const QEMU_MAX_L1_SIZE: u32 = 4_194_304;
/// QEMU's longest refcount table in bytes (block/qcow2.h, `QCOW_MAX_REFTABLE_SIZE`).
const QEMU_MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// QEMU's largest number of snapshots (block/qcow2.h, `QCOW_MAX_SNAPSHOTS`).
const QEMU_MAX_SNAPSHOTS: u32 = 65_536;
/// Where QEMU's largest file ends (include/block/block-common.h, `BDRV_MAX_LENGTH`); reading behind it fails.
const MAX_FILE_LEN: u64 = 0x7fff_ffff_c000_0000;

/// The disk's size, and whether the L1 table is long enough for it.
pub(super) fn check_size(header: &Header, geometry: Geometry, out: &mut Vec<Finding>) {
    let (size, l1_size) = (header.v2.size.0, header.v2.l1_size);
    if !size.is_multiple_of(SECTOR) {
        out.push(field(header, &H28, field::SIZE, size, "a multiple of 512"));
    }
    let wanted = geometry.l1_entries_for(size);
    // QEMU rounds up by adding, which wraps.
    let wraps = size.checked_add(geometry.l2_coverage().saturating_sub(1)).is_none();
    if wraps || i32::try_from(wanted).is_err() {
        out.push(field(header, &H27, field::SIZE, size, "fewer than 2^31 L1 entries").only_qemu());
    }
    if u64::from(l1_size) < wanted {
        out.push(field(header, &H26, field::L1_SIZE, l1_size, format!("at least {wanted}")));
    }
    if l1_size > QEMU_MAX_L1_SIZE {
        out.push(field(header, &H25, field::L1_SIZE, l1_size, "at most 4194304").only_qemu());
    }
}

/// A table, its fields, and the rule for where it may lie.
struct Table {
    pointer: Field,
    span: Span,
    rule: &'static Rule,
}

/// The sizes of the other two tables, and where all three lie.
pub(super) fn check(header: &Header, geometry: Geometry, file_len: u64, out: &mut Vec<Finding>) {
    let v2 = &header.v2;
    let refcount_table_len = u64::from(v2.refcount_table_clusters).saturating_mul(geometry.cluster_size());
    if v2.refcount_table_clusters == 0 {
        out.push(field(header, &H29, field::REFCOUNT_TABLE_CLUSTERS, 0_u32, "at least 1"));
    }
    if refcount_table_len > QEMU_MAX_REFCOUNT_TABLE {
        let wanted = format!("at most {}", QEMU_MAX_REFCOUNT_TABLE.unbounded_shr(geometry.cluster_bits()));
        let clusters = v2.refcount_table_clusters;
        out.push(field(header, &H30, field::REFCOUNT_TABLE_CLUSTERS, clusters, wanted).only_qemu());
    }
    if v2.nb_snapshots > QEMU_MAX_SNAPSHOTS {
        out.push(field(header, &H33, field::NB_SNAPSHOTS, v2.nb_snapshots, "at most 65536").only_qemu());
    }

    let l1_len = u64::from(v2.l1_size).saturating_mul(8);
    // An entry without name and id is the shortest. QEMU reads just such ones behind the end of the file; what
    // the entries in the file add is for the rules about those to say.
    let snapshots_len = u64::from(v2.nb_snapshots).saturating_mul(SnapshotHead::LEN);
    let tables = [
        (field::L1_TABLE_OFFSET, v2.l1_table_offset, l1_len, &H24),
        (field::REFCOUNT_TABLE_OFFSET, v2.refcount_table_offset, refcount_table_len, &H31),
        (field::SNAPSHOTS_OFFSET, v2.snapshots_offset, snapshots_len, &H32),
    ];
    for (pointer, at, len, rule) in tables {
        let table = Table { pointer, span: Span::new(at, len), rule };
        out.extend(place(header, &table, geometry, file_len));
    }
}

fn place(header: &Header, table: &Table, geometry: Geometry, file_len: u64) -> Option<Finding> {
    let Table { pointer, span, rule } = *table;
    let (at, cluster_size) = (span.at, geometry.cluster_size());
    let wrong = |rule, wanted: Evidence| Some(field(header, rule, pointer, Evidence::Hex(at.0), wanted));
    // QEMU looks at the offset even where the table has no entry.
    if !at.is_aligned(cluster_size) {
        return wrong(rule, format!("a multiple of {cluster_size:#x}").into());
    }
    let max_end = if span.len == 0 { i64::MAX.unsigned_abs() } else { MAX_FILE_LEN };
    if span.len > max_end || at.0 > max_end.saturating_sub(span.len) {
        return wrong(rule, format!("a table that ends at {max_end:#x} or before").into());
    }
    if span.len == 0 {
        return None;
    }
    if at < HostOffset(cluster_size) {
        return wrong(&H35, format!("at least {cluster_size:#x}").into());
    }
    if !is_cut(file_len, span) {
        return None;
    }
    let found = format!("a table of {} bytes at {at}", span.len);
    Some(field(header, &H34, pointer, found, format!("an end at {file_len:#x} or before")))
}
