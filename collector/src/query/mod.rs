//! Queries without HTTP: find what a request names within the scope of its token.
//!
//! `resolve` knows what a name stands for, `list` reads pages of log lines, status changes and the like, `fleet` sorts nodes
//! and pipelines, `history` is a host over time, and `graph` how a pipeline's components are connected.

pub(crate) mod fleet;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod resolve;
pub(crate) mod share;
