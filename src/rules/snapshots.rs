//! The snapshot table, entry by entry: S01 to S15, S18.

use super::seen::Seen;
use super::{ends_past_file, is_cut, stopped};
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::snapshot::{self, SnapshotHead};
use crate::format::{Layout, header, part};
use crate::image::Snapshot;
use crate::rules::codes::{S01, S02, S03, S04, S05, S06, S07, S08, S09, S10, S11, S12, S13, S14, S15, S18};
use crate::source::ReadAt;
use crate::text;
use crate::units::{Geometry, HostOffset, Span, to_u64};
use crate::{Error, Image};

/// QEMU's limits: QCOW_MAX_SNAPSHOT_EXTRA_DATA, QCOW_MAX_SNAPSHOTS_SIZE and QCOW_MAX_L1_SIZE (block/qcow2.h).
const MAX_EXTRA_LEN: u32 = 1024;
const MAX_TABLE_LEN: u64 = 64 << 20;
const MAX_L1_ENTRIES: u32 = (32 << 20) / 8;
/// The start of 2009: a clock that shows less was not set.
const EARLIEST_DATE: i64 = 1_230_768_000;
/// The longest entry without extra data, padded: one that is longer has more extra data than QEMU takes.
const MAX_BARE_ENTRY_LEN: u64 = SnapshotHead::LEN + 2 * 65_535 + 8;

/// Judges one snapshot after the other, and at the end their table.
#[derive(Clone, Debug)]
pub struct SnapshotRules {
    geometry: Option<Geometry>,
    file_len: u64,
    has_v3: bool,
    external_data: bool,
    virtual_size: u64,
    count: u32,
    count_span: Span,
    table_at: HostOffset,
    table_len: u64,
    now: Option<i64>,
    ids: Seen,
    names: Seen,
    last_id: u64,
}

impl SnapshotRules {
    /// The rules for this image. `now`: seconds since 1970, to tell a date in the future.
    pub fn new<R: ReadAt>(image: &Image<R>, now: Option<i64>) -> Self {
        let header = image.header();
        Self {
            geometry: image.geometry(),
            file_len: image.file_len(),
            has_v3: header.has_v3(),
            external_data: image.has_external_data(),
            virtual_size: header.v2.size.0,
            count: header.v2.nb_snapshots,
            count_span: header.span(header::field::NB_SNAPSHOTS),
            table_at: header.v2.snapshots_offset,
            table_len: 0,
            now,
            ids: Seen::default(),
            names: Seen::default(),
            last_id: 0,
        }
    }

    /// Judges the next snapshot of the table.
    pub fn snapshot(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        self.table_len = snapshot.padding_at().0.saturating_sub(self.table_at.0);
        self.extra_data(snapshot, out);
        self.l1_table(snapshot, out);
        self.sizes(snapshot, out);
        self.texts(snapshot, out);
        self.dates(snapshot, out);
    }

