//! What the agent shows of itself: status, metrics, health pages, and notifications for systemd.

pub(crate) mod cli;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod liveness;
mod metrics;
pub(crate) mod monitor;
pub(crate) mod systemd;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use systole_shared::{AgentHealth, PipelineStatus, UnixMillis};

use crate::model::node::NodeIdentity;
use crate::uplink::ConnectionState;

/// The agent, as `--json` prints it. Later versions add fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The agent's clock.
    pub(crate) now: UnixMillis,
    /// The process.
    pub(crate) agent: AgentView,
    /// The node, once it is enrolled.
    #[serde(default)]
    pub(crate) node: Option<NodeIdentity>,
    /// The connection to the collector.
    pub(crate) collector: CollectorView,
    /// Waiting and lost reports, as in a report.
    pub(crate) health: AgentHealth,
    /// In the configuration's order.
    pub(crate) pipelines: Vec<PipelineView>,
}

/// The agent's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentView {
    /// Its version.
    pub(crate) version: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its start.
    pub(crate) started_at: UnixMillis,
    /// Its user.
    pub(crate) running_as: String,
    /// Where it keeps its data.
    pub(crate) data_dir: PathBuf,
    /// The file that it has read, if there is one.
    pub(crate) config_file: Option<PathBuf>,
    /// Where its metrics are served, unless they are off or the port is taken.
    #[serde(default)]
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Whether it makes its reports.
    pub(crate) ready: bool,
}

/// The connection to the collector.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CollectorView {
    /// Its address, or the one in use.
    pub(crate) url: String,
    /// All of its addresses, in the order of this node: the first choice comes first.
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    /// How often another address answered than the one before.
    #[serde(default)]
    pub(crate) switches: u64,
    /// Where it stands.
    pub(crate) state: ConnectionState,
    /// Time of its last answer.
    pub(crate) last_acknowledged_at: Option<UnixMillis>,
    /// The interval of reports that it wants.
    pub(crate) interval_ms: u64,
}

/// A pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineView {
    /// Its id.
    pub(crate) id: String,
    /// Its name, if it has one.
    pub(crate) name: Option<String>,
    /// Where it stands.
    pub(crate) status: PipelineStatus,
    /// Why.
    pub(crate) reason: Option<String>,
    /// Its process, while there is one.
    pub(crate) pid: Option<u32>,
    /// Start of that process.
    pub(crate) started_at: Option<UnixMillis>,
    /// Time since its start.
    pub(crate) uptime_seconds: Option<u64>,
    /// Number of restarts by the agent.
    pub(crate) restarts: u64,
    /// Whether it is scraped at all.
    pub(crate) has_metrics: bool,
    /// Time of the last scrape.
    pub(crate) last_scraped_at: Option<UnixMillis>,
    /// The error of the last scrape, if it failed.
    pub(crate) scrape_error: Option<String>,
    /// Checksum of the configuration that runs, where the agent manages one.
    #[serde(default)]
    pub(crate) config_checksum: Option<String>,
}
