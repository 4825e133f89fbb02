//! Lines that a pipeline wrote.

use serde::{Deserialize, Serialize};

use crate::{Text, UnixMillis};

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// A log file, or a source that this version does not know.
    #[serde(other)]
    File,
}

impl LogStream {
    /// The stream as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::File => "file",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "stdout" => LogStream::Stdout,
            "stderr" => LogStream::Stderr,
            _ => LogStream::File,
        }
    }
}

/// How grave a line says it is. Ordered: a filter takes a level and all above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// The ordinary course; also a level that this version does not know.
    Info,
    /// Unusual.
    Warn,
    /// Failed.
    Error,
}

impl LogLevel {
    /// The level as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
        }
    }

    /// Reads a level as programs write it, in any case: also `warning`, `fatal`, `err`.
    pub fn parse(text: &str) -> Option<Self> {
        const NAMES: [(&str, LogLevel); 15] = [
            ("trace", LogLevel::Trace),
            ("debug", LogLevel::Debug),
            ("dbg", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("information", LogLevel::Info),
            ("notice", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("warning", LogLevel::Warn),
            ("error", LogLevel::Error),
            ("err", LogLevel::Error),
            ("fatal", LogLevel::Error),
            ("critical", LogLevel::Error),
            ("crit", LogLevel::Error),
            ("panic", LogLevel::Error),
            ("emerg", LogLevel::Error),
        ];
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(LogLevel::parse(text.as_str()).unwrap_or(LogLevel::Info))
    }
}

/// One line, without its line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine<'a> {
    /// When the agent read it.
    pub at: UnixMillis,
    /// Where it came from.
    pub stream: LogStream,
    /// How grave it says it is; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// The text, at most 64 KiB ([`crate::limits::MAX_LOG_LINE_BYTES`]).
    #[serde(borrow)]
    pub line: Text<'a>,
}
