//! Alerts: what rules say of nodes, pipelines and the collector, and which targets receive messages.
//!
//! - `evaluate` (pure) says of one subject whether the condition of a rule holds. No sample is neither true nor false.
//! - `engine` (pure) keeps the state of each alert: pending, firing, resolved.
//! - `mute` says why an alert is not reported: `silence`, maintenance, or a node that is down.
//! - `group` (pure) decides when alerts become a `message`.
//! - `target` makes a message what its receiver reads, and sends it. `address_policy` limits where to.
//! - `preview` runs the same `evaluate` and `engine` over what is stored.
//! - `board` is what the API shows.
//!
//! The tasks `alerts` and `alert_delivery` drive all of it; the committer writes it.

pub(crate) mod address_policy;
pub(crate) mod board;
pub(crate) mod engine;
pub(crate) mod evaluate;
pub(crate) mod group;
pub(crate) mod message;
pub(crate) mod mute;
pub(crate) mod preview;
pub(crate) mod rows;
pub(crate) mod silence;
pub(crate) mod subject;
pub(crate) mod target;
