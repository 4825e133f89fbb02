//! The agent's own log, on standard error.

use std::io::IsTerminal;

use crate::config::{LogConfig, LogFormat};

/// Begins to log. A second call has no effect.
pub(crate) fn begin(config: LogConfig) {
    let builder =
        tracing_subscriber::fmt().with_max_level(config.level).with_writer(std::io::stderr).with_target(false);
    let begun = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    drop(begun);
}
