//! The table of a run, and what is not as it should be.

use std::collections::BTreeMap;

use super::Outcome;
use super::judged::Tally;

/// The seeds of one row.
#[derive(Default)]
struct Row {
    seeds: u64,
    refused: u64,
    unnamed_seeds: u64,
    tally: Tally,
}

impl Row {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.refused += u64::from(outcome.judged.is_refused());
        self.unnamed_seeds += u64::from(outcome.judged.tally.unnamed != 0);
        self.tally.add(&outcome.judged.tally);
    }

    fn print(&self, kind: &str, hit: &str) {
        let Tally { changed, in_data, unnamed, consistent, lost, overnamed, doubtful, maybe } = self.tally;
        println!(
            "{kind:<14} {hit:<15} {:>5} {:>7} {changed:>10} {in_data:>9} {unnamed:>10} {:>5} {consistent:>10} {lost:>10} {overnamed:>9} \
            {doubtful:>10} {maybe:>10}",
            self.seeds, self.refused, self.unnamed_seeds
        );
    }
}

/// Prints all, and fails where a number is not as wanted.
pub(crate) fn print(outcomes: &[Outcome]) {
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    let mut all = Row::default();
    for outcome in outcomes {
        rows.entry((outcome.kind, outcome.hit)).or_default().add(outcome);
        all.add(outcome);
    }
    println!(
        "Guest bytes, over all trees. refused: QEMU opens none of it, and the check says so. data: their own cluster was \
        written over. in: seeds with unnamed bytes. consistent: nothing in the file contradicts what the tables say now. \
        maybe: in the range of a table that may be lost."
    );
    println!(
        "{:<14} {:<15} {:>5} {:>7} {:>10} {:>9} {:>10} {:>5} {:>10} {:>10} {:>9} {:>10} {:>10}",
        "written",
        "over",
        "seeds",
        "refused",
        "changed",
        "data",
        "unnamed",
        "in",
        "consistent",
        "lost",
        "overnamed",
        "doubtful",
        "maybe"
    );
    rows.iter().for_each(|((kind, hit), row)| row.print(kind.as_str(), hit.as_str()));
    all.print("all", "");

    list("seeds with unnamed bytes", outcomes, |outcome| outcome.judged.tally.unnamed != 0);
    list("seeds with more than 5 % of the lost bytes overnamed", outcomes, |outcome| {
        outcome.judged.tally.overnamed * 20 > outcome.judged.tally.lost
    });
    // Of an image that QEMU refuses, nothing is left to tell.
    let cannot_tell = |outcome: &Outcome| !outcome.judged.is_complete && !outcome.judged.is_refused();
    list("seeds where the check cannot tell", outcomes, cannot_tell);
    list("seeds that nothing in the file contradicts", outcomes, |outcome| {
        outcome.judged.tally.consistent != 0
    });
    list("seeds where QEMU reads otherwise", outcomes, |outcome| !outcome.differences.is_empty());

    let count = |is: fn(&Outcome) -> bool| {
        u64::try_from(outcomes.iter().filter(|outcome| is(outcome)).count()).unwrap()
    };
    let incomplete = count(cannot_tell);
    let tally = &all.tally;
    let wanted = [
        (
            tally.unnamed == 0,
            format!("unnamed bytes: {} in {} seeds, wanted 0", tally.unnamed, all.unnamed_seeds),
        ),
        (
            tally.overnamed * 20 <= tally.lost,
            format!("overnamed: {} of {} lost bytes, wanted 5 % at most", tally.overnamed, tally.lost),
        ),
        (
            tally.doubtful <= 4 * tally.changed,
            format!(
                "doubtful: {} bytes beside {} changed, wanted 4 times at most",
                tally.doubtful, tally.changed
            ),
        ),
        (incomplete * 50 <= all.seeds, format!("cannot tell: {incomplete} seeds, wanted 2 % at most")),
        (
            count(|outcome| !outcome.differences.is_empty()) == 0,
            format!("compared with QEMU: {} seeds", count(|outcome| outcome.is_proved)),
        ),
    ];
    println!();
    for (is_met, line) in &wanted {
        println!("{} {line}", if *is_met { "ok " } else { "NOT" });
    }
    assert!(wanted.iter().all(|(is_met, _)| *is_met), "not as wanted");
}

fn list(title: &str, outcomes: &[Outcome], is_listed: impl Fn(&Outcome) -> bool) {
    println!("\n{title}:");
    outcomes.iter().filter(|outcome| is_listed(outcome)).for_each(tell);
}

/// All of one seed.
pub(crate) fn tell(outcome: &Outcome) {
    let judged = &outcome.judged;
    let verdict = judged.verdict.map_or("not a qcow2 image", |verdict| verdict.as_str());
    println!("  {}: {}; {}", outcome.seed, outcome.told, outcome.base);
    println!("    {verdict}: {}", judged.rules.join(" "));
    judged.places.iter().chain(&outcome.differences).for_each(|line| println!("    {line}"));
}
