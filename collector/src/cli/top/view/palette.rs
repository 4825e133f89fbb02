//! Colours and shapes of states. A state is a shape, a word and a colour, so that it can be read without colours.

use ratatui::style::{Color, Modifier, Style};
use systole_shared::{LogLevel, NodeStatus, PipelineStatus};

/// The styles of the screen, with colours or without.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::top) struct Palette {
    pub in_colour: bool,
}

impl Palette {
    fn of(self, color: Color) -> Style {
        if self.in_colour { Style::new().fg(color) } else { Style::new() }
    }

    /// All is well.
    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    /// Unusual.
    pub(super) fn odd(self) -> Style {
        self.of(Color::Yellow)
    }

    /// A failure.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of less importance.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Titles.
    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The shape and the style of a node's state.
    pub(super) fn node(self, status: NodeStatus) -> (&'static str, Style) {
        match status {
            NodeStatus::Healthy => ("●", self.good()),
            NodeStatus::Degraded => ("▲", self.odd()),
            NodeStatus::Unreachable => ("✖", self.bad()),
            NodeStatus::Offline => ("○", self.odd()),
            NodeStatus::Unknown | NodeStatus::Unrecognized => ("?", self.dim()),
        }
    }

    /// The shape and the style of a pipeline's state.
    pub(super) fn pipeline(self, status: PipelineStatus) -> (&'static str, Style) {
        match status {
            PipelineStatus::Running => ("●", self.good()),
            PipelineStatus::Degraded => ("▲", self.odd()),
            PipelineStatus::Crashed | PipelineStatus::CrashLoop => ("✖", self.bad()),
            PipelineStatus::Starting | PipelineStatus::Pending => ("◌", Style::new()),
            PipelineStatus::Stopped => ("○", Style::new()),
            PipelineStatus::Unknown => ("?", self.dim()),
        }
    }

    /// The style of a line's level.
    pub(super) fn level(self, level: Option<LogLevel>) -> Style {
        match level {
            Some(LogLevel::Error) => self.bad(),
            Some(LogLevel::Warn) => self.odd(),
            Some(LogLevel::Info) => self.good(),
            Some(LogLevel::Debug | LogLevel::Trace) | None => self.dim(),
        }
    }
}
