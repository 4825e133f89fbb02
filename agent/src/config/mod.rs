//! What the agent is to do: flags over environment over file over defaults.
//!
//! Everything is read once at start, through look-ups that tests fill with maps, and every mistake
//! is collected, so that one run shows all there is to mend.

mod file;
mod load;
mod mappings;
mod mistakes;
mod pipelines;
mod section;
mod settings;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use systole_shared::{PipelineId, Token};

use crate::scrape::mapping::Mapping;
use crate::spool::Bounds;

pub(crate) use load::{Overrides, load};
pub(crate) use mappings::read_one as read_mapping;
pub(crate) use mistakes::Mistakes;

/// The configuration of an agent, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the collector is; paths of requests are appended.
    pub(crate) url: Url,
    /// Enrolment token; needed only while the data directory has no node token.
    pub(crate) token: Option<Token>,
    /// Where the agent keeps what must survive it. Default [`DEFAULT_DATA_DIR`].
    pub(crate) data_dir: PathBuf,
    /// The user's labels, over the automatic ones.
    pub(crate) labels: BTreeMap<String, String>,
    /// What identifies the host at enrolment instead of `/etc/machine-id`.
    pub(crate) machine_id: Option<String>,
    /// The agent's own log.
    pub(crate) log: LogConfig,
    /// How much may wait for the collector. Default 64 MiB and 24 hours.
    pub(crate) spool: Bounds,
    /// The pipelines, in the file's order.
    pub(crate) pipelines: Vec<PipelineConfig>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

/// Where an agent keeps its data unless told otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/systole-agent";

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
#[derive(Clone, Debug)]
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
}

impl PipelineConfig {
    /// Whether the agent runs the pipeline, or only watches it.
    pub(crate) fn is_supervised(&self) -> bool {
        self.command.is_some()
    }
}

/// A command that the agent runs.
#[derive(Clone)]
pub(crate) struct CommandConfig {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub(crate) program: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Variables over the agent's own environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where it runs; the agent's own directory by default.
    pub(crate) working_dir: Option<PathBuf>,
}

impl fmt::Debug for CommandConfig {
    /// Without the values of variables, which are often secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommandConfig { program, args, env, working_dir } = self;
        let names: Vec<_> = env.keys().collect();
        f.debug_struct("CommandConfig")
            .field("program", program)
            .field("args", args)
            .field("env", &names)
            .field("working_dir", working_dir)
            .finish()
    }
}

/// A Prometheus text endpoint.
#[derive(Clone, Debug)]
pub(crate) struct MetricsConfig {
    /// The whole address.
    pub(crate) url: Url,
    /// Sent as bearer token, for endpoints that ask for one.
    pub(crate) bearer_token: Option<Token>,
    /// What its metrics mean.
    pub(crate) mapping: Arc<Mapping>,
}
