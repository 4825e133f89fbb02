//! Requests to the collector, one module per protocol.

pub(crate) mod native;
