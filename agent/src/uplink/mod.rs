//! Sends the reports to the collector: in order, one request at a time, until it has committed them. What the
//! collector wants of the node comes back the same way, or faster through the push stream.

mod addresses;
mod backoff;
mod connection_status;
mod enroll;
mod first_choice;
mod instructions;
mod protocol;
mod proxy;
mod push;
mod request_error;
mod send;
mod session;
mod shrink;
mod task;
mod transport;

pub(crate) use addresses::Addresses;
pub(crate) use connection_status::{ConnectionState, ConnectionStatus};
pub(crate) use instructions::Instructions;
pub(crate) use protocol::{Cadence, ClientParts, CollectorClient, DesiredAnswer};
pub(crate) use push::{PushClient, PushTiming};
pub(crate) use request_error::RequestError;
pub(crate) use task::{Credentials, Uplink};
