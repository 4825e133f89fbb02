//! How grave a line says it is: from a JSON line's field or the line's beginning, never from any
//! word further in it, because `cleared error state` is no error.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use systole_shared::LogLevel;

/// Words at the beginning that may stand before the level: date, time, zone, a name in brackets.
const WORDS_BEFORE_LEVEL: usize = 4;

/// The fields of a JSON line that hold its level; the first that the line has counts.
const JSON_FIELDS: [&str; 3] = ["level", "lvl", "severity"];

/// Finds the level of a line.
pub(crate) fn find(line: &str) -> Option<LogLevel> {
    let line = line.trim_start();
    if line.starts_with('{') { of_json(line) } else { of_text(&strip_ansi(line)) }
}

fn of_json(line: &str) -> Option<LogLevel> {
    let mut found = None;
    // A line that was cut is no whole object; what was found before is still true.
    let _ = serde_json::Deserializer::from_str(line).deserialize_map(LevelVisitor { found: &mut found });
    found
}

struct LevelVisitor<'f> {
    found: &'f mut Option<LogLevel>,
}

impl<'de> Visitor<'de> for LevelVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if JSON_FIELDS.iter().any(|field| key.eq_ignore_ascii_case(field)) {
                *self.found = of_value(&map.next_value()?);
                // Vector repeats the key further on for a field of the event's own.
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

fn of_value(value: &serde_json::Value) -> Option<LogLevel> {
    match value {
        serde_json::Value::String(text) => LogLevel::parse(text.trim_matches('"')),
        // As bunyan and pino count.
        serde_json::Value::Number(number) => match number.as_u64()? {
            10..20 => Some(LogLevel::Trace),
            20..30 => Some(LogLevel::Debug),
            30..40 => Some(LogLevel::Info),
            40..50 => Some(LogLevel::Warn),
            50..=60 => Some(LogLevel::Error),
            _ => None,
        },
        _ => None,
    }
}

fn of_text(line: &str) -> Option<LogLevel> {
    let mut after_time = false;
    for word in line.split_ascii_whitespace().take(WORDS_BEFORE_LEVEL) {
        if let Some((name, value)) = word.split_once('=') {
            if JSON_FIELDS.contains(&name) {
                return LogLevel::parse(value.trim_matches('"'));
            }
            if !matches!(name, "time" | "ts" | "timestamp") {
                return None;
            }
            after_time = true;
            continue;
        }
        let bare = word.trim_matches(['[', ']', '(', ')', '<', '>', ':', '|', ',', '-']);
        if let Some(level) = LogLevel::parse(bare) {
            // "error while …" is prose; "error: …", "[error]" and "ERROR" are levels.
            let marked = bare.len() < word.len() || bare.bytes().all(|byte| byte.is_ascii_uppercase());
            return (marked || after_time).then_some(level);
        }
        let is_time = bare.starts_with(|letter: char| letter.is_ascii_digit());
        let is_name = word.starts_with('[') || word.ends_with(']') || bare.is_empty();
        let is_zone = after_time && matches!(bare, "UTC" | "Z" | "AM" | "PM");
        if !(is_time || is_name || is_zone) {
            return None;
        }
        after_time |= is_time;
    }
    None
}

/// Takes colours off.
fn strip_ansi(line: &str) -> Cow<'_, str> {
    if !line.contains('\x1b') {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter != '\x1b' {
            plain.push(letter);
        } else if letters.next() == Some('[') {
            // Parameters, then one letter that ends the sequence.
            letters.by_ref().find(|letter| ('@'..='~').contains(letter));
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_real_vector_has_the_level_it_says() {
        for line in include_str!("../../testdata/vector-0.58/logs.txt").lines() {
            let said = line.split_ascii_whitespace().nth(1).unwrap();
            assert_eq!(find(line).unwrap().as_str(), said, "{line}");
        }
    }

    #[test]
    fn of_two_level_keys_of_a_json_line_the_first_counts() {
        let lines: Vec<&str> = include_str!("../../testdata/vector-0.58/stdout-json.txt").lines().collect();
        assert!(lines[0].contains(r#""level":"INFO""#) && lines[0].contains(r#""level":"\"info\"""#));
        assert_eq!(find(lines[0]), Some(LogLevel::Info));
        assert_eq!(find(r#"{"level":"WARN","x":1,"level":"\"error\""}"#), Some(LogLevel::Warn));
        assert_eq!(find(r#"{"a":{"level":"ERROR"},"severity":"debug"}"#), Some(LogLevel::Debug));
        assert_eq!(find(r#"{"level":50,"msg":"x"}"#), Some(LogLevel::Error));
        assert_eq!(find(r#"{"lvl":"warn","msg":"cut of"#), Some(LogLevel::Warn));
        assert_eq!(find(r#"{"msg":"an ERROR"}"#), None);
        assert_eq!(find("{not json ERROR"), None);
    }

    #[test]
    fn the_level_stands_at_the_beginning_behind_time_or_name() {
        assert_eq!(find("\x1b[2m2026-11-20T18:23:14Z\x1b[0m \x1b[33m WARN\x1b[0m vector: x"), Some(LogLevel::Warn));
        assert_eq!(find("[2026-11-20 18:23:14] ERROR x"), Some(LogLevel::Error));
        assert_eq!(find("2026/11/20 18:23:14 [error] 12#0: x"), Some(LogLevel::Error));
        assert_eq!(find("2026-11-20 18:23:14 UTC debug x"), Some(LogLevel::Debug));
        assert_eq!(find("time=\"2026-11-20\" level=warning msg=\"x\""), Some(LogLevel::Warn));
        assert_eq!(find("[main] WARN x"), Some(LogLevel::Warn));
        assert_eq!(find("Error: no such file"), Some(LogLevel::Error));
        assert_eq!(find("<info> x"), Some(LogLevel::Info));
    }

    #[test]
    fn words_further_in_are_words() {
        for line in [
            "cleared ERROR state",
            "error handling is on",
            "Notice that it rains",
            "",
            "   ",
            "a=b level=info",
            "12 monkeys and an ERROR",
        ] {
            assert_eq!(find(line), None, "{line}");
        }
    }
}
