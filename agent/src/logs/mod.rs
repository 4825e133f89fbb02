//! Lines that pipelines write: where they are read, what belongs together, levels, and the budget
//! of what is kept.
//!
//! A process writes its output into files of the agent, not into pipes: lines that it writes while the
//! agent does not run, or while both end, are still there for the agent's next run.

pub(crate) mod budget;
mod capture;
pub(crate) mod check;
mod density;
mod disk;
mod files;
mod identity;
pub(crate) mod journal;
mod last_output;
pub(crate) mod lines;
pub(crate) mod multiline;
mod path_text;
pub(crate) mod read_offsets;
pub(crate) mod reader;
pub(crate) mod registry;
mod source;
mod tail;
pub(crate) mod walk;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use systole_shared::level;
use systole_shared::{LogLevel, LogStream, UnixMillis};

pub(crate) use capture::Writers;
pub(crate) use source::PipelineLogs;

/// One line of a pipeline, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Time at which the agent read it.
    pub(crate) at: UnixMillis,
    /// Where it came from.
    pub(crate) stream: LogStream,
    /// The text, within the protocol's bounds.
    pub(crate) text: String,
    /// Its level, if it had to be found before the text was cut. That of others is found when they
    /// are reported: of a flood, few lines are.
    pub(crate) level: Option<LogLevel>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
