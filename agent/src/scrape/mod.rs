//! What the processes say of themselves: scraping, reading, and counting.

mod body;
pub(crate) mod deltas;
pub(crate) mod fetch;
pub(crate) mod internal;
pub(crate) mod mapping;
pub(crate) mod meter;
pub(crate) mod reading;
pub(crate) mod text;
pub(crate) mod totals;
