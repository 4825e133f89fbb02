//! What the configuration says of one pipeline.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use systole_shared::{PipelineId, Token};

use super::centre::{CentreVersion, Hold};
use super::log_files::{Links, OwnFiles};
use super::mapping::Mapping;
use super::multiline::MultilineRule;
use super::pattern::Pattern;

/// Stands for the path of the agent's copy of `config_file` in a command.
pub(crate) const CONFIG_PLACEHOLDER: &str = "{config}";

/// What follows the name of the configuration in the name of the file beside it, with which a Vector shows its metrics
/// and answers taps. VectorFlow's agent has it under this name.
pub(crate) const SIDECAR_SUFFIX: &str = ".vf-metrics.yaml";

/// One pipeline of this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PipelineConfig {
    /// Unique in the environment.
    pub(crate) id: PipelineId,
    /// For operators; the id when absent.
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
    /// Where the engine's API is, for samples and taps.
    pub(crate) api_url: Option<String>,
    /// The version of the centre; absent for a pipeline of the agent's own file.
    pub(crate) centre: Option<Arc<CentreVersion>>,
}

/// The log files of a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogFilesConfig {
    /// Absolute paths with `*`, `?`, `[…]`, `**`.
    pub(crate) patterns: Vec<Pattern>,
    /// Whether symbolic links below a pattern's fixed directory are followed. Default no.
    pub(crate) links: Links,
    /// The systemd unit whose journal is read; none for none.
    pub(crate) journal_unit: Option<String>,
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

    /// Why it has no process, for one that is there to show that.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.centre.as_ref()?.hold.as_ref()
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
    /// The user that it runs as; the agent's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run_as: Option<String>,
    /// What validates a new configuration before it is used: program and arguments; none for no judge.
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
        let CommandConfig { program, args, env, working_dir, config_file, limits, run_as, validate } = self;
        let names: Vec<_> = env.keys().collect();
        f.debug_struct("CommandConfig")
            .field("program", program)
            .field("args", args)
            .field("env", &names)
            .field("working_dir", working_dir)
            .field("config_file", config_file)
            .field("limits", limits)
            .field("run_as", run_as)
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
