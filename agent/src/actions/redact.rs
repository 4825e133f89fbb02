//! Replaces the values of keys that must not leave the node in the events of samples and taps.
//!
//! Only keys: a password inside a message is text, which no list of keys finds.

use serde_json::Value;

/// What is in the place of a value.
const REDACTED: &str = "[redacted]";

/// Matches any one key, in the list of an operator.
const ANY: &str = "*";

/// Paths of keys whose values are replaced.
#[derive(Debug, Default)]
pub(super) struct Redaction(Vec<Vec<String>>);

impl Redaction {
    /// Paths like `password` (a key at any depth), `user.token`, or `*.token` (a key below any other).
    pub(super) fn new(paths: &[String]) -> Self {
        Redaction(paths.iter().map(|path| path.split('.').map(|key| key.trim().to_lowercase()).collect()).collect())
    }

    /// The event without the values. Text that is no JSON stays as it is.
    pub(super) fn apply(&self, event: String) -> String {
        if self.0.is_empty() {
            return event;
        }
        let Ok(mut value) = serde_json::from_str::<Value>(&event) else { return event };
        let mut path = Vec::new();
        if self.walk(&mut value, &mut path) { value.to_string() } else { event }
    }

    /// Whether a value was replaced.
    fn walk(&self, value: &mut Value, path: &mut Vec<String>) -> bool {
        match value {
            Value::Object(fields) => {
                let mut has_changed = false;
                for (key, value) in fields {
                    path.push(key.to_lowercase());
                    if self.matches(path) {
                        *value = REDACTED.into();
                        has_changed = true;
                    } else {
                        has_changed |= self.walk(value, path);
                    }
                    path.pop();
                }
                has_changed
            }
            Value::Array(values) => {
                let mut has_changed = false;
                for value in values {
                    has_changed |= self.walk(value, path);
                }
                has_changed
            }
            // Events are often JSON in the text of another event.
            Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
                let Ok(mut inner) = serde_json::from_str::<Value>(text) else { return false };
                let has_changed = self.walk(&mut inner, path);
                if has_changed {
                    *text = inner.to_string();
                }
                has_changed
            }
            _ => false,
        }
    }

    /// Whether the end of a path of keys is one of those in the list.
    fn matches(&self, path: &[String]) -> bool {
        let is_end = |wanted: &Vec<String>| {
            path.len() >= wanted.len()
                && wanted.iter().rev().zip(path.iter().rev()).all(|(wanted, key)| wanted == ANY || wanted == key)
        };
        self.0.iter().any(is_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(paths: &[&str], event: &str) -> String {
        Redaction::new(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()).apply(event.to_owned())
    }

    // Keys in the order of the alphabet: whether serde_json keeps another one depends on what else is built.
    #[test]
    fn values_are_replaced_at_any_depth() {
        let event = r#"{"log":{"Password":"a","list":[{"password":"b"}],"user":{"id":7,"password":{"x":1}}}}"#;
        assert_eq!(
            redact(&["password"], event),
            r#"{"log":{"Password":"[redacted]","list":[{"password":"[redacted]"}],"user":{"id":7,"password":"[redacted]"}}}"#
        );
    }

    #[test]
    fn path_needs_each_of_its_keys() {
        let event = r#"{"token":"a","user":{"name":"c","token":"b"}}"#;
        assert_eq!(redact(&["*.token"], event), r#"{"token":"a","user":{"name":"c","token":"[redacted]"}}"#);
        assert_eq!(redact(&["user.*"], event), r#"{"token":"a","user":{"name":"[redacted]","token":"[redacted]"}}"#);
        assert_eq!(redact(&["other.token"], event), event);
    }

    #[test]
    fn json_inside_a_text_is_redacted_too() {
        let event = r#"{"message":"{\"n\":1,\"password\":\"a\"}"}"#;
        assert_eq!(redact(&["password"], event), r#"{"message":"{\"n\":1,\"password\":\"[redacted]\"}"}"#);
        assert_eq!(redact(&["password"], "password=a"), "password=a");
        assert_eq!(redact(&[], event), event);
    }
}
