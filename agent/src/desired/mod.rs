//! What the collector wants this node to run, from its answer to what reports say of it.
//!
//! The [`keeper`] fetches the desired state and keeps it on disk, [`merge`] makes pipelines of it beside those of
//! the agent's own file, and [`deployments`] says in each report how far each of them is. Nothing here starts
//! anything: that is the pipeline manager's, for pipelines of both kinds.

pub(crate) mod agent_update;
mod cert_files;
pub(crate) mod deployments;
pub(crate) mod feed;
pub(crate) mod keeper;
pub(crate) mod merge;
mod ports;
mod state_file;
mod takeover;
