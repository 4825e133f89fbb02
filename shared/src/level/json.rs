//! The level of a line that is a JSON object.

use std::borrow::Cow;
use std::fmt;

use crate::LogLevel;
use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::words::{of_letter, of_name, of_number, of_otel};

/// The fields that hold a level, in any case and without their `_`; the first that the line has counts.
const FIELDS: [&str; 11] = [
    "level",
    "lvl",
    "severity",
    "severitytext",
    "log.level",
    "loglevel",
    "levelname",
    "priority",
    "@level",
    "@l",
    "severitynumber",
];

/// The field of an object that holds a level, as in `{"log":{"level":"error"}}`.
const OBJECT: &str = "log";

/// MongoDB's field, a letter.
const LETTER: &str = "s";

/// Finds the level.
pub(super) fn find(line: &str) -> Option<LogLevel> {
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
            if let Some(field) = field_of(&key) {
                *self.found = of_field(field, &map.next_value()?);
                // Vector repeats the key further on for a field of the event's own.
                return Err(A::Error::custom("found"));
            }
            if key == OBJECT || key == LETTER {
                let found = match map.next_value::<Value>()? {
                    Value::Object(log) if key == OBJECT => log.get("level").and_then(|level| of_field("level", level)),
                    Value::String(letter) if key == LETTER && letter.len() <= 2 => {
                        letter.chars().next().and_then(of_letter)
                    }
                    _ => None,
                };
                if found.is_some() {
                    *self.found = found;
                    return Err(A::Error::custom("found"));
                }
                continue;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

fn field_of(key: &str) -> Option<&'static str> {
    const LONGEST: usize = 16;
    if key.len() > LONGEST {
        return None;
    }
    let key: String = key.chars().filter(|letter| *letter != '_').collect();
    FIELDS.into_iter().find(|field| key.eq_ignore_ascii_case(field))
}

fn of_field(field: &str, value: &Value) -> Option<LogLevel> {
    let number = |number: u64| if field == "severitynumber" { of_otel(number) } else { of_number(number) };
    match value {
        Value::String(text) => {
            let text = text.trim_matches('"');
            let mut letters = text.chars();
            let letter = letters.next().filter(|_| letters.next().is_none());
            of_name(text).or_else(|| number(text.parse().ok()?)).or_else(|| letter.and_then(of_letter))
        }
        Value::Number(value) => number(value.as_u64()?),
        _ => None,
    }
}
