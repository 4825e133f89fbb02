//! Ingest: the path of a report from its bytes to the database.
//!
//! `decompress` opens the request. A `protocol` reads its own wire into the types of [`crate::model::report`]. `totals`
//! turns the totals that some agents report into growth. `apply` turns reports into changes and touches nothing but the
//! node's state. `committer` writes them, answers, and publishes.
//!
//! `commit_log` hands what was committed to collectors that follow this one.
//!
//! `long_work` and `limits` bound the work of one node. `fleet` has which nodes are alive, as last committed.

pub(crate) mod administer;
pub(crate) mod apply;
pub(crate) mod changes;
pub(crate) mod commit_log;
pub(crate) mod committer;
pub(crate) mod decompress;
pub(crate) mod enrolment;
pub(crate) mod fleet;
pub(crate) mod fleet_totals;
mod flush_schedule;
pub(crate) mod limits;
mod log_budget;
pub(crate) mod long_work;
pub(crate) mod places;
mod presence_log;
pub(crate) mod protocol;
mod reason;
pub(crate) mod state;
mod topologies;
mod totals;
mod upkeep;
