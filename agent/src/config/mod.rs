//! What the agent is to do: flags over environment over file over defaults.
//!
//! Everything is read once at start, through look-ups that tests fill with maps, and every mistake
//! is collected, so that one run shows all there is to mend.

mod command;
mod file;
mod limits;
mod lines;
mod load;
mod mappings;
mod mistakes;
mod pipelines;
mod process;
mod section;
mod settings;
mod show;
mod valid;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use systole_shared::{PipelineId, Token};

use crate::http::TlsFiles;
use crate::logs::multiline::MultilineRule;
use crate::logs::{Links, OwnFiles, Pattern};
use crate::scrape::mapping::Mapping;
use crate::spool::Bounds;

pub(crate) use command::CONFIG_PLACEHOLDER;
pub(crate) use load::{Overrides, find_data_dir, load};
pub(crate) use mappings::read_one as read_mapping;
pub(crate) use mistakes::Mistakes;
pub(crate) use valid::{SourceText, last_valid};

/// The configuration of an agent, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the collector is; paths of requests are appended.
    pub(crate) url: Url,
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
    /// Certificates for the way to the collector.
    pub(crate) tls: TlsFiles,
    /// Where the agent's own metrics are served; none for off. Default [`DEFAULT_METRICS_LISTEN`].
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The agent's own log.
    pub(crate) log: LogConfig,
    /// How much may wait for the collector. Default 64 MiB and 24 hours.
    pub(crate) spool: Bounds,
    /// The pipelines, in the file's order.
    pub(crate) pipelines: Vec<PipelineConfig>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// What was read from it.
    pub(crate) text: SourceText,
    /// What is wrong with the file, when this is the last valid configuration instead.
    pub(crate) mistakes: Option<Mistakes>,
}

impl Config {
    /// The settings that differ in `new` and take effect at the next start of the agent only.
    pub(crate) fn changes_for_a_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = [
            ("url", self.url != new.url),
            ("token", self.token != new.token),
            ("data_dir", self.data_dir != new.data_dir),
            ("name", self.name != new.name),
            ("labels", self.labels != new.labels),
            ("machine_id", self.machine_id != new.machine_id),
            ("log_level, log_format", self.log != new.log),
            ("spool_max_bytes", self.spool != new.spool),
            ("metrics_listen", self.metrics_listen != new.metrics_listen),
            ("ca_file, client_cert_file, client_key_file", self.tls != new.tls),
        ];
        differs.into_iter().filter_map(|(setting, differs)| differs.then_some(setting)).collect()
    }
}

/// Where an agent keeps its data unless told otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/systole-agent";

/// Where an agent serves its own metrics unless told otherwise: the VectorFlow agent's port.
pub(crate) const DEFAULT_METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The file that is read when none is named and this one exists.
pub(crate) const DEFAULT_FILE: &str = "/etc/systole/agent.toml";

/// The agent's own log, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The least grave level that is written. Default info.
    pub(crate) level: tracing::Level,
    /// How lines look. Default text.
    pub(crate) format: LogFormat,
}

/// How lines of the agent's own log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One pipeline of this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PipelineConfig {
    /// Unique in the environment.
    pub(crate) id: PipelineId,
    /// For people; the id when absent.
    pub(crate) name: Option<String>,
    /// The user's labels of this pipeline.
    pub(crate) labels: BTreeMap<String, String>,
    /// What is run and kept running; absent for a pipeline that is only watched.
    pub(crate) command: Option<CommandConfig>,
    /// Where its metrics are read; absent for one without metrics.
    pub(crate) metrics: Option<MetricsConfig>,
    /// The process behind a pipeline that is only watched, if it is to be followed.
    pub(crate) process: Option<ProcessConfig>,
    /// Log files besides the command's output.
    pub(crate) log_files: LogFilesConfig,
    /// Which lines belong together; each one stands alone by default.
    pub(crate) multiline: Option<Arc<MultilineRule>>,
}

/// The log files of a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogFilesConfig {
    /// Absolute paths with `*`, `?`, `[…]`, `**`.
    pub(crate) patterns: Vec<Pattern>,
    /// Whether symbolic links below a pattern's fixed directory are followed. Default no.
    pub(crate) links: Links,
    /// Files that are never followed.
    pub(crate) own: Arc<OwnFiles>,
}

/// How the process of a watched pipeline is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProcessConfig {
    /// By the file that holds its id.
    PidFile(PathBuf),
    /// By its systemd unit; the whole name, like `vector.service`.
    SystemdUnit(String),
}

impl PipelineConfig {
    /// Whether the agent runs the pipeline, or only watches it.
    pub(crate) fn is_supervised(&self) -> bool {
        self.command.is_some()
    }
}

/// A command that the agent runs. Serialized it is what two revisions are compared by, and what is
/// kept of one that was good.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandConfig {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub(crate) program: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Variables over the agent's own environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where it runs; the agent's own directory by default.
    pub(crate) working_dir: Option<PathBuf>,
    /// The file that holds the pipeline's configuration. The command gets a copy that the agent keeps.
    pub(crate) config_file: Option<PathBuf>,
    /// The most that it may use.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// What judges a new configuration before it is used: program and arguments; none for no judge.
    #[serde(skip)]
    pub(crate) validate: Option<Vec<String>>,
}

/// The most that a command may use.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LimitsConfig {
    /// How modest it is with CPU time, -20 to 19; as the agent is by default.
    pub(crate) nice: Option<i32>,
    /// Bytes of memory.
    pub(crate) memory_max: Option<u64>,
    /// CPU time, in thousandths of a core.
    pub(crate) cpu_max_millis: Option<u64>,
}

impl fmt::Debug for CommandConfig {
    /// Without the values of variables, which are often secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommandConfig { program, args, env, working_dir, config_file, limits, validate } = self;
        let names: Vec<_> = env.keys().collect();
        f.debug_struct("CommandConfig")
            .field("program", program)
            .field("args", args)
            .field("env", &names)
            .field("working_dir", working_dir)
            .field("config_file", config_file)
            .field("limits", limits)
            .field("validate", validate)
            .finish()
    }
}

/// A Prometheus text endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricsConfig {
    /// The whole address.
    pub(crate) url: Url,
    /// Sent as bearer token, for endpoints that ask for one.
    pub(crate) bearer_token: Option<Token>,
    /// What its metrics mean.
    pub(crate) mapping: Arc<Mapping>,
    /// Whether the engine's own monitoring is a part of the pipeline's totals.
    pub(crate) count_internal: bool,
}
