//! What a snapshot table entry says for people: id, name and date; and the padding behind them.

use super::names::{self, SeenNames};
use crate::finding::{Finding, Severity, Structure, rules};
use crate::format::snapshot::field;
use crate::image::Snapshot;
use crate::units::{Span, to_u64};

rules! {
    DUPLICATE_SNAPSHOT: S09 "duplicate-snapshot" Warning Must {
        title: "snapshot ids must be unique, and names should be",
        why: "`-l ID` and delete pick the first that fits, which may be the wrong one",
        advice: "rename one by editing a copy; `dump --only snapshots` shows which is which",
        spec: "Snapshots",
        fields: [Snapshot.ID_STR, Snapshot.NAME],
        qemu: Silently Silently "not compared",
        risk: FromWarning,
    }
    SNAPSHOT_DATE_NANOSECONDS: S10 "snapshot-date-nanoseconds" Note Extra {
        title: "a snapshot's date_nsec is expected to be less than 1,000,000,000",
        why: "a reader that adds it to the seconds shows another time, or fails",
        advice: "nothing; dates decide nothing",
        spec: "not in the specification, which calls it the part of a second",
        fields: [Snapshot.DATE_NSEC],
        qemu: Silently Silently "shown as it stands",
    }
    SNAPSHOT_NAME_MALFORMED: S14 "snapshot-name-malformed" Warning Extra {
        title: "a snapshot's id and name must be printable UTF-8 without NUL, and the id must not be empty",
        why: "a name that is cut at a NUL or attacks a terminal cannot be used to pick the snapshot",
        advice: "find it by its place in `dump --only snapshots`, and print its name only escaped",
        spec: "not in the specification; readers would see different names",
        fields: [Snapshot.ID_STR, Snapshot.NAME, Snapshot.ID_STR_SIZE],
        qemu: Silently Silently "cut at the first NUL; an empty id is shown as it is",
        risk: FalseName,
    }
    SNAPSHOT_PADDING_NONZERO: S15 "snapshot-padding-nonzero" Note Extra {
        title: "the padding behind a snapshot table entry is expected to be zero",
        why: "a reader ignores them; QEMU leaves there what a cluster held before, where it takes a freed one for the \
            table",
        advice: "nothing: they are seven bytes at most; `qemu-img convert` makes a copy without them, and without the \
            snapshots",
        spec: "not in the specification; a few bytes can be left there",
        fields: [Snapshot.PADDING],
        qemu: Silently Silently "not looked at, nor cleared where the table is written to freed clusters",
    }
    SNAPSHOT_DATE_IMPLAUSIBLE: S18 "snapshot-date-implausible" Note Extra {
        title: "a snapshot's date is expected to lie between 2009 and today, and ids to rise in the table's \
            order",
        why: "a clock was wrong, the table was edited, or entries were moved",
        advice: "take it as a hint when you ask in which order things happened",
        spec: "not in the specification; forensics: clocks set wrong, or entries edited",
        fields: [Snapshot.DATE_SEC, Snapshot.ID_STR],
        qemu: Silently Silently "shown as it stands",
    }
}

/// The start of 2009: a clock that shows less was not set.
const EARLIEST_DATE: i64 = 1_230_768_000;

/// Judges one snapshot after the other.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    now: Option<i64>,
    ids: SeenNames,
    names: SeenNames,
    last_id: u64,
}

impl Labels {
    /// `now`: seconds since 1970, to tell a date in the future.
    pub(super) fn new(now: Option<i64>) -> Self {
        Self { now, ids: SeenNames::default(), names: SeenNames::default(), last_id: 0 }
    }

    /// Judges the next.
    pub(super) fn check(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        self.texts(snapshot, out);
        self.date(snapshot, out);
        self.order(snapshot, out);
    }

    fn texts(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let (id_span, name_span) =
            (id_span(snapshot), Span::new(snapshot.name_at(), to_u64(snapshot.name.len())));
        if snapshot.id.is_empty() {
            let span = field::ID_STR_SIZE.at(snapshot.at);
            out.push(Finding::new(&SNAPSHOT_NAME_MALFORMED, Structure::Snapshot, span, 0_u32, "at least 1"));
        }
        if !self.ids.is_new(&snapshot.id) {
            let wanted = "an id of its own";
            out.push(Finding::new(
                &DUPLICATE_SNAPSHOT,
                Structure::Snapshot,
                id_span,
                "the id of another snapshot",
                wanted,
            ));
        }
        // Ids are a must; names only should differ, and `qemu-img snapshot -c` gives the same one twice.
        if !self.names.is_new(&snapshot.name) {
            let found = "the name of another snapshot";
            let finding =
                Finding::new(&DUPLICATE_SNAPSHOT, Structure::Snapshot, name_span, found, "a name of its own");
            out.push(finding.at_most(Severity::Note));
        }
        for (span, bytes) in [(id_span, &snapshot.id), (name_span, &snapshot.name)] {
            if let Some(found) = names::unprintable(bytes) {
                out.push(Finding::new(
                    &SNAPSHOT_NAME_MALFORMED,
                    Structure::Snapshot,
                    span,
                    found,
                    "printable UTF-8",
                ));
            }
        }
        if snapshot.padding.iter().any(|byte| *byte != 0) {
            let span = Span::new(snapshot.padding_at(), to_u64(snapshot.padding.len()));
            out.push(Finding::new(
                &SNAPSHOT_PADDING_NONZERO,
                Structure::Snapshot,
                span,
                "other bytes",
                "zeros",
            ));
        }
    }

    fn date(&self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let (seconds, nanoseconds) = (snapshot.head.date_sec.0, snapshot.head.date_nsec);
        if nanoseconds >= 1_000_000_000 {
            let span = field::DATE_NSEC.at(snapshot.at);
            out.push(Finding::new(
                &SNAPSHOT_DATE_NANOSECONDS,
                Structure::Snapshot,
                span,
                nanoseconds,
                "less than 1000000000",
            ));
        }
        let date = i64::from(seconds);
        let wanted = if date < EARLIEST_DATE {
            "a date from 2009 on"
        } else if self.now.is_some_and(|now| date > now) {
            "a date that is not in the future"
        } else {
            return;
        };
        let span = field::DATE_SEC.at(snapshot.at);
        out.push(Finding::new(&SNAPSHOT_DATE_IMPLAUSIBLE, Structure::Snapshot, span, seconds, wanted));
    }

    /// Programs count ids up.
    fn order(&mut self, snapshot: &Snapshot, out: &mut Vec<Finding>) {
        let id = str::from_utf8(&snapshot.id).ok().and_then(|id| id.parse::<u64>().ok());
        let Some(id) = id else { return };
        if id < self.last_id {
            let wanted = format!("more than {}, the id before it", self.last_id);
            out.push(Finding::new(
                &SNAPSHOT_DATE_IMPLAUSIBLE,
                Structure::Snapshot,
                id_span(snapshot),
                id,
                wanted,
            ));
        }
        self.last_id = id;
    }
}

fn id_span(snapshot: &Snapshot) -> Span {
    Span::new(snapshot.id_at(), to_u64(snapshot.id.len()))
}
