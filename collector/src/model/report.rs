//! A report in the collector's own types, independent of the protocol: owned, typed, validated.
//!
//! Items that were refused are not in it any more; they are listed beside it. It goes from the collector that hears the node
//! to the one that leads in a binary form without names of fields; the types of the wire that leave fields out are JSON in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_shared::report::ComponentKind;
use systole_shared::{
    AgentHealth, BootId, ComponentId, DeploymentPhase, HostMetrics, LogLevel, LogStream, PipelineId, PipelineStatus,
    Refused, UnixMillis,
};

use super::as_json;
use super::counters::{component_counters, pipeline_counters, reported_counters};
use crate::model::{AgentKind, NodeKey};

/// One request of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub node: NodeKey,
    pub received_at: UnixMillis,
    /// The address of the request.
    pub address: Option<IpAddr>,
    pub content: Content,
    pub refusals: Refusals,
    /// The collector that hears the node, by the number of its connection; `None`: this one.
    #[serde(skip)]
    pub heard_by: Option<u64>,
}

/// What a request brings, by the way in which the node's agent counts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Content {
    /// Growth since the report before: reports of one boot, oldest first. By their numbers each counts once.
    Growth {
        boot: BootId,
        /// The agent's clock when it sent the request.
        sent_at: UnixMillis,
        reports: Vec<NodeReport>,
    },
    /// Totals of the node's processes, without a number: what counts is the difference to the totals before.
    Totals(Box<TotalsReport>),
    /// Lines alone, without a number: they are stored as often as they come.
    Lines(Vec<ReportedLines>),
}

impl Content {
    /// Reports in it, at least 1.
    pub(crate) fn len(&self) -> usize {
        match self {
            Content::Growth { reports, .. } => reports.len().max(1),
            Content::Totals(_) | Content::Lines(_) => 1,
        }
    }
}

/// The state of a node with totals instead of growth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TotalsReport {
    pub agent: Option<ReportedAgent>,
    #[serde(with = "as_json")]
    pub health: Option<AgentHealth>,
    #[serde(with = "as_json")]
    pub host: Option<HostMetrics>,
    pub pipelines: Vec<TotalsOfPipeline>,
    /// Whether `pipelines` is all that the node has: false when some were refused.
    pub complete: bool,
    /// How far the pipelines of the centre are.
    pub deployments: ReportedDeployments,
}

/// A pipeline with the totals of its process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TotalsOfPipeline {
    /// Its counters, and those of its components, are totals since the start of the process.
    pub pipeline: ReportedPipeline,
    /// The age of the process; `None` when none is known to run.
    pub uptime_seconds: Option<u64>,
    /// Whether its components are all that the process has: false when some were refused.
    pub components_complete: bool,
}

/// Lines of a pipeline, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReportedLines {
    pub pipeline: PipelineId,
    pub lines: Vec<ReportedLine>,
    /// Lines that were left out.
    pub dropped: i64,
}

/// The report of a node about one interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    pub seq: u64,
    pub start: UnixMillis,
    pub end: UnixMillis,
    /// First report that this one stands for; its own seq unless it was merged.
    pub covers_from: u64,
    pub agent: Option<ReportedAgent>,
    /// The reason why the agent ends, in its last reports.
    pub stopping: Option<String>,
    #[serde(with = "as_json")]
    pub health: Option<AgentHealth>,
    #[serde(with = "as_json")]
    pub host: Option<HostMetrics>,
    pub pipelines: Vec<ReportedPipeline>,
    /// Whether `pipelines` is all that the node has: false when some were refused.
    pub complete: bool,
    /// How far the pipelines of the centre are.
    pub deployments: ReportedDeployments,
}

/// The facts about an agent that seldom change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportedAgent {
    pub kind: AgentKind,
    /// The node's name; agents of earlier versions report none.
    pub name: Option<String>,
    pub version: Option<String>,
    pub vector_version: Option<String>,
    pub deployment_mode: Option<String>,
    pub running_as: Option<String>,
    /// The engines that it accepts pipelines for; `None` when it accepts none.
    pub engines: Option<Vec<String>>,
    /// `None`: it says nothing of them.
    pub labels: Option<BTreeMap<String, String>>,
}

