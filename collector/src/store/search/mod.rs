//! Searching log lines, the same on every database.
//!
//! A line is found by any part of its text, so an index over lines would have an entry for every three
//! bytes of each: on SQLite that made a line five times as expensive to write and twice as large. So
//! the index is over blocks of 256 numbers of the sequence (a part that comes again and again counts
//! once), is built in the background, and only names the blocks that may have a match. These blocks, and
//! the lines not in the index yet, are read in slices: a search can be stopped between two slices.

mod plan;
mod tokens;

pub(super) use self::plan::{Search, SearchStep};
pub(super) use self::tokens::{Block, always_read, wanted};

/// Numbers of the sequence in a block. Shorter ones make the index larger (49 bytes a line at 64, 21
/// at 256), longer ones make more lines to be read for each that is found.
pub(super) const BLOCK: i64 = 256;

/// Candidates that are asked for at once: PostgreSQL finds all of them each time.
pub(super) const BLOCK_PAGE: usize = 4_000;

/// The range of a search, known at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first line behind the cursor.
    pub first: i64,
    /// The last line.
    pub last: i64,
    /// The first block that is not in the index.
    pub next_block: i64,
}

/// Blocks that were made from lines, and the position to continue at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexed {
    pub blocks: Vec<Block>,
    pub next_block: i64,
}

/// The first and the last number of a block.
pub(super) fn numbers_of(block: i64) -> (i64, i64) {
    (block * BLOCK, block * BLOCK + BLOCK - 1)
}
