//! Runs the real programs on free ports with their own data, and takes them away again.
//!
//! A failed expectation panics: this code is for tests. Every process is killed when its handle is
//! dropped, and what it said is printed when that happens in a panic. Waits look at the state again
//! and again until it is as expected or the time is over; nothing sleeps and hopes.

pub mod agent;
pub mod binaries;
pub mod chaos;
pub mod client;
pub mod collector;
pub mod database;
pub mod feed;
pub mod message;
pub mod nginx;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod reports;
pub mod sse;
pub mod stub_vector;
pub mod tls;
pub mod truth;
pub mod wait;

pub use agent::{AgentPipeline, AgentSetup, TestAgent};
pub use chaos::{ChaosProxy, Fate, Fates};
pub use client::{Answer, ApiClient};
pub use collector::{NewToken, TestCollector};
pub use feed::{Feed, FeedEvent};
pub use nginx::Nginx;
pub use node::NodeClient;
pub use postgres::TestPostgres;
pub use stub_vector::StubVector;
pub use wait::{eventually, eventually_true};
