//! Lines that a pipeline wrote.

use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize};

use crate::{Text, UnixMillis};

/// Where a line came from. The agent of a later version may name other sources; they are read as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// A log file.
    File,
    /// A source that this version does not know.
    #[serde(other)]
    Unknown,
}

impl LogStream {
    /// The stream as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::File => "file",
            LogStream::Unknown => "unknown",
        }
    }

    /// Reads what [`Self::as_str`] wrote; anything else is [`LogStream::Unknown`].
    pub fn from_wire(text: &str) -> Self {
        match text {
            "stdout" => LogStream::Stdout,
            "stderr" => LogStream::Stderr,
            "file" => LogStream::File,
            _ => LogStream::Unknown,
        }
    }
}

/// The severity that a line states. Ordered: a filter takes a level and all above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// The ordinary course.
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
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        LogLevel::parse(text.as_str())
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(text.as_str()), &"a log level"))
    }
}

/// The level of a line. A level that this version does not know is none: the line is kept, and no filter
/// takes it for a level that it does not have.
///
/// # Errors
///
/// When it is not a text.
pub(crate) fn known_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LogLevel>, D::Error> {
    let text = Option::<Text<'_>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| LogLevel::parse(text.as_str())))
}

/// One line, without its line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine<'a> {
    /// When the agent read it.
    pub at: UnixMillis,
    /// Where it came from.
    pub stream: LogStream,
    /// The severity that it states; absent when it states none, or one that this version does not know.
    #[serde(default, deserialize_with = "known_level", skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// The text, at most 64 KiB ([`crate::limits::MAX_LOG_LINE_BYTES`]).
    #[serde(borrow)]
    pub line: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_level_is_none_and_the_line_is_kept() {
        for (level, known) in [
            (r#""warning""#, Some(LogLevel::Warn)),
            (r#""INFO""#, Some(LogLevel::Info)),
            (r#""AUDIT""#, None),
            (r#""a\tb""#, None),
            ("null", None),
        ] {
            let json = format!(r#"{{"at":1,"stream":"stdout","level":{level},"line":"x"}}"#);
            let line: LogLine<'_> = serde_json::from_str(&json).unwrap();
            assert_eq!((line.level, line.line.as_str()), (known, "x"), "{level}");
        }
        let absent: LogLine<'_> = serde_json::from_str(r#"{"at":1,"stream":"stdout","line":"x"}"#).unwrap();
        assert_eq!(absent.level, None);
        let number = serde_json::from_str::<LogLine<'_>>(r#"{"at":1,"stream":"stdout","level":3,"line":"x"}"#);
        assert!(number.is_err(), "a level of another type is an invalid item");
        assert!(serde_json::from_str::<LogLevel>(r#""AUDIT""#).is_err(), "a level itself is never replaced");
    }

    #[test]
    fn unknown_stream_is_not_a_file() {
        for stream in [LogStream::Stdout, LogStream::Stderr, LogStream::File, LogStream::Unknown] {
            let json = serde_json::to_string(&stream).unwrap();
            assert_eq!(json, format!("\"{}\"", stream.as_str()));
            assert_eq!(serde_json::from_str::<LogStream>(&json).unwrap(), stream);
            assert_eq!(LogStream::from_wire(stream.as_str()), stream);
        }
        assert_eq!(serde_json::from_str::<LogStream>("\"journal\"").unwrap(), LogStream::Unknown);
        assert_eq!(LogStream::from_wire("journal"), LogStream::Unknown);
    }
}
