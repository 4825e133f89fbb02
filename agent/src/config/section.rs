//! Reads one TOML table key by key and collects all errors in it.
//!
//! Not serde: a deserializer stops at the first error, and all errors of a file are reported at once.

use std::collections::BTreeMap;
use systole_shared::edit_distance::edit_distance;

use toml::{Table, Value};

use super::errors::ConfigErrors;

/// A table that is being read. Keys that are left at [`Section::finish`] are unknown.
pub(crate) struct Section<'m> {
    path: String,
    rest: Table,
    known: Vec<&'static str>,
    errors: &'m mut ConfigErrors,
}

impl<'m> Section<'m> {
    /// Begins to read `table`. `path` precedes its keys in errors; empty for the root.
    pub(crate) fn new(path: impl Into<String>, table: Table, errors: &'m mut ConfigErrors) -> Self {
        Section { path: path.into(), rest: table, known: Vec::new(), errors }
    }

    /// The name of `key` in errors.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}: {key}", self.path) }
    }

    /// Names this section differently from here on, once its id is known.
    pub(crate) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// Notes a error of `key`.
    pub(crate) fn error(&mut self, key: &str, what: impl Into<String>) {
        let name = self.name(key);
        self.errors.add(name, what);
    }

    /// The errors, for parts that are read elsewhere.
    pub(crate) fn errors(&mut self) -> &mut ConfigErrors {
        self.errors
    }

    /// Takes the value of `key`, of any type.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.rest.remove(key)
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if text.trim().is_empty() => {
                self.error(key, "is empty; set a value or remove the key");
                None
            }
            Value::String(text) => Some(text),
            other => self.wrong_type(key, "a text in quotes", &other),
        }
    }

    /// Takes true or false.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            other => self.wrong_type(key, "true or false, without quotes", &other),
        }
    }

    /// Takes a whole number.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<i64> {
        match self.take(key)? {
            Value::Integer(number) => Some(number),
            other => self.wrong_type(key, "a whole number", &other),
        }
    }

    /// Takes a list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        match self.take(key)? {
            Value::Array(values) => {
                let mut texts = Vec::with_capacity(values.len());
                for value in values {
                    match value {
                        Value::String(text) => texts.push(text),
                        other => return self.wrong_type(key, "a list of texts in quotes", &other),
                    }
                }
                Some(texts)
            }
            other => self.wrong_type(key, "a list of texts, like [\"a\", \"b\"]", &other),
        }
    }

    /// Takes a text or a list of texts.
    pub(crate) fn text_or_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        if let Some(Value::String(_)) = self.rest.get(key) {
            return self.text(key).map(|text| vec![text]);
        }
        self.texts(key)
    }

    /// Takes a list whose items are texts or lists of texts.
    pub(crate) fn texts_or_lists(&mut self, key: &'static str) -> Option<Vec<Vec<String>>> {
        let Value::Array(values) = self.take(key)? else { return None };
        let text = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
        let lists = values.into_iter().map(|value| match value {
            Value::Array(texts) => texts.into_iter().map(text).collect(),
            other => Some(vec![text(other)?]),
        });
        lists.collect()
    }

    /// Takes a table of texts; numbers and booleans count as their text.
    pub(crate) fn text_table(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        match self.take(key) {
            None => {}
            Some(Value::Table(table)) => {
                for (name, value) in table {
                    match value {
                        Value::String(text) => drop(texts.insert(name, text)),
                        Value::Integer(number) => drop(texts.insert(name, number.to_string())),
                        Value::Float(number) => drop(texts.insert(name, number.to_string())),
                        Value::Boolean(flag) => drop(texts.insert(name, flag.to_string())),
                        other => {
                            let whole = format!("{key}.{name}");
                            self.error(&whole, format!("must be a text in quotes, not {}", kind_of(&other)));
                        }
                    }
                }
            }
            Some(other) => self.note_type(key, "a table, like { key = \"value\" }", &other),
        }
        texts
    }

    /// Takes a table.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            other => self.wrong_type(key, "a table", &other),
        }
    }

    /// Takes a list of tables, written as `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table> {
        let values = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => {
                return self.wrong_type(key, &format!("written as [[{key}]]"), &other).unwrap_or_default();
            }
        };
        let mut tables = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Value::Table(table) => tables.push(table),
                other => self.note_type(key, &format!("written as [[{key}]]"), &other),
            }
        }
        tables
    }

    /// Whether `key` is there and not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// Whether `key` holds a table.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        matches!(self.rest.get(key), Some(Value::Table(_)))
    }

    /// Reports all keys that are unknown.
    pub(crate) fn finish(mut self) {
        for key in std::mem::take(&mut self.rest).keys() {
            let hint = match nearest(key, &self.known) {
                Some(known) => format!("unknown key; did you mean `{known}`?"),
                None => format!("unknown key; known keys: {}", self.known.join(", ")),
            };
            self.error(key, hint);
        }
    }

    fn wrong_type<T>(&mut self, key: &str, wanted: &str, found: &Value) -> Option<T> {
        self.note_type(key, wanted, found);
        None
    }

    fn note_type(&mut self, key: &str, wanted: &str, found: &Value) {
        self.error(key, format!("must be {wanted}, not {}", kind_of(found)));
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The known key that is at most two edits away.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let best = known.iter().map(|candidate| (edit_distance(key, candidate), *candidate)).min()?;
    (best.0 <= 2 && best.0 < key.len()).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_suggests_the_nearest_one() {
        assert_eq!(nearest("metric_url", &["command", "metrics_url"]), Some("metrics_url"));
        assert_eq!(nearest("colour", &["command", "metrics_url"]), None);
    }

    #[test]
    fn wrong_types_are_reported_and_valid_values_kept() {
        let table = "a = 1\nb = \"x\"\nc = [1]\nd = { k = 2 }\nzz = 1".parse().unwrap();
        let mut errors = ConfigErrors::default();
        let mut section = Section::new("", table, &mut errors);
        assert_eq!(section.text("a"), None);
        assert_eq!(section.text("b").as_deref(), Some("x"));
        assert_eq!(section.texts("c"), None);
        assert_eq!(section.text_table("d")["k"], "2");
        section.finish();
        assert_eq!(errors.keys(), ["a", "c", "zz"]);
    }
}