/// One pipeline over the interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReportedPipeline {
    pub id: PipelineId,
    pub name: Option<String>,
    pub version: Option<i64>,
    pub status: PipelineStatus,
    /// The status as reported, when this version does not know it.
    pub status_text: Option<String>,
    pub reason: String,
    pub pid: Option<u32>,
    pub started_at: Option<UnixMillis>,
    pub restarts: u64,
    pub config_checksum: Option<String>,
    pub sample: Option<PipelineDeltas>,
    pub scrape_error: Option<String>,
    pub components: Vec<ReportedComponent>,
    pub logs: Vec<ReportedLine>,
    pub logs_dropped: i64,
    /// How its components are connected, as JSON; with the first report of a configuration.
    pub topology: Option<String>,
}

/// How far the pipelines of the centre are on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReportedDeployments {
    /// As the agent says.
    Stated {
        items: Vec<ReportedDeployment>,
        /// Whether these are all that the node has: false when some were refused.
        complete: bool,
    },
    /// The agent says nothing of them: they follow from its pipelines and from what it received to run.
    Observed(Arc<[GivenVersion]>),
}

impl ReportedDeployments {
    /// Nothing is known of them now.
    pub(crate) const UNKNOWN: Self = ReportedDeployments::Stated { items: Vec::new(), complete: false };
}

/// A version that an agent received to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenVersion {
    pub pipeline: PipelineId,
    pub version: i64,
    /// How long it must be up without interruption to be healthy.
    pub healthy_for_ms: u64,
    pub given: Given,
    /// When the agent first received the state that this is a part of.
    pub given_at: UnixMillis,
}

/// How an agent got a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Given {
    /// To run, under this checksum.
    Run { checksum: String },
    /// Not at all, because it is paused.
    Paused,
    /// Not at all, because the agent cannot run it. Why.
    Withheld(String),
}

/// How far a version of a pipeline is on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportedDeployment {
    pub pipeline: PipelineId,
    pub version: i64,
    pub phase: DeploymentPhase,
    /// The version whose process runs.
    pub running_version: Option<i64>,
    pub reason: String,
}

macro_rules! pipeline_deltas {
    ({} $([$kind:ident $name:ident $json:literal ($($type:tt)+) $($rest:tt)*])*) => {
        /// Deltas of a pipeline, each from 0 to 2^63-1.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub(crate) struct PipelineDeltas {
            $(pub $name: $($type)+,)*
            pub utilization: Option<f64>,
            pub latency_ms: Option<f64>,
            pub reset: bool,
        }
    };
}

macro_rules! reported_component {
    ({} $([$kind:ident $name:ident $json:literal ($($type:tt)+) $($rest:tt)*])*) => {
        /// Deltas of a component, each from 0 to 2^63-1, and its buffer.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub(crate) struct ReportedComponent {
            pub id: ComponentId,
            pub kind: ComponentKind,
            $(pub $name: $($type)+,)*
            pub latency_ms: Option<f64>,
            pub utilization: Option<f64>,
        }
    };
}

pipeline_counters!(reported_counters { pipeline_deltas {} });
component_counters!(reported_counters { reported_component {} });

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReportedLine {
    pub at: UnixMillis,
    pub stream: LogStream,
    #[serde(with = "as_json")]
    pub level: Option<LogLevel>,
    pub line: String,
}

/// Items that were left out: all counted, the first ones listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Refusals {
    #[serde(with = "as_json")]
    pub listed: Vec<Refused>,
    pub count: u64,
}

impl Refusals {
    /// Notes one.
    pub(crate) fn push(&mut self, refused: Refused) {
        self.push_with(|| refused);
    }

    /// The same for one that is made only if it is listed: a body can have millions of them.
    pub(crate) fn push_with(&mut self, refused: impl FnOnce() -> Refused) {
        self.count += 1;
        if self.listed.len() < systole_shared::ack::MAX_REFUSED_LISTED {
            self.listed.push(refused());
        }
    }
}
