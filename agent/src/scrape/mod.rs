//! What the processes say of themselves: scraping, reading, and counting.

pub(crate) mod deltas;
pub(crate) mod fetch;
pub(crate) mod mapping;
pub(crate) mod meter;
pub(crate) mod reading;
pub(crate) mod text;
pub(crate) mod totals;
