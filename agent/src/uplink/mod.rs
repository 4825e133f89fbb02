//! Sends the reports to the collector: in order, one request at a time, until it has them for good.

mod backoff;
mod connection_status;
mod enroll;
mod protocol;
mod proxy;
mod request_error;
mod send;
mod session;
mod shrink;
mod task;

pub(crate) use connection_status::{ConnectionState, ConnectionStatus};
pub(crate) use protocol::native::CollectorClient;
pub(crate) use task::{Credentials, Uplink};
