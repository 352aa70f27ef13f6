//! What is known of each host cluster: how often it is referenced, and in which roles. Memory follows the
//! clusters that are touched, not what the image claims to have.

mod page;

use std::collections::HashMap;

pub(super) use page::{PAGE_LEN, Page};

use crate::units::to_usize;

/// Pages of clusters, as they are touched.
#[derive(Debug)]
pub(super) struct Clusters {
    places: HashMap<u64, usize>,
    #[expect(clippy::vec_box, reason = "a list that grows then moves pointers, not pages")]
    pages: Vec<Box<Page>>,
    numbers: Vec<u64>,
    /// The page that was touched last, since its neighbour comes next nearly always.
    last: Option<(u64, usize)>,
    limit: usize,
    is_spent: bool,
    /// Pages of the table at hand, where it is one of several for its guest range; and of that range.
    own: Vec<u64>,
    range: Vec<u64>,
}

impl Clusters {
    /// None touched yet; at most `limit` pages are kept.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            places: HashMap::new(),
            pages: Vec::new(),
            numbers: Vec::new(),
            last: None,
            limit,
            is_spent: false,
            own: Vec::new(),
            range: Vec::new(),
        }
    }

    /// Whether a cluster could not be counted because the limit was reached: no count can be relied on.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// The page of a cluster and its slot there; `None` where the limit is reached.
    #[inline]
    pub(super) fn at(&mut self, cluster: u64) -> Option<(&mut Page, usize)> {
        let slot = to_usize(cluster % PAGE_LEN);
        Some((self.page(cluster / PAGE_LEN)?, slot))
    }

    /// The page with this number, made where it is new; `None` where the limit is reached.
    #[inline]
    pub(super) fn page(&mut self, number: u64) -> Option<&mut Page> {
        let place = match self.last {
            Some((last, place)) if last == number => place,
            _ => self.find(number)?,
        };
        self.last = Some((number, place));
        self.pages.get_mut(place).map(|page| &mut **page)
    }

    fn find(&mut self, number: u64) -> Option<usize> {
        if let Some(place) = self.places.get(&number) {
            return Some(*place);
        }
        let place = self.pages.len();
        if place >= self.limit {
            self.is_spent = true;
            return None;
        }
        self.places.insert(number, place);
        self.pages.push(Box::default());
        self.numbers.push(number);
        Some(place)
    }

    /// Takes note that the table at hand maps this cluster, and is one of several for its guest range.
    pub(super) fn remember_own(&mut self, cluster: u64) {
        push(&mut self.own, cluster / PAGE_LEN, self.pages.len());
    }

    /// The table at hand ends.
    pub(super) fn end_table(&mut self) {
        for number in std::mem::take(&mut self.own) {
            if let Some(page) = self.page(number) {
                page.end_table();
            }
            push(&mut self.range, number, self.pages.len());
        }
    }

    /// The guest range at hand ends: no later table shares it.
    pub(super) fn end_range(&mut self) {
        for number in std::mem::take(&mut self.range) {
            if let Some(page) = self.page(number) {
                page.end_range();
            }
        }
    }

    /// The page with this number, if any of its clusters was touched.
    pub(super) fn peek(&self, number: u64) -> Option<&Page> {
        self.pages.get(*self.places.get(&number)?).map(|page| &**page)
    }

    /// The numbers of all pages, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        numbers
    }

    /// References to a cluster.
    pub(super) fn count(&self, cluster: u64) -> u64 {
        self.peek(cluster / PAGE_LEN).map_or(0, |page| page.count(to_usize(cluster % PAGE_LEN)))
    }

    /// Whether a cluster holds metadata, as far as the passes have come.
    pub(super) fn is_metadata(&self, cluster: u64) -> bool {
        self.peek(cluster / PAGE_LEN).is_some_and(|page| page.metadata.get(to_usize(cluster % PAGE_LEN)))
    }
}

/// Adds the number of a page. Neighbours come together nearly always; but scattered clusters name a page over and
/// over, and there are never more names than twice the pages.
fn push(numbers: &mut Vec<u64>, number: u64, pages: usize) {
    if numbers.last() == Some(&number) {
        return;
    }
    if numbers.len() > pages.saturating_mul(2) {
        numbers.sort_unstable();
        numbers.dedup();
    }
    numbers.push(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_made_as_they_are_touched_up_to_the_limit() {
        let mut clusters = Clusters::new(2);
        for cluster in [5, 1 << 40, 5] {
            let (page, slot) = clusters.at(cluster).unwrap();
            page.add(slot, 1);
        }
        assert_eq!((clusters.count(5), clusters.count(1 << 40), clusters.count(6)), (2, 1, 0));
        assert_eq!(clusters.numbers(), [0, 1 << 31]);
        assert!(!clusters.is_spent());
        assert!(clusters.at(10_000).is_none() && clusters.is_spent());
        assert!(clusters.at(6).is_some());
    }
}
