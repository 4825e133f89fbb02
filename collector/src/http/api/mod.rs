//! Handlers, one file per resource.

pub(super) mod actions;
pub(super) mod agent;
pub(super) mod audit;
pub(super) mod cluster;
pub(super) mod definitions;
pub(super) mod delivery;
pub(super) mod events;
pub(super) mod graph;
pub(super) mod health;
pub(super) mod logs;
pub(super) mod metrics;
pub(super) mod node_settings;
pub(super) mod nodes;
pub(super) mod pipelines;
mod report_body;
pub(super) mod rollouts;
pub(super) mod samples;
pub(super) mod secrets;
pub(super) mod session;
pub(super) mod status_changes;
mod tap;
pub(super) mod vectorflow;
