//! What is said to the collector, one module per protocol.

pub(crate) mod native;
