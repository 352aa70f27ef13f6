//! The L1 and L2 tables of the active disk and of every snapshot. A table that several places share is shown
//! once.

use std::io;

use super::skipped::{BEHIND_THE_END, Empty};
use super::{Dumper, NO_CLUSTER_SIZE};
use crate::Error;
use crate::finding::Structure;
use crate::format::Style;
use crate::format::mapping::{L1Entry, L2Entry, Mapping, SubclusterBitmap};
use crate::image::{DiskTree, L1Table, Visited};
use crate::report::row::{Context, Detail, Label, Row, Section, Sink};
use crate::report::value::Value;
use crate::rules::codes::{H34, L03, S01, S08};
use crate::rules::{L2Place, MappingRules};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, Tree, to_u64};

/// An L2 table and who points at it.
#[derive(Clone, Copy)]
struct L2Table {
    tree: DiskTree,
    l1_index: u64,
    at: HostOffset,
}

/// The L1 tables.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    /// A tree, unless the snapshot table cannot be read so far; what is wrong with it is told by the section of
    /// its own, if that is shown.
    fn or_stop(&mut self, tree: Result<DiskTree, Error>) -> Option<DiskTree> {
        tree.map_err(|error| {
            let is_told =
                matches!(error, Error::Cut { .. }) && self.options.sections.contains(&Section::Snapshots);
            if !is_told {
                self.stop(error, Structure::Snapshot, &S01);
            }
        })
        .ok()
    }

    pub(super) fn l1_tables(&mut self) -> io::Result<()> {
        let Some(rules) = MappingRules::new(self.image) else { return self.unreadable(NO_CLUSTER_SIZE) };
        let mut shown = Visited::new(self.image.limits().remembered_tables);
        for tree in self.image.trees() {
            let Some(tree) = self.or_stop(tree) else { break };
            let l1 = tree.l1;
            self.heading(l1.at, "L1 table", tree_context(&l1), &[])?;
            match shown.first(self.in_file(l1.span()), l1) {
                Some(earlier) => self.shared_l1(&l1, &earlier)?,
                None => self.l1_table(&rules, &tree)?,
            }
        }
        Ok(())
    }

    /// Says which table was shown that has all or some of this one's bytes.
    fn shared_l1(&mut self, l1: &L1Table, earlier: &L1Table) -> io::Result<()> {
        let same = l1.span() == earlier.span();
        let key = if same { "same_as" } else { "overlaps" };
        let details = [Detail::new(key, Value::Tree(earlier.tree))];
        self.sink.row(&Row::remark(Label::Field("L1"), l1.at, 0, &details))
    }

    fn l1_table(&mut self, rules: &MappingRules, tree: &DiskTree) -> io::Result<()> {
        let l1 = &tree.l1;
        let mut empty = Empty::default();
        let (mut index, mut at) = (0_u64, l1.at);
        let mut chunks = self.image.chunks("an L1 table", l1.span());
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    let cut = if l1.tree == Tree::Active { &H34 } else { &S08 };
                    self.stop(error, Structure::L1Table, cut);
                    break;
                }
            };
            for (entry_at, raw) in chunk.entries() {
                if raw == 0 {
                    empty.add(index, entry_at);
                } else {
                    self.skipped("L1", &mut empty)?;
                    rules.l1_entry(tree, index, entry_at, L1Entry(raw), &mut self.found);
                    self.l1_entry(index, entry_at, L1Entry(raw))?;
                    self.settle();
                }
                (index, at) = (index.saturating_add(1), entry_at.saturating_add(8));
            }
        }
        self.skipped("L1", &mut empty)?;
        self.skip("L1", (index, u64::from(l1.size).saturating_sub(index)), at, BEHIND_THE_END)?;
        self.hex(l1.span())
    }

    fn l1_entry(&mut self, index: u64, at: HostOffset, entry: L1Entry) -> io::Result<()> {
        let guest = self.image.geometry().and_then(|geometry| geometry.l1_guest_offset(index));
        let details = [
            Detail::new("index", Value::Number(index, Style::Number)),
            Detail::new("guest_offset", guest.map_or(Value::None, |guest| Value::Offset(guest.0))),
            Detail::new("l2_offset", Value::Offset(entry.l2_offset().0)),
            Detail::new("copied", Value::Flag(entry.copied())),
        ];
        let row = Row::remark(Label::Entry("L1", index), at, 8, &details);
        self.row(Structure::L1Table, "entry", Row { value: Value::Entry(entry.0), ..row })
    }
}

