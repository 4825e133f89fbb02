//! In which order a search reads what.
//!
//! A search reads 50,000 numbers at a time and checks in between whether the client still waits, because
//! SQLite cannot be interrupted through diesel. So a page of a log is not one state of the table; new
//! lines are only added at its end.

use std::collections::VecDeque;

use super::{BLOCK, BLOCK_PAGE, Extent, numbers_of};

/// Numbers of the sequence that are read at once: some 10 ms of lines that are in memory.
const SLICE: i64 = 50_000;

/// Blocks between two candidates that are read along: a question costs as much.
const MAX_HOLE: i64 = 4;

/// What a search does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum SearchStep {
    /// Ask the index for candidates from this block on: [`BLOCK_PAGE`] of them, in order.
    Blocks { from: i64 },
    /// Read the lines from the first of these numbers to the last.
    Lines { first: i64, last: i64 },
}

/// A search through the lines in the order of their numbers.
#[derive(Debug)]
pub(in crate::store) struct Search {
    extent: Extent,
    /// Whether the index can narrow it.
    is_narrowed: bool,
    /// Everything before is read, or stands in `slices`.
    next: i64,
    slices: VecDeque<(i64, i64)>,
}

impl Search {
    pub(in crate::store) fn new(extent: Extent, is_narrowed: bool) -> Self {
        Search { extent, is_narrowed, next: extent.first, slices: VecDeque::new() }
    }

    /// The next step; `None` at the end.
    pub(in crate::store) fn step(&mut self) -> Option<SearchStep> {
        if let Some((first, last)) = self.slices.pop_front() {
            return Some(SearchStep::Lines { first, last });
        }
        if self.next > self.extent.last {
            return None;
        }
        if self.is_narrowed && self.next < self.extent.next_block * BLOCK {
            return Some(SearchStep::Blocks { from: self.next / BLOCK });
        }
        let first = self.next;
        let last = self.extent.last.min(first + SLICE - 1);
        self.next = last + 1;
        Some(SearchStep::Lines { first, last })
    }

    /// Takes the candidates that were asked for.
    pub(in crate::store) fn found(&mut self, blocks: &[i64]) {
        for block in blocks {
            let (first, last) = numbers_of(*block);
            match self
                .slices
                .back_mut()
                .filter(|slice| first - slice.1 <= (MAX_HOLE + 1) * BLOCK && last - slice.0 < SLICE)
            {
                Some(slice) => slice.1 = last,
                None => self.slices.push_back((first.max(self.next), last)),
            }
        }
        self.next = match blocks.last() {
            Some(last) if blocks.len() >= BLOCK_PAGE => numbers_of(*last).1 + 1,
            _ => self.extent.next_block * BLOCK,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::SearchStep::{Blocks, Lines};
    use super::*;

    #[test]
    fn what_the_index_can_not_narrow_is_read_in_slices() {
        let mut search = Search::new(Extent { first: 7, last: 120_000, next_block: 400 }, false);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(7, 50_006), (50_007, 100_006), (100_007, 120_000)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }));
    }

    #[test]
    fn candidates_are_read_and_then_what_the_index_lacks() {
        let mut search = Search::new(Extent { first: 300, last: 12_000, next_block: 40 }, true);
        assert_eq!(search.step(), Some(Blocks { from: 1 }));
        search.found(&[1, 2, 7, 20]);
        let steps: Vec<_> = std::iter::from_fn(|| search.step()).collect();
        let expected = [(300, 2_047), (20 * 256, 21 * 256 - 1), (40 * 256, 12_000)];
        assert_eq!(steps, expected.map(|(first, last)| Lines { first, last }), "3 to 6 are read along");
    }

    #[test]
    fn more_candidates_are_asked_for_behind_a_full_page_and_slices_stay_short() {
        let page = BLOCK_PAGE as i64;
        let mut search = Search::new(Extent { first: 0, last: 4 * page * BLOCK, next_block: 2 * page }, true);
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
    fn an_empty_table_has_nothing_to_read() {
        assert_eq!(Search::new(Extent { first: 1, last: 0, next_block: 0 }, true).step(), None);
    }
}
