//! Lines that pipelines write: splitting, levels, and the budget of what is kept.

pub(crate) mod budget;
pub(crate) mod level;
pub(crate) mod lines;

use systole_shared::{LogStream, UnixMillis};

/// One line of a pipeline. Its level is found when it is reported: of a flood, few lines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When the agent read it.
    pub(crate) at: UnixMillis,
    /// Where it came from.
    pub(crate) stream: LogStream,
    /// The text, within the protocol's bounds.
    pub(crate) text: String,
}
