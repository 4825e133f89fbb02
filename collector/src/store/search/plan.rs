//! The order in which a search reads blocks and lines.
//!
//! A search reads 50,000 numbers at a time and checks in between whether the client still waits, because
//! SQLite cannot be interrupted through diesel. So a page of a log is not one state of the table; new
//! lines are only added at its end.

use std::collections::VecDeque;

use super::{BLOCK, BLOCK_PAGE, Extent, numbers_of};
use crate::store::ListOrder;

/// Numbers of the sequence that are read at once: some 10 ms of lines that are in memory.
const SLICE: i64 = 50_000;

/// Blocks between two candidates that are read along: a question costs as much.
const MAX_HOLE: i64 = 4;

/// The next step of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum SearchStep {
    /// Ask the index for candidates from this block on: [`BLOCK_PAGE`] of them, in the order of the search.
    Blocks { from: i64 },
    /// Read the lines from the first of these numbers to the last.
    Lines { first: i64, last: i64 },
}

/// A search through the lines in the order of their numbers, or the other way.
#[derive(Debug)]
pub(in crate::store) struct Search {
    extent: Extent,
    order: ListOrder,
    /// Whether the index can narrow it.
    is_narrowed: bool,
    /// Everything before it in the order is read, or is in `slices`.
    next: i64,
    slices: VecDeque<(i64, i64)>,
}

impl Search {
    pub(in crate::store) fn new(extent: Extent, order: ListOrder, is_narrowed: bool) -> Self {
        let next = match order {
            ListOrder::OldestFirst => extent.first,
            ListOrder::NewestFirst => extent.last,
        };
        Search { extent, order, is_narrowed, next, slices: VecDeque::new() }
    }

    /// The next step; `None` at the end.
    pub(in crate::store) fn step(&mut self) -> Option<SearchStep> {
        if let Some((first, last)) = self.slices.pop_front() {
            return Some(SearchStep::Lines { first, last });
        }
        if self.next < self.extent.first || self.next > self.extent.last {
            return None;
        }
        // The first number that is not in the index.
        let unindexed = self.extent.next_block * BLOCK;
        if self.is_narrowed && self.next < unindexed {
            return Some(SearchStep::Blocks { from: self.next / BLOCK });
        }
        let (first, last) = match self.order {
            ListOrder::OldestFirst => {
                let last = self.extent.last.min(self.next + SLICE - 1);
                (std::mem::replace(&mut self.next, last + 1), last)
            }
            ListOrder::NewestFirst => {
                let begin = if self.is_narrowed { self.extent.first.max(unindexed) } else { self.extent.first };
                let first = begin.max(self.next - SLICE + 1);
                (first, std::mem::replace(&mut self.next, first - 1))
            }
        };
        Some(SearchStep::Lines { first, last })
    }

