//! Configurations as YAML, for agents that take nothing else.
//!
//! YAML stays as it was applied, byte by byte. TOML and JSON become YAML in the style of JSON with one key or item
//! a line: every text is quoted, so that no value changes its type.

use std::borrow::Cow;

use serde_json::Value;
use systole_shared::ConfigFormat;

/// Why a configuration does not become YAML. It was checked before it became a version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConversionError {
    /// It is no JSON.
    #[error("the configuration is not JSON")]
    Json(#[from] serde_json::Error),
    /// It is no TOML.
    #[error("the configuration is not TOML")]
    Toml(#[from] toml::de::Error),
}

/// The configuration as YAML.
///
/// # Errors
///
/// When it is not in its format.
pub(super) fn to_yaml(config: &str, format: ConfigFormat) -> Result<Cow<'_, str>, ConversionError> {
    let value = match format {
        ConfigFormat::Yaml => return Ok(Cow::Borrowed(config)),
        ConfigFormat::Json => serde_json::from_str(config)?,
        ConfigFormat::Toml => toml_value(toml::Value::Table(toml::from_str(config)?)),
    };
    let mut text = String::new();
    match &value {
        Value::Object(table) if !table.is_empty() => write_block(&mut text, &value, 0),
        _ => text.push_str("{}\n"),
    }
    Ok(Cow::Owned(text))
}

/// Times become texts: engines read them from texts, and JSON has none.
fn toml_value(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        // JSON has no infinity.
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(toml_value).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, toml_value(value))).collect(),
    }
}

/// Writes a table or list that is not empty, one entry a line.
fn write_block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                text.push_str(&indent);
                // A key above 1,024 characters must be marked as one.
                if key.len() > MAX_PLAIN_KEY_BYTES {
                    text.push_str(&format!("? {}\n{indent}", quoted(key)));
                } else {
                    text.push_str(&quoted(key));
                }
                text.push(':');
                write_value(text, value, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&indent);
                text.push('-');
                write_value(text, item, depth);
            }
        }
        _ => {}
    }
}

/// The longest key that YAML's parsers take without a mark, with room for what quoting adds.
const MAX_PLAIN_KEY_BYTES: usize = 128;

fn write_value(text: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(table) => !table.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        return write_block(text, value, depth + 1);
    }
    text.push(' ');
    match value {
        Value::String(value) => text.push_str(&quoted(value)),
        value => text.push_str(&value.to_string()),
    }
    text.push('\n');
}

/// A text between double quotes. Beside what JSON escapes, YAML takes no control characters, and more line ends.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
