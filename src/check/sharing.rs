//! Which tables one tree has together: two owners of a cluster harm nobody as long as no tree has both.

use std::collections::HashMap;

use super::reporter::Reporter;
use crate::finding::Structure;
use crate::format::mapping::L1Entry;
use crate::image::{DiskTree, Table};
use crate::source::ReadAt;
use crate::units::to_u64;
use crate::{Image, Limit};

/// So many tables that share a cluster are told apart, 8 bytes each.
const TOLD_APART: usize = 4096;

/// L2 tables that map one cluster at more than one guest offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Sharers {
    tables: Vec<u64>,
    /// One table maps it twice, and so does every tree that has it.
    is_sure: bool,
    /// There are more tables than are told apart.
    has_further: bool,
}

impl Sharers {
    /// Takes one more table, by its offset; what a table maps comes together.
    pub(super) fn add(&mut self, table: u64) {
        self.is_sure |= self.tables.last() == Some(&table);
        self.has_further |= self.tables.len() >= TOLD_APART;
        if !self.is_sure && !self.has_further {
            self.tables.push(table);
        }
    }
}

/// For each list of tables, whether one tree has two of them, or one of them maps the cluster twice. Each distinct L1
/// table is read once; an entry costs a step for each list that its table is in, and a list that is decided
/// costs no more.
pub(super) fn one_tree_has_two<R: ReadAt>(
    image: &Image<R>,
    lists: &[Sharers],
    l1_tables: &[DiskTree],
    reporter: &mut Reporter<'_>,
) -> Vec<bool> {
    let mut answers: Vec<bool> = lists.iter().map(|list| list.is_sure).collect();
    let mut lists_of: HashMap<u64, Vec<usize>> = HashMap::new();
    for (number, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_sure) {
        list.tables.iter().for_each(|table| lists_of.entry(*table).or_default().push(number));
    }
    // The L1 table that had a table of the list last, and which one: L26 tells of one table that is there twice.
    let mut last = vec![(usize::MAX, 0); lists.len()];
    for (number, tree) in l1_tables.iter().enumerate() {
        if answers.iter().all(|answer| *answer) {
            break;
        }
        let read = image.entries(Table::l1(*tree)).for_each(|entry| {
            let table = L1Entry(entry.raw).l2_offset().0;
            let Some(lists) = lists_of.get_mut(&table) else { return Ok(()) };
            lists.retain(|list| {
                let Some((last, answer)) = last.get_mut(*list).zip(answers.get_mut(*list)) else {
                    return false;
                };
                let (earlier, other) = std::mem::replace(last, (number, table));
                *answer |= earlier == number && other != table;
                !*answer
            });
            Ok(())
        });
        if let Err(error) = read {
            reporter.stop(error, Structure::L1Table);
        }
        reporter.progress("shared clusters", to_u64(number), to_u64(l1_tables.len()));
    }
    if lists.iter().zip(&answers).any(|(list, answer)| list.has_further && !answer) {
        reporter.spent(image, Limit::Conflicts, Structure::File);
    }
    answers
}
