//! One entry of the system's journal, as `journalctl -o json` prints it.

use serde::Deserialize;
use serde_json::Value;
use systole_shared::{LogLevel, UnixMillis};

use super::level;
use super::lines::{LineText, text_of};

/// What standard output of a service has when the service says nothing else: `info`.
const USUAL_PRIORITY: u8 = 6;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalEntry {
    /// Its place in the journal.
    pub(crate) cursor: String,
    /// When the journal received it.
    pub(crate) at: Option<UnixMillis>,
    /// Its text, within the protocol's bounds, and its level.
    pub(crate) text: LineText,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(default, rename = "__REALTIME_TIMESTAMP")]
    micros: Option<String>,
    #[serde(default, rename = "PRIORITY")]
    priority: Option<Value>,
    #[serde(default, rename = "MESSAGE")]
    message: Value,
}

impl JournalEntry {
    /// Reads a line of journalctl; none when it is no entry.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        let Record { cursor, micros, priority, message } = serde_json::from_slice(json).ok()?;
        let mut text = text_of(&bytes_of(&message), false);
        let priority = priority.as_ref().and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|number| u8::try_from(number).ok()),
        });
        text.level = level_of(priority, &text);
        let at = micros.and_then(|micros| micros.parse::<i64>().ok()).map(|micros| micros / 1_000);
        Some(JournalEntry { cursor, at, text })
    }
}

/// A message is a text, an array of bytes when it is no UTF-8, and an array of these when it is there twice.
fn bytes_of(message: &Value) -> Vec<u8> {
    match message {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Array(items) if items.iter().all(Value::is_u64) => {
            items.iter().filter_map(Value::as_u64).filter_map(|byte| u8::try_from(byte).ok()).collect()
        }
        Value::Array(items) => items.iter().map(bytes_of).collect::<Vec<_>>().join(&b'\n'),
        _ => Vec::new(),
    }
}

/// The priority says the level, unless it is the usual one and the text says another.
fn level_of(priority: Option<u8>, text: &LineText) -> Option<LogLevel> {
    let in_text = || text.level.or_else(|| level::find(&text.text));
    match priority {
        Some(0..=3) => Some(LogLevel::Error),
        Some(4) => Some(LogLevel::Warn),
        Some(7) => Some(LogLevel::Debug),
        Some(USUAL_PRIORITY) | None => in_text().or(priority.map(|_| LogLevel::Info)),
        Some(_) => Some(LogLevel::Info),
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::limits::MAX_LOG_LINE_BYTES;

    use super::*;

    fn entry(fields: &str) -> JournalEntry {
        let json = format!(r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1790000000123456",{fields}}}"#);
        JournalEntry::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn priority_is_the_level_unless_it_is_the_usual_one() {
        for (priority, message, level) in [
            ("3", "x", Some(LogLevel::Error)),
            ("4", "INFO all is well", Some(LogLevel::Warn)),
            ("5", "x", Some(LogLevel::Info)),
            ("6", "2026-11-29T10:00:00Z ERROR vector: x", Some(LogLevel::Error)),
            ("6", "x", Some(LogLevel::Info)),
            ("7", "x", Some(LogLevel::Debug)),
        ] {
            let found = entry(&format!(r#""PRIORITY":"{priority}","MESSAGE":"{message}""#));
            assert_eq!(found.text.level, level, "{priority} {message}");
            assert_eq!((found.cursor.as_str(), found.at), ("s=1;i=2", Some(1_790_000_000_123)));
        }
        assert_eq!(entry(r#""MESSAGE":"x""#).text.level, None);
    }

    #[test]
    fn message_may_be_bytes_missing_or_long() {
        assert_eq!(entry(r#""MESSAGE":[104,105,255,0]"#).text.text, "hi\u{fffd}\u{fffd}");
        assert_eq!(entry(r#""MESSAGE":["one",[116,119,111]]"#).text.text, "one\ntwo");
        assert_eq!(entry(r#""MESSAGE":null"#).text.text, "");
        let long = entry(&format!(r#""PRIORITY":"3","MESSAGE":"{}""#, "x".repeat(2 * MAX_LOG_LINE_BYTES)));
        assert!(long.text.text.len() <= MAX_LOG_LINE_BYTES);
        assert_eq!(JournalEntry::parse(b"-- No entries --"), None);
    }
}
