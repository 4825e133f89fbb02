//! Sends the reports to the collector: in order, one request at a time, until it has them for good.

mod backoff;
mod client;
mod enroll;
mod fault;
mod link;
mod proxy;
mod send;
mod shrink;

pub(crate) use client::CollectorClient;
pub(crate) use enroll::Credentials;
pub(crate) use link::{Link, LinkState, NodeIdentity};
pub(crate) use send::Uplink;
