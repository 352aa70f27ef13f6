//! How far a scan has come, and what came of it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_millis(200);

/// How many images there were of each kind.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) accepted: usize,
    /// With what is against them.
    pub(super) rejected: usize,
    /// Rejected since they could not be judged: their lines have that decision.
    pub(super) not_judged: usize,
    /// No line was written for them, as nobody reads any more.
    pub(super) left_out: usize,
    /// Done by an earlier scan.
    pub(super) skipped: usize,
    /// How many of those it rejected.
    pub(super) skipped_rejected: usize,
}

impl Counts {
    /// One image was done by an earlier scan, with this exit code of its audit.
    pub(super) fn skip(&mut self, code: u8) {
        self.skipped = self.skipped.saturating_add(1);
        self.skipped_rejected = self.skipped_rejected.saturating_add(usize::from(code == 2));
    }

    fn done(&self) -> usize {
        self.accepted.saturating_add(self.rejected).saturating_add(self.not_judged)
    }
}

/// Tells a terminal how far it is, and everybody at the end.
pub(super) struct Progress {
    all: usize,
    counts: Counts,
    start: Instant,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new(all: usize, counts: Counts) -> Self {
        let start = Instant::now();
        Self { all, counts, start, last: io::stderr().is_terminal().then_some(start) }
    }

    /// One more image, with the exit code of its audit.
    pub(super) fn add(&mut self, code: u8) {
        let count = match code {
            0 => &mut self.counts.accepted,
            2 => &mut self.counts.rejected,
            _ => &mut self.counts.not_judged,
        };
        *count = count.saturating_add(1);
        if let Some(last) = &mut self.last
            && last.elapsed() >= PAUSE
        {
            *last = Instant::now();
            let (done, all) = (self.counts.done(), self.all);
            let each = self.start.elapsed().checked_div(u32::try_from(done).unwrap_or(u32::MAX));
            let left = u32::try_from(all.saturating_sub(done)).unwrap_or(u32::MAX);
            let left = each.unwrap_or_default().saturating_mul(left).as_secs();
            let rate = each.map_or(0.0, |each| 1.0 / each.as_secs_f64().max(1e-6));
            let _ = write!(io::stderr(), "\r{done} of {all}, {rate:.0} a second, {left} s left\x1b[K\r");
        }
    }

    /// So many images are not looked at any more.
    pub(super) fn give_up(&mut self, left: usize) {
        self.counts.left_out = self.counts.left_out.saturating_add(left);
    }

    /// Writes the table; the exit code, which is that of all images together, whenever they were done.
    pub(super) fn finish(self) -> u8 {
        let Counts { accepted, rejected, not_judged, left_out, skipped, skipped_rejected } = self.counts;
        let seconds = self.start.elapsed().as_secs_f64();
        let mut err = io::stderr();
        if self.last.is_some() {
            let _ = write!(err, "\r\x1b[K");
        }
        let _ = writeln!(err, "{:<12} {accepted:>10}", "accepted");
        // As many as there are lines with that decision.
        let refused = rejected.saturating_add(not_judged);
        let _ = writeln!(err, "{:<12} {refused:>10}{}", "rejected", of_them("not judged", not_judged));
        if left_out > 0 {
            let _ = writeln!(err, "{:<12} {left_out:>10}", "left out");
        }
        if skipped > 0 {
            let _ =
                writeln!(err, "{:<12} {skipped:>10}{}", "done before", of_them("rejected", skipped_rejected));
        }
        let _ = writeln!(err, "{:<12} {seconds:>10.1}", "seconds");
        match () {
            () if rejected > 0 || skipped_rejected > 0 => 2,
            () if not_judged > 0 || left_out > 0 => 1,
            () => 0,
        }
    }
}

/// What stands behind a number that counts these too.
fn of_them(name: &str, count: usize) -> String {
    if count > 0 { format!(" (of them {name} {count})") } else { String::new() }
}