    /// Judges the table as a whole; `fault` is what ended it early.
    pub fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        out.extend(fault.and_then(extra_data_of).map(|(span, len)| extra_data_too_large(span, len)));
        out.extend(fault.map(|fault| stopped(fault, Structure::Snapshot, &S01)));
        let header = |rule: &'static Rule, found: Evidence, wanted: String| {
            Finding::new(rule, Structure::Header, self.count_span, found, wanted)
        };
        if self.table_len > MAX_TABLE_LEN {
            let found = format!("a table of {} bytes", self.table_len);
            out.push(header(&S03, found.into(), format!("at most {MAX_TABLE_LEN}")).only_qemu());
        }
        if self.external_data && self.count != 0 {
            out.push(header(&S13, self.count.into(), "0 with an external data file".to_owned()));
        }
    }

    fn extra_data(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let len = snapshot.head.extra_data_size;
        let span = || snapshot::field::EXTRA_DATA_SIZE.at(snapshot.at);
        if len > MAX_EXTRA_LEN {
            out.push(extra_data_too_large(span(), len.into()));
        }
        if len < 16 && self.has_v3 {
            out.push(Finding::new(&S04, Structure::Snapshot, span(), len, "at least 16"));
        }
    }

    fn l1_table(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let Some(geometry) = self.geometry else { return };
        let (offset, size) = (snapshot.head.l1_table_offset, snapshot.head.l1_size);
        let cluster_size = geometry.cluster_size();
        let offset_finding = |rule: &'static Rule, wanted: String| {
            let span = snapshot::field::L1_TABLE_OFFSET.at(snapshot.at);
            Finding::new(rule, Structure::Snapshot, span, Evidence::Hex(offset.0), wanted)
        };
        let size_finding = |rule: &'static Rule, wanted: String| {
            Finding::new(rule, Structure::Snapshot, snapshot::field::L1_SIZE.at(snapshot.at), size, wanted)
        };
        if !offset.is_aligned(cluster_size) {
            out.push(offset_finding(&S05, format!("a multiple of {cluster_size:#x}")));
        }
        let is_too_large = size > MAX_L1_ENTRIES;
        if is_too_large {
            out.push(size_finding(&S06, format!("at most {MAX_L1_ENTRIES}")).only_qemu());
        }
        let wanted = snapshot.l1_entries_wanted(geometry, self.virtual_size);
        if u64::from(size) < wanted {
            out.push(size_finding(&S07, format!("at least {wanted}")));
        }
        // Of a length that is wrong, only the start can tell.
        let span = if is_too_large { Span::new(offset, 8) } else { snapshot.l1().span() };
        if is_cut(self.file_len, span) || ends_past_file(self.file_len, span, geometry) {
            out.push(offset_finding(&S08, format!("inside the {:#x} bytes of the file", self.file_len)));
        }
    }

    fn sizes(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let (short, long) = (u64::from(snapshot.head.vm_state_size.0), snapshot.vm_state_size());
        if short != 0 && short != long {
            let span = snapshot::field::VM_STATE_SIZE.at(snapshot.at);
            let wanted = format!("{long} or 0");
            out.push(Finding::new(&S11, Structure::Snapshot, span, short, wanted));
        }
        if let Some(size) = snapshot.disk_size()
            && (size == 0 || size % 512 != 0)
        {
            let span = snapshot::extra_field::DISK_SIZE.at(snapshot.extra_at());
            let wanted = "a multiple of 512 and not 0";
            out.push(Finding::new(&S12, Structure::Snapshot, span, size, wanted));
        }
    }

    fn texts(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let id_span = Span::new(snapshot.id_at(), to_u64(snapshot.id.len()));
        let name_span = Span::new(snapshot.name_at(), to_u64(snapshot.name.len()));
        if snapshot.id.is_empty() {
            let span = snapshot::field::ID_STR_SIZE.at(snapshot.at);
            out.push(Finding::new(&S14, Structure::Snapshot, span, 0_u32, "at least 1"));
        }
        if !self.ids.is_new(&snapshot.id) {
            let wanted = "an id of its own";
            out.push(Finding::new(&S09, Structure::Snapshot, id_span, "the id of another snapshot", wanted));
        }
        // Ids are a must; names only should differ, and `qemu-img snapshot -c` gives the same one twice.
        if !self.names.is_new(&snapshot.name) {
            let found = "the name of another snapshot";
            let finding = Finding::new(&S09, Structure::Snapshot, name_span, found, "a name of its own");
            out.push(finding.at_most(Severity::Note));
        }
        for (span, bytes) in [(id_span, &snapshot.id), (name_span, &snapshot.name)] {
            if let Some((position, byte)) = text::unprintable(bytes) {
                let found = format!("the byte {byte:#04x} at position {position}");
                out.push(Finding::new(&S14, Structure::Snapshot, span, found, "printable UTF-8"));
            }
        }
        if snapshot.padding.iter().any(|byte| *byte != 0) {
            let span = Span::new(snapshot.padding_at(), to_u64(snapshot.padding.len()));
            out.push(Finding::new(&S15, Structure::Snapshot, span, "other bytes", "zeros"));
        }
    }

    fn dates(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let (seconds, nanoseconds) = (snapshot.head.date_sec.0, snapshot.head.date_nsec);
        if nanoseconds >= 1_000_000_000 {
            let span = snapshot::field::DATE_NSEC.at(snapshot.at);
            out.push(Finding::new(&S10, Structure::Snapshot, span, nanoseconds, "less than 1000000000"));
        }
        let date = i64::from(seconds);
        let wanted = if date < EARLIEST_DATE {
            Some("a date from 2009 on")
        } else {
            self.now.filter(|now| date > *now).map(|_| "a date that is not in the future")
        };
        if let Some(wanted) = wanted {
            let span = snapshot::field::DATE_SEC.at(snapshot.at);
            out.push(Finding::new(&S18, Structure::Snapshot, span, seconds, wanted));
        }
        let id = str::from_utf8(&snapshot.id).ok().and_then(|id| id.parse::<u64>().ok());
        if let Some(id) = id {
            if id < self.last_id {
                let span = Span::new(snapshot.id_at(), to_u64(snapshot.id.len()));
                let wanted = format!("more than {}, the id before it", self.last_id);
                out.push(Finding::new(&S18, Structure::Snapshot, span, id, wanted));
            }
            self.last_id = id;
        }
    }
}