    /// Takes the candidates that were asked for.
    pub(in crate::store) fn found(&mut self, blocks: &[i64]) {
        for block in blocks {
            let (first, last) = numbers_of(*block);
            let (first, last) = match self.order {
                ListOrder::OldestFirst => (first.max(self.next), last),
                ListOrder::NewestFirst => (first.max(self.extent.first), last.min(self.next)),
            };
            let is_near = |slice: &&mut (i64, i64)| {
                let hole = (first - slice.1).max(slice.0 - last);
                let length = last.max(slice.1) - first.min(slice.0);
                hole <= (MAX_HOLE + 1) * BLOCK && length < SLICE
            };
            match self.slices.back_mut().filter(is_near) {
                Some(slice) => *slice = (slice.0.min(first), slice.1.max(last)),
                None => self.slices.push_back((first, last)),
            }
        }
        let full_page = blocks.last().filter(|_| blocks.len() >= BLOCK_PAGE).map(|last| numbers_of(*last));
        self.next = match (self.order, full_page) {
            (ListOrder::OldestFirst, Some((_, last))) => last + 1,
            (ListOrder::OldestFirst, None) => self.extent.next_block * BLOCK,
            (ListOrder::NewestFirst, Some((first, _))) => first - 1,
            (ListOrder::NewestFirst, None) => self.extent.first - 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::ListOrder::{NewestFirst, OldestFirst};
    use super::SearchStep::{Blocks, Lines};
    use super::*;

    #[test]
    fn unindexed_search_reads_slices() {
        let mut search = Search::new(Extent { first: 7, last: 120_000, next_block: 400 }, OldestFirst, false);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(7, 50_006), (50_007, 100_006), (100_007, 120_000)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }));
    }

    #[test]
    fn search_reads_candidates_then_unindexed_lines() {
        let mut search = Search::new(Extent { first: 300, last: 12_000, next_block: 40 }, OldestFirst, true);
        assert_eq!(search.step(), Some(Blocks { from: 1 }));
        search.found(&[1, 2, 7, 20]);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(300, 2_047), (20 * 256, 21 * 256 - 1), (40 * 256, 12_000)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }), "3 to 6 are read along");
    }

    #[test]
    fn search_fetches_more_candidates_after_a_full_page() {
        let page = BLOCK_PAGE as i64;
        let mut search =
            Search::new(Extent { first: 0, last: 4 * page * BLOCK, next_block: 2 * page }, OldestFirst, true);
        assert_eq!(search.step(), Some(Blocks { from: 0 }));
        search.found(&(0..page).collect::<Vec<_>>());
        let mut next = 0;
        let step = loop {
            match search.step() {
                Some(Lines { first, last }) => {
                    assert!(first == next && last - first < SLICE, "{first} to {last}");
                    next = last + 1;
                }
                step => break step,
            }
        };
        assert_eq!((next, step), (page * BLOCK, Some(Blocks { from: page })));
        search.found(&[]);
        let first = 2 * page * BLOCK;
        assert_eq!(search.step(), Some(Lines { first, last: first + SLICE - 1 }));
    }

    #[test]
    fn empty_table_needs_no_read() {
        assert_eq!(Search::new(Extent { first: 1, last: 0, next_block: 0 }, OldestFirst, true).step(), None);
    }

    #[test]
    fn newest_first_reads_the_unindexed_end_and_then_candidates() {
        let mut search = Search::new(Extent { first: 300, last: 12_000, next_block: 40 }, NewestFirst, true);
        assert_eq!(search.step(), Some(Lines { first: 40 * 256, last: 12_000 }));
        assert_eq!(search.step(), Some(Blocks { from: 39 }));
        search.found(&[20, 7, 2, 1]);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(20 * 256, 21 * 256 - 1), (300, 2_047)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }), "3 to 6 are read along");
    }

    #[test]
    fn newest_first_is_read_in_slices_without_an_index() {
        let mut search = Search::new(Extent { first: 7, last: 120_000, next_block: 400 }, NewestFirst, false);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(70_001, 120_000), (20_001, 70_000), (7, 20_000)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }));
    }

    #[test]
    fn newest_first_continues_after_a_full_page_of_candidates() {
        let page = BLOCK_PAGE as i64;
        let mut search =
            Search::new(Extent { first: 0, last: 2 * page * BLOCK - 1, next_block: 2 * page }, NewestFirst, true);
        assert_eq!(search.step(), Some(Blocks { from: 2 * page - 1 }));
        search.found(&(page..2 * page).rev().collect::<Vec<_>>());
        let mut next = 2 * page * BLOCK - 1;
        let step = loop {
            match search.step() {
                Some(Lines { first, last }) => {
                    assert!(last == next && last - first < SLICE, "{first} to {last}");
                    next = first - 1;
                }
                step => break step,
            }
        };
        assert_eq!((next, step), (page * BLOCK - 1, Some(Blocks { from: page - 1 })));
        search.found(&[]);
        assert_eq!(search.step(), None);
    }
}
