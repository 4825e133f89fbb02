//! The way of a report from its bytes to the database.
//!
//! `body` opens the request, `decode` reads the native wire into a [`report::NodeReport`] (a second
//! protocol will produce the same), `apply` (with `samples`) turns reports into changes without touching
//! anything but the node's state, and `committer` writes them, answers, and publishes.

pub(crate) mod apply;
pub(crate) mod body;
pub(crate) mod changes;
pub(crate) mod committer;
pub(crate) mod decode;
mod folding;
pub(crate) mod report;
mod samples;
pub(crate) mod state;