fn extra_data_too_large(span: Span, len: u64) -> Finding {
    let wanted = format!("at most {MAX_EXTRA_LEN}");
    Finding::new(&S02, Structure::Snapshot, span, len, wanted).only_qemu()
}

/// Where `extra_data_size` stands in an entry that was not read, and what it is at least; `None` where it is
/// within QEMU's limit, or not known.
fn extra_data_of(fault: Error) -> Option<(Span, u64)> {
    match fault {
        Error::Cut { what: part::EXTRA_DATA, at, wanted, .. } if wanted > MAX_EXTRA_LEN.into() => {
            let entry_at = HostOffset(at.0.checked_sub(SnapshotHead::LEN)?);
            Some((snapshot::field::EXTRA_DATA_SIZE.at(entry_at), wanted))
        }
        Error::Budget { limit: "entry_len", value, at } => {
            let least = value.checked_sub(MAX_BARE_ENTRY_LEN)?;
            let span = snapshot::field::EXTRA_DATA_SIZE.at(at);
            (least > MAX_EXTRA_LEN.into()).then_some((span, least))
        }
        _ => None,
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use super::super::testing_tables as testing;
    use super::*;

    #[test]
    fn each_damage_breaks_its_rule() {
        testing::each_damage_breaks_its_rule(
            "S",
            &[
                "S01", "S02", "S03", "S04", "S05", "S06", "S07", "S08", "S09", "S10", "S11", "S12", "S13",
                "S14", "S15", "S18",
            ],
        );
    }

    #[test]
    fn what_only_qemu_refuses_is_marked() {
        for (name, is_qemu) in
            [("S02", true), ("S02-beyond-file", true), ("S03", true), ("S06", true), ("S04", false)]
        {
            assert_eq!(testing::finding(name).1.qemu_limit, is_qemu, "{name}");
        }
        let (_, finding) = testing::finding("S02-beyond-limit");
        assert_eq!((finding.severity, finding.at.unwrap().len), (Severity::Fatal, 4));
    }

    #[test]
    fn names_may_repeat_and_ids_not() {
        assert_eq!(testing::finding("S09-id").1.severity, Severity::Warning);
        assert_eq!(testing::finding("S09-name").1.severity, Severity::Note);
    }

    #[test]
    fn the_present_is_not_in_the_future() {
        let draft = testing::base("valid/v3-snapshots");
        let snapshot = draft.snapshot(0);
        let date = i64::from(snapshot.head.date_sec.0);
        for (now, count) in [(None, 0), (Some(date), 0), (Some(date - 1), 1)] {
            let mut out = Vec::new();
            SnapshotRules::new(&draft.image(), now).snapshot(&snapshot, &mut out);
            assert_eq!(out.len(), count, "{now:?}");
        }
    }
}
