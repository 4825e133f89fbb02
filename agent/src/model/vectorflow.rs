//! What the configuration says for an agent under a VectorFlow server.

use std::time::Duration;

use systole_shared::limits::DEFAULT_INTERVAL_MS;

/// The program by default, looked up in `PATH`.
pub(crate) const DEFAULT_VECTOR_BIN: &str = "vector";

/// How long lines wait at most by default, in an agent that starts in place of VectorFlow's.
pub(crate) const DEFAULT_LOG_FLUSH_INTERVAL: Duration = Duration::from_secs(2);

/// The settings that VectorFlow's agent has and that hold towards a VectorFlow server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VectorFlowConfig {
    /// What runs its pipelines: a path, or a name that is looked up in `PATH`.
    pub(crate) vector_bin: String,
    /// Whether its pipelines are run at all. Default yes for an agent that starts in place of VectorFlow's, or that
    /// names `vector_bin`.
    pub(crate) accepts: bool,
    /// How often the agent reports until the server names an interval. Default 5 s.
    pub(crate) poll_interval: Duration,
    /// Whether the server receives labels of the cloud that the host is in. Default yes.
    pub(crate) cloud_labels: bool,
    /// How long lines wait at most; none for the next report. Default none, or [`DEFAULT_LOG_FLUSH_INTERVAL`] in place
    /// of VectorFlow's agent.
    pub(crate) log_flush_interval: Option<Duration>,
}

impl Default for VectorFlowConfig {
    fn default() -> Self {
        VectorFlowConfig {
            vector_bin: DEFAULT_VECTOR_BIN.to_owned(),
            accepts: false,
            cloud_labels: true,
            poll_interval: Duration::from_millis(DEFAULT_INTERVAL_MS),
            log_flush_interval: None,
        }
    }
}
