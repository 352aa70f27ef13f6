//! What the check says of a damaged image, beside what became of the guest's bytes.

use qcow2_inspect::check::{CheckOptions, Checked, Verdict, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::units::{Tree, to_u64};
use qcow2_inspect::{Image, Limits};

use super::damage::Torn;
use super::seeds::Base;
use super::spans::Spans;
use super::truth::{L1, Reader, changes};

/// Guest bytes of one image, over all trees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// That are not what they were, or cannot be read.
    pub(crate) changed: u64,
    /// Changed because their own cluster was written over.
    pub(crate) in_data: u64,
    /// Changed, and neither named nor in a range of which the check says that it cannot tell.
    pub(crate) unnamed: u64,
    /// Changed in an image that nothing in the file contradicts, for QEMU's check either: an older table, say, with the same
    /// references. Nobody can tell without a checksum.
    pub(crate) consistent: u64,
    pub(crate) lost: u64,
    /// Lost, it says, and are what they were.
    pub(crate) overnamed: u64,
    pub(crate) doubtful: u64,
    /// In the ranges of tables that may be lost.
    pub(crate) maybe: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.changed += other.changed;
        self.in_data += other.in_data;
        self.unnamed += other.unnamed;
        self.consistent += other.consistent;
        self.lost += other.lost;
        self.overnamed += other.overnamed;
        self.doubtful += other.doubtful;
        self.maybe += other.maybe;
    }
}

/// What came of one image.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) tally: Tally,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) is_complete: bool,
    /// The rules that fired.
    pub(crate) rules: Vec<String>,
    /// For people: where there are unnamed or overnamed bytes.
    pub(crate) places: Vec<String>,
}

impl Judged {
    /// Whether the check says that QEMU refuses the image, so that all is said of it.
    pub(crate) fn is_refused(&self) -> bool {
        self.verdict.is_none_or(|verdict| verdict == Verdict::Unusable)
    }
}

/// A tree before the damage, after it, and as the check calls it.
pub(crate) struct Pair {
    pub(crate) before: L1,
    pub(crate) after: Option<L1>,
    pub(crate) tree: Tree,
}

/// The active tree, and each snapshot by its id.
pub(crate) fn pairs(before: &Reader<'_>, after: &Reader<'_>) -> Vec<Pair> {
    let mut pairs = vec![Pair { before: before.active, after: Some(after.active), tree: Tree::Active }];
    for (index, snapshot) in before.snapshots.iter().enumerate() {
        let found = after.snapshots.iter().position(|other| other.id == snapshot.id);
        pairs.push(Pair {
            before: snapshot.l1,
            after: found.map(|found| after.snapshots[found].l1),
            tree: Tree::Snapshot(found.unwrap_or(index).try_into().unwrap()),
        });
    }
    pairs
}

/// What the check names.
struct Named {
    checked: Checked,
    findings: Vec<Finding>,
}

impl Named {
    /// Of a tree: what is lost, what is doubtful beside that, and where a table may be lost or the check cannot tell.
    fn of(&self, tree: Tree, size: u64) -> [Spans; 3] {
        let [mut lost, mut doubtful, mut maybe] = [(); 3].map(|()| Spans::default());
        for loss in self.checked.losses.iter().filter(|loss| loss.tree == tree) {
            loss.lost.iter().for_each(|span| lost.add(span.start.0, span.len));
            loss.doubtful.iter().for_each(|span| doubtful.add(span.start.0, span.len));
        }
        let says = |finding: &&Finding| finding.rule.code == "L30" || finding.rule.means_incomplete();
        for guest in self.findings.iter().filter(says).filter_map(|finding| finding.guest) {
            if guest.tree == tree {
                maybe.add(guest.span.start.0, guest.span.len);
            }
        }
        let doubtful = doubtful.without(&lost);
        [lost, doubtful, maybe].map(|spans| spans.before(size))
    }
}

/// Checks a damaged image.
pub(crate) fn judge(base: &Base, torn: &Torn) -> Judged {
    let mut judged = Judged {
        tally: Tally::default(),
        verdict: None,
        is_complete: true,
        rules: Vec::new(),
        places: Vec::new(),
    };
    let Ok(image) = Image::open(torn.file.as_slice(), Limits::default()) else {
        return judged;
    };
    let mut findings = Vec::new();
    let checked = check(&image, &CheckOptions::default(), &mut |finding: Finding| findings.push(finding));
    judged.verdict = Some(checked.verdict);
    judged.is_complete = checked.complete;
    judged.rules = checked.rules.iter().map(|(rule, count)| format!("{}×{count}", rule.code)).collect();
    if judged.is_refused() {
        return judged;
    }
    let named = Named { checked, findings };
    let before = base.reader();
    let Some(after) = Reader::open(&torn.file) else { panic!("QEMU cannot open it: {}", torn.told) };
    for pair in pairs(&before, &after) {
        let after = pair.after.map(|l1| (&after, l1));
        let changes = changes((&before, pair.before), after, &torn.written);
        let [lost, doubtful, maybe] = named.of(pair.tree, before.size);
        let all = changes.by_tables.bytes();
        let unnamed = changes.by_tables.without(&lost).without(&doubtful).without(&maybe);
        let mut changed = changes.by_tables;
        changed.extend(&changes.in_data);
        let overnamed = lost.without(&changed);
        judged.tally.add(&Tally {
            changed: all,
            in_data: changes.in_data.bytes(),
            unnamed: unnamed.bytes(),
            consistent: 0,
            lost: lost.bytes(),
            overnamed: overnamed.bytes(),
            doubtful: doubtful.bytes(),
            maybe: maybe.bytes(),
        });
        for (what, spans) in [("unnamed", unnamed), ("overnamed", overnamed)] {
            if let Some((first, _)) = spans.iter().next() {
                let entries = after.map_or("no such tree".to_owned(), |(after, l1)| after.entries(l1, first));
                judged.places.push(format!("{what} of {}: {}; {entries}", told(pair.tree), shown(&spans)));
            }
        }
    }
    judged
}

fn told(tree: Tree) -> String {
    match tree {
        Tree::Active => "the active tree".to_owned(),
        Tree::Snapshot(index) => format!("snapshot:{index}"),
    }
}

/// The first ranges, and how many there are.
fn shown(spans: &Spans) -> String {
    let first: Vec<String> = spans.iter().take(3).map(|(from, to)| format!("{from:#x}..{to:#x}")).collect();
    let count = to_u64(spans.iter().count());
    format!("{} bytes in {count} ranges, {}", spans.bytes(), first.join(" "))
}
