//! Sends the reports to the collector: in order, one request at a time, until it has them for good.

mod backoff;
mod client;
mod fault;
mod send;

pub(crate) use client::CollectorClient;
pub(crate) use send::{Credentials, Uplink};