/// The L2 tables.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn l2_tables(&mut self) -> io::Result<()> {
        let image = self.image;
        let Some((geometry, rules)) = image.geometry().zip(MappingRules::new(image)) else {
            return self.unreadable(NO_CLUSTER_SIZE);
        };
        let limit = image.limits().remembered_tables;
        let (mut l1_shown, mut l2_shown) = (Visited::new(limit), Visited::new(limit));
        for tree in image.trees() {
            let Some(tree) = self.or_stop(tree) else { break };
            match l1_shown.first(self.in_file(tree.l1.span()), tree.l1) {
                Some(earlier) => {
                    self.heading(tree.l1.at, "L2 tables", tree_context(&tree.l1), &[])?;
                    self.shared_l1(&tree.l1, &earlier)?;
                }
                None => self.l2_tables_of(tree, geometry, &rules, &mut l2_shown)?,
            }
        }
        if l2_shown.is_full() {
            let details = [Detail::new("remembered_tables", Value::Number(to_u64(limit), Style::Number))];
            let label = Label::Field("shared tables may have been shown more than once");
            self.sink.row(&Row::remark(label, HostOffset(0), 0, &details))?;
        }
        Ok(())
    }

    fn l2_tables_of(
        &mut self,
        tree: DiskTree,
        geometry: Geometry,
        rules: &MappingRules,
        shown: &mut Visited<(Tree, u64, HostOffset)>,
    ) -> io::Result<()> {
        let mut shared: Option<Shared> = None;
        let mut l1_index = 0_u64;
        let mut chunks = self.image.chunks("an L1 table", tree.l1.span());
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.stop(error, Structure::L1Table, &L03);
                    break;
                }
            };
            for (_, raw) in chunk.entries() {
                let at = L1Entry(raw).l2_offset();
                if at.0 != 0 {
                    let span = self.in_file(Span::new(at, geometry.cluster_size()));
                    match shown.first(span, (tree.l1.tree, l1_index, at)) {
                        Some(earlier) => {
                            let here = (l1_index, at);
                            if !shared.as_mut().is_some_and(|shared| shared.extend(here, earlier)) {
                                self.shared_run(&tree.l1, shared.take())?;
                                shared = Some(Shared::new(here, earlier));
                            }
                        }
                        None => {
                            self.shared_run(&tree.l1, shared.take())?;
                            self.l2_table(&L2Table { tree, l1_index, at }, geometry, rules)?;
                        }
                    }
                }
                l1_index = l1_index.saturating_add(1);
            }
        }
        self.shared_run(&tree.l1, shared)
    }

    /// Says where tables were shown that this tree shares.
    fn shared_run(&mut self, l1: &L1Table, run: Option<Shared>) -> io::Result<()> {
        let Some(run) = run else { return Ok(()) };
        self.heading(l1.at, "L2 tables", tree_context(l1), &[])?;
        let key = if run.same { "same_as" } else { "overlaps" };
        let details = [
            Detail::new(key, Value::Tree(run.tree)),
            Detail::new("of_l1_index", Value::Number(run.other_first, Style::Number)),
        ];
        self.sink.row(&Row::remark(Label::Entries("L1", run.first, run.last), l1.at, 0, &details))
    }

    fn l2_table(&mut self, table: &L2Table, geometry: Geometry, rules: &MappingRules) -> io::Result<()> {
        let l1 = &table.tree.l1;
        let context = Context { tree: Some(l1.tree), l1_index: Some(table.l1_index), ..Context::default() };
        let guest = geometry.l1_guest_offset(table.l1_index);
        let guest = guest.map_or(Value::None, |guest| Value::Offset(guest.0));
        self.heading(table.at, "L2 table", context, &[Detail::new("guest_offset", guest)])?;

        let mut place = L2Place {
            tree: l1.tree,
            disk_size: table.tree.disk_size,
            l1_index: table.l1_index,
            index: 0,
            at: table.at,
        };
        let mut empty = Empty::default();
        let span = Span::new(table.at, geometry.cluster_size());
        let mut chunks = self.image.chunks("an L2 table", span);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.stop(error, Structure::L2Table, &L03);
                    break;
                }
            };
            if geometry.extended_l2() {
                for (at, (raw, bitmap)) in chunk.wide_entries() {
                    place.at = at;
                    self.l2_entry(
                        &place,
                        geometry,
                        rules,
                        &mut empty,
                        (raw, Some(SubclusterBitmap(bitmap))),
                    )?;
                    place.index = place.index.saturating_add(1);
                }
            } else {
                for (at, raw) in chunk.entries() {
                    place.at = at;
                    self.l2_entry(&place, geometry, rules, &mut empty, (raw, None))?;
                    place.index = place.index.saturating_add(1);
                }
            }
        }
        self.skipped("L2", &mut empty)?;
        let left = geometry.l2_entry_count().saturating_sub(place.index);
        self.skip("L2", (place.index, left), place.at, BEHIND_THE_END)?;
        self.hex(span)
    }

    fn l2_entry(
        &mut self,
        place: &L2Place,
        geometry: Geometry,
        rules: &MappingRules,
        empty: &mut Empty,
        (raw, bitmap): (u64, Option<SubclusterBitmap>),
    ) -> io::Result<()> {
        if raw == 0 && bitmap.is_none_or(|bitmap| bitmap.0 == 0) {
            empty.add(place.index, place.at);
            return Ok(());
        }
        self.skipped("L2", empty)?;
        let entry = L2Entry(raw);
        rules.l2_entry(place, entry, bitmap, &mut self.found);
        let (kind, host, len) = match self.image.mapping(geometry, entry) {
            Mapping::Unallocated => ("unallocated", None, None),
            Mapping::Zero => ("zero", None, None),
            Mapping::ZeroAllocated(at) => ("zero-allocated", Some(at), None),
            Mapping::Data(at) => ("data", Some(at), None),
            Mapping::Compressed(stream) => ("compressed", Some(stream.at), Some(stream.len)),
        };
        let guest = geometry.guest_offset(place.l1_index, place.index);
        let all = [
            Some(Detail::new("index", Value::Number(place.index, Style::Number))),
            guest.map(|guest| Detail::new("guest_offset", Value::Offset(guest.0))),
            Some(Detail::new("kind", Value::Word(kind))),
            host.map(|host| Detail::new("host_offset", Value::Offset(host.0))),
            len.map(|len| Detail::new("compressed_length", Value::Number(len, Style::Number))),
            Some(Detail::new("copied", Value::Flag(entry.copied()))),
            bitmap.map(|bitmap| Detail::new("bitmap", Value::Entry(bitmap.0))),
            bitmap.map(|bitmap| Detail::new("subclusters", Value::Subclusters(bitmap))),
        ];
        let mut details = [Detail::new("index", Value::None); 8];
        let mut count = 0_usize;
        for (to, detail) in details.iter_mut().zip(all.into_iter().flatten()) {
            (*to, count) = (detail, count.saturating_add(1));
        }
        let details = details.get(..count).unwrap_or_default();
        let row = Row::remark(Label::Entry("L2", place.index), place.at, geometry.l2_entry_len(), details);
        self.row(Structure::L2Table, "entry", Row { value: Value::Entry(raw), ..row })?;
        self.settle();
        Ok(())
    }
}

/// A run of L1 entries whose L2 tables were shown with another tree, or in another place of this one.
struct Shared {
    first: u64,
    last: u64,
    tree: Tree,
    /// The L1 index there of the first one.
    other_first: u64,
    /// Whether they are the very tables, and not others that overlap them.
    same: bool,
}

impl Shared {
    fn new(
        (l1_index, at): (u64, HostOffset),
        (tree, other_first, other_at): (Tree, u64, HostOffset),
    ) -> Self {
        Self { first: l1_index, last: l1_index, tree, other_first, same: at == other_at }
    }

    /// Takes one more entry, if it is shared with the same tree and as far behind the first one there as here.
    fn extend(&mut self, (l1_index, at): (u64, HostOffset), earlier: (Tree, u64, HostOffset)) -> bool {
        let (tree, other, other_at) = earlier;
        let distance = l1_index.saturating_sub(self.first);
        let goes_on = tree == self.tree
            && (at == other_at) == self.same
            && other == self.other_first.saturating_add(distance);
        if goes_on {
            self.last = l1_index;
        }
        goes_on
    }
}

fn tree_context(l1: &L1Table) -> Context {
    Context { tree: Some(l1.tree), ..Context::default() }
}
