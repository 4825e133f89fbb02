//! Runs the real programs on free ports with their own data, and ends them.
//!
//! A failed expectation panics: this code is for tests. Every process is killed when its handle is
//! dropped; in a panic its output is printed. A wait polls the state until it is as expected or its time-out
//! is over; no test sleeps to synchronise.

pub mod agent;
pub mod agent_fleet;
pub mod alert_sink;
pub mod alertmanager;
pub mod binaries;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod control;
pub mod database;
pub mod fake_collector;
pub mod feed;
pub mod go_agent;
pub mod link;
pub mod message;
pub mod netns;
pub mod nginx;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod reports;
pub mod stub_vector;
pub mod tls;
pub mod truth;
pub mod vectorflow_server;
pub mod vf_node;
pub mod wait;

pub use agent::{AgentPipeline, AgentSetup, TestAgent};
pub use agent_fleet::{AgentFleet, FleetAgent};
pub use alert_sink::{AlertSink, MailSink};
pub use alertmanager::Alertmanager;
pub use chaos::{ChaosProxy, FaultPlan, FaultSchedule};
pub use client::{Answer, ApiClient};
pub use cluster::Cluster;
pub use collector::{NewToken, TestCollector};
pub use database::DatabaseKind;
pub use fake_collector::FakeCollector;
pub use feed::{Feed, FeedEvent};
pub use go_agent::{GoAgent, GoAgentSetup};
pub use link::{Link, LinkState};
pub use netns::Network;
pub use nginx::Nginx;
pub use node::NodeClient;
pub use postgres::TestPostgres;
pub use stub_vector::StubVector;
pub use vectorflow_server::VectorFlowServer;
pub use vf_node::{VfNode, VfProcess};
pub use wait::{SOON, eventually, eventually_true};
