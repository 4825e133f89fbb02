//! What the processes say of themselves: scraping, reading, and counting.

mod body;
pub(crate) mod delta_tracker;
pub(crate) mod deltas;
pub(crate) mod fetch;
pub(crate) mod internal;
#[cfg(test)]
mod mapping_tests;
pub(crate) mod page;
pub(crate) mod stable_hash;
pub(crate) mod text;
pub(crate) mod totals;
