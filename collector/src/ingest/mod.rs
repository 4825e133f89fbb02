//! The way of a report from its bytes to the database.
//!
//! `decompress` opens the request, `protocol::native` reads the native wire into a
//! [`crate::model::report::NodeReport`] (a second protocol will produce the same), `apply` (with `samples`)
//! turns reports into changes without touching anything but the node's state, and `committer` writes them,
//! answers, and publishes. `fleet` has which nodes are alive, as last committed.

pub(crate) mod apply;
pub(crate) mod changes;
pub(crate) mod committer;
pub(crate) mod decompress;
pub(crate) mod fleet;
mod flush_schedule;
mod log_budget;
pub(crate) mod protocol;
mod samples;
pub(crate) mod state;
