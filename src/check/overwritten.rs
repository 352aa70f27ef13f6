//! Tables that something else was written over (L31): most of their entries make no sense.

use super::contents::{contents, is_sensible};
use super::context::Context;
use super::reporter::Reporter;
use crate::Error;
use crate::finding::{Finding, Guest, Structure};
use crate::format::mapping::{L2Entry, Mapping};
use crate::image::Table;
use crate::rules::named::TABLE_OVERWRITTEN;
use crate::source::ReadAt;
use crate::units::to_u64;

/// So few entries that make no sense say nothing of their table: bits rot one by one.
const FEW: u64 = 4;

/// What was seen of a table, entry by entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    senseless: u64,
    /// Entries that say zeros and have no cluster.
    zeros: u64,
    last: L2Entry,
}

impl Seen {
    /// Takes one more entry that is not plain.
    #[inline]
    pub(super) fn entry<R: ReadAt>(&mut self, cx: &Context<'_, R>, entry: L2Entry) {
        // Whoever shares one cluster between all entries has that cluster.
        let is_repeated = entry == self.last && entry.standard_offset().0 >= cx.image.file_len();
        if is_repeated || !is_sensible(cx, entry) {
            self.senseless = self.senseless.saturating_add(1);
        }
        if entry.mapping(cx.geometry, cx.has_external_data) == Mapping::Zero {
            self.zeros = self.zeros.saturating_add(1);
        }
        self.last = entry;
    }

    /// Whether each entry of a table says zeros: it may be a table of zeros, and what is left of a lost one.
    pub(super) fn are_all_zeros(&self, entries: u64) -> bool {
        self.zeros == entries
    }
}

/// Tells that a table was overwritten, where most of its entries in use make no sense: all of `guest`, which it mapped,
/// is lost.
pub(super) fn judge<R: ReadAt>(
    cx: &Context<'_, R>,
    (table, guest): (Table, Option<Guest>),
    seen: Seen,
    reporter: &mut Reporter<'_>,
) {
    if seen.senseless < FEW {
        return;
    }
    let (used, start) = match look(cx, table) {
        Ok(looked) => looked,
        Err(error) => return reporter.stop(error, Structure::L2Table),
    };
    if seen.senseless.saturating_mul(2) <= used {
        return;
    }
    let found = format!(
        "{} of {used} entries in use that make no sense; it looks like {}",
        seen.senseless,
        contents(cx, &start)
    );
    let finding = Finding::new(&TABLE_OVERWRITTEN, Structure::L2Table, table.span, found, "L2 entries");
    reporter.found.push(Finding { guest, ..finding });
}

/// How many entries of a table are not zero, and how it starts.
fn look<R: ReadAt>(cx: &Context<'_, R>, table: Table) -> Result<(u64, Vec<u8>), Error> {
    let (mut used, mut start) = (0_u64, Vec::new());
    let mut entries = cx.image.entries(table);
    while let Some(chunk) = entries.next().transpose()? {
        used = used.saturating_add(to_u64(chunk.entries().count()));
        if start.is_empty() {
            start.extend_from_slice(chunk.bytes);
        }
    }
    Ok((used, start))
}
