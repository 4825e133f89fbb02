//! Lines that pipelines write: splitting, levels, and the budget of what is kept.

pub(crate) mod budget;
pub(crate) mod level;
pub(crate) mod lines;

use systole_shared::{LogLevel, LogStream, UnixMillis};

/// One line of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When the agent read it.
    pub(crate) at: UnixMillis,
    /// Where it came from.
    pub(crate) stream: LogStream,
    /// How grave it says it is.
    pub(crate) level: Option<LogLevel>,
    /// The text, within the protocol's bounds.
    pub(crate) text: String,
}
