//! Colours by severity, for terminals.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use systole_shared::{AlertSeverity, AlertState, DeploymentPhase, LogLevel};

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Colour {
    Auto,
    Always,
    Never,
}

pub(in crate::cli) const PLAIN: Style = Style::new();
pub(in crate::cli) const DIM: Style = Style::new().dimmed();
pub(in crate::cli) const GOOD: Style = AnsiColor::Green.on_default();
pub(in crate::cli) const ODD: Style = AnsiColor::Yellow.on_default();
pub(in crate::cli) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Whether standard output gets colours.
pub(in crate::cli) fn wanted(choice: Colour) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
        }
    }
}

/// Returns the colour for the severity of a node's or pipeline's state.
pub(in crate::cli) fn of_status(status: &str) -> Style {
    match status {
        "HEALTHY" | "RUNNING" => GOOD,
        "DEGRADED" | "OFFLINE" => ODD,
        "UNREACHABLE" | "CRASHED" | "CRASH_LOOP" => BAD,
        "STOPPED" | "PENDING" | "STARTING" => PLAIN,
        _ => DIM,
    }
}

/// Returns the colour for a version's step on a node.
pub(in crate::cli) fn of_phase(phase: DeploymentPhase) -> Style {
    match phase {
        DeploymentPhase::Healthy => GOOD,
        phase if phase.is_failure() => BAD,
        _ => PLAIN,
    }
}

/// Returns the colour for an alert.
pub(in crate::cli) fn of_alert(state: AlertState, severity: AlertSeverity) -> Style {
    match (state, severity) {
        (AlertState::Firing, AlertSeverity::Critical) => BAD,
        (AlertState::Firing | AlertState::Pending, _) => ODD,
        (AlertState::Resolved | AlertState::Cancelled, _) => GOOD,
    }
}

/// Returns the colour for the severity of a line.
pub(in crate::cli) fn of_level(level: Option<LogLevel>) -> Style {
    match level {
        Some(LogLevel::Error) => BAD,
        Some(LogLevel::Warn) => ODD,
        Some(LogLevel::Info) => GOOD,
        Some(LogLevel::Debug | LogLevel::Trace) | None => DIM,
    }
}
