//! The last log lines of the selection.

use std::collections::VecDeque;

use systole_shared::events::{LogEntry, LogEntryLine};
use systole_shared::{NodeId, PipelineId};

/// Lines that are kept: a terminal shows 50, and a reader scrolls back through some screens.
pub(super) const MAX_LINES: usize = 2_000;

/// A line with its origin.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct LogLine {
    pub node: NodeId,
    pub pipeline: PipelineId,
    pub entry: LogEntryLine,
}

/// The last lines, oldest first, and where the reader is.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::top) struct Logs {
    lines: VecDeque<LogLine>,
    /// Lines below the screen; 0 follows.
    pub back: usize,
    /// Columns to the left of the screen.
    pub shift: usize,
}

impl Logs {
    /// Adds lines that have just come.
    pub(super) fn take(&mut self, entry: LogEntry) {
        for line in entry.entries {
            self.push(LogLine { node: entry.node_id, pipeline: entry.pipeline_id.clone(), entry: line });
        }
    }

    /// Puts stored lines, oldest first, before those that came live.
    pub(super) fn prepend(&mut self, stored: Vec<LogLine>) {
        let live = std::mem::take(&mut self.lines);
        for line in stored.into_iter().chain(live) {
            self.push(line);
        }
    }

    fn push(&mut self, line: LogLine) {
        if self.lines.len() >= MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Scrolls by lines, up when positive.
    pub(super) fn scroll(&mut self, lines: isize) {
        self.back = self.back.saturating_add_signed(lines).min(self.lines.len());
    }

    /// The lines that a filter accepts, newest first.
    pub(in crate::cli::top) fn newest_first<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a LogLine> {
        let filter = filter.to_lowercase();
        let is_wanted = move |line: &&LogLine| filter.is_empty() || line.entry.line.to_lowercase().contains(&filter);
        self.lines.iter().rev().filter(is_wanted)
    }
}
