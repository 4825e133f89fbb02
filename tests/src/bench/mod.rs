//! Measurements: of a collector under the load of a fleet, of what an agent costs ([`agent`]), of how
//! long queries take ([`query`]), of what the feed delivers to how many subscribers ([`feed`]), and of how fast
//! a version gets to a fleet of real agents ([`rollout`]).
//!
//! The fleet is one of imagined nodes in one process against a running collector. Closed loop: each
//! node sends its next report as soon as the last one is acknowledged, which finds the collector's
//! limit. Open loop: each node reports by the clock, as agents do, and a latency is counted from the
//! moment at which the report was due, so that a stall is not hidden by requests that were never sent.
//!
//! The generator shares the machine with what it measures, so it does as little as it can: bodies are
//! packed ahead ([`bodies`]), HTTP is what is needed of it ([`wire`]), everything runs on one thread.

pub mod agent;
mod agent_return;
pub mod args;
pub mod attack;
mod bare;
pub mod bodies;
pub mod cluster;
pub mod feed;
pub mod fleet;
pub mod heartbeats;
pub mod metrics;
pub mod outcome;
pub mod process;
pub mod push;
pub mod query;
pub mod report;
pub mod rollout;
pub mod run;
pub mod soak;
pub mod tally;
pub mod wire;
