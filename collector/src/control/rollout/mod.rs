//! How a version gets to nodes.
//!
//! `step` decides what is next in one rollout, and `settle` what nodes run beside it. Both are pure: `world` makes
//! what they see out of the database, and `changes` makes rows out of what they decide. The state of a rollout is in
//! the database only, so a collector that is killed in the middle continues. See
//! docs/adr/0013-rollouts-in-the-database.md.

pub(crate) mod agents;
pub(crate) mod changes;
pub(crate) mod overview;
pub(crate) mod settle;
pub(crate) mod state;
pub(crate) mod step;
pub(crate) mod world;
