//! What agent, collector and dashboards exchange: reports, statuses, samples, events, tokens and limits.
//!
//! Wire types, and the pure calculations that clients share ([`backoff`], [`sse`]): no I/O, no clock, no
//! randomness. Both programs use the same structs, so that a field cannot be spelled two ways. Text borrows
//! from the received buffer where it can ([`Text`]), because reading JSON is most of what a report costs the
//! collector.

#![forbid(unsafe_code)]

pub mod ack;
pub mod action;
pub mod alert;
pub mod backoff;
mod bounded;
pub mod counter;
pub mod desired;
pub mod edit_distance;
pub mod enroll;
pub mod env_file;
pub mod events;
pub mod finding;
pub mod host;
pub mod ids;
pub mod level;
pub mod limits;
pub mod log;
pub mod report;
pub mod sample;
pub mod sse;
pub mod status;
pub mod text;
pub mod token;
pub mod topology;
pub mod vectorflow;

pub use ack::{RefusalCode, Refused, ReportAck, SeqRange};
pub use alert::{AlertChange, AlertSeverity, AlertState};
pub use counter::{Counter, CounterFault};
pub use desired::{AgentUpdate, ConfigFormat, DeploymentPhase, DeploymentReport, DesiredPipeline, DesiredState};
pub use enroll::{EnrollRequest, EnrollResponse};
pub use finding::{Finding, Verdict};
pub use host::HostMetrics;
pub use ids::{BootId, ComponentId, EnvironmentId, EventId, NodeId, PipelineId, TokenId};
pub use log::{LogLevel, LogLine, LogStream};
pub use report::{
    AgentHealth, AgentInfo, ComponentKind, ComponentReport, PipelineReport, PipelineSample, Report, ReportRequest,
};
pub use sample::RateSample;
pub use status::{NodeStatus, PipelineStatus};
pub use text::Text;
pub use token::{Token, TokenHash, TokenKind};
pub use topology::{Topology, TopologyComponent, TopologyEdge};

/// Milliseconds since the Unix epoch, the only form of time on the wire.
pub type UnixMillis = i64;
