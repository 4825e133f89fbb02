//! The configuration. Precedence, highest first: flags, environment, TOML file, defaults.
//!
//! The environment is read through look-ups that tests fill with maps. All errors are collected, so
//! that one run reports all of them.

mod command;
mod engines;
mod errors;
mod file;
mod go_duration;
mod last_known_good;
mod limits;
mod lines;
mod load;
mod mappings;
mod pipelines;
mod process;
mod section;
mod settings;
mod show;
mod upgrade;
mod urls;
mod vectorflow;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use reqwest::Url;
use systole_shared::Token;

use crate::model::centre::CentreConfig;
use crate::model::node::machine::MachineIdSource;
use crate::model::pipeline::PipelineConfig;
use crate::model::protocol::ProtocolSetting;
use crate::model::spool::Bounds;
use crate::model::tls::TlsFiles;
use crate::model::upgrade::UpgradeConfig;
use crate::model::vectorflow::VectorFlowConfig;

pub(crate) use errors::ConfigErrors;
pub(crate) use last_known_good::{SourceText, last_known_good};
pub(crate) use load::{Overrides, find_data_dir, has_file, known_units, load, load_offline};
pub(crate) use mappings::built_in as built_in_mappings;
#[cfg(test)]
pub(crate) use mappings::{read_one as read_mapping, vector as vector_mapping};

/// The configuration of an agent, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the collector is, at least one address; paths of requests are appended.
    pub(crate) urls: Vec<Url>,
    /// Which protocol it speaks. Default auto.
    pub(crate) protocol: ProtocolSetting,
    /// What holds towards a VectorFlow server.
    pub(crate) vectorflow: VectorFlowConfig,
    /// Enrolment token; needed only while the data directory has no node token.
    pub(crate) token: Option<Token>,
    /// Where the agent keeps what must survive it. Default [`DEFAULT_DATA_DIR`].
    pub(crate) data_dir: PathBuf,
    /// What the node is called instead of its host's name.
    pub(crate) name: Option<String>,
    /// The user's labels, over the automatic ones.
    pub(crate) labels: BTreeMap<String, String>,
    /// What identifies the host at enrolment instead of `/etc/machine-id`.
    pub(crate) machine_id: Option<String>,
    /// Where the machine id is from. Default `/etc/machine-id`.
    pub(crate) machine_id_from: MachineIdSource,
    /// Certificates for the connection to the collector.
    pub(crate) tls: TlsFiles,
    /// Upgrades of the agent itself.
    pub(crate) upgrade: UpgradeConfig,
    /// Where the agent's own metrics are served; none for off. Default [`DEFAULT_METRICS_LISTEN`].
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The agent's own log.
    pub(crate) log: LogConfig,
    /// How much may wait for the collector. Default 64 MiB and 24 hours.
    pub(crate) spool: Bounds,
    /// The pipelines, in the file's order.
    pub(crate) pipelines: Vec<PipelineConfig>,
    /// What the collector may ask of this node.
    pub(crate) centre: CentreConfig,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// What was read from it.
    pub(crate) text: SourceText,
    /// What is wrong with the file, when this is the last valid configuration instead.
    pub(crate) errors: Option<ConfigErrors>,
}

impl Config {
    /// The settings that differ in `new` and take effect at the next start of the agent only.
    pub(crate) fn changes_for_a_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = [
            ("url, urls", self.urls != new.urls),
            ("protocol", self.protocol != new.protocol),
            ("vector_bin, cloud_labels, poll_interval, log_flush_interval", self.vectorflow != new.vectorflow),
            ("token", self.token != new.token),
            ("data_dir", self.data_dir != new.data_dir),
            ("name", self.name != new.name),
            ("labels", self.labels != new.labels),
            ("machine_id", self.machine_id != new.machine_id),
            ("machine_id_from", self.machine_id_from != new.machine_id_from),
            ("log_level, log_format", self.log != new.log),
            ("spool_max_bytes", self.spool != new.spool),
            ("desired_dir", self.centre.dir != new.centre.dir),
            ("push", self.centre.push != new.centre.push),
            ("tap_redact", self.centre.redact != new.centre.redact),
            ("accept_upgrades, update_key, upgrade_timeout", self.upgrade != new.upgrade),
            ("metrics_listen", self.metrics_listen != new.metrics_listen),
            ("ca_file, client_cert_file, client_key_file", self.tls != new.tls),
        ];
        differs.into_iter().filter_map(|(setting, differs)| differs.then_some(setting)).collect()
    }
}

/// Where an agent keeps its data by default.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/systole-agent";

/// Where VectorFlow's agent keeps its data by default. An agent that starts with that agent's environment takes it over.
pub(crate) const VECTORFLOW_DATA_DIR: &str = "/var/lib/vf-agent";

/// Where an agent serves its own metrics by default: the VectorFlow agent's port.
pub(crate) const DEFAULT_METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The file that is read when none is named and this one exists.
pub(crate) const DEFAULT_FILE: &str = "/etc/systole/agent.toml";

/// The agent's own log, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The least severe level that is written. Default info.
    pub(crate) level: tracing::Level,
    /// The format of lines. Default text.
    pub(crate) format: LogFormat,
}

/// The format of lines of the agent's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For operators.
    Text,
    /// One JSON object per line.
    Json,
}
