//! The harness of the end-to-end tests, the stub of Vector, and the load generator.
//!
//! The tests run the real programs as processes and speak to them through sockets; nothing in here
//! links against the agent or the collector. Only the wire types are shared with them.

#![forbid(unsafe_code)]

pub mod bench;
pub mod clock;
pub mod harness;
pub mod layers;
pub mod metrics_lint;
pub mod oracle;
pub mod stub;
