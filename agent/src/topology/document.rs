//! A configuration file as a tree of texts: what connects components is names and lists of names.

use std::collections::BTreeMap;

use systole_shared::ConfigFormat;

use super::yaml;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A text, number or truth value, as it was written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// Reads a file; none when it is not in this format.
    pub(crate) fn parse(text: &str, format: ConfigFormat) -> Option<Node> {
        match format {
            ConfigFormat::Yaml => yaml::parse(text),
            ConfigFormat::Toml => text.parse::<toml::Table>().ok().map(|table| Node::from(toml::Value::Table(table))),
            ConfigFormat::Json => serde_json::from_str::<serde_json::Value>(text).ok().map(Node::from),
        }
    }

    /// The value of a key of a table.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.table()?.get(key)
    }

    /// As a table.
    pub(crate) fn table(&self) -> Option<&BTreeMap<String, Node>> {
        if let Node::Table(table) = self { Some(table) } else { None }
    }

    /// As a text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Node::Text(text) = self { Some(text) } else { None }
    }

    /// As a list of texts; a single text is a list of one.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Node::Text(text) => vec![text],
            Node::List(items) => items.iter().filter_map(Node::text).collect(),
            Node::Table(_) => Vec::new(),
        }
    }

    /// Whether a key of a table is `true`.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).and_then(Node::text) == Some("true")
    }

    /// Adds what another table has, also below.
    pub(crate) fn merge(&mut self, other: Node) {
        match (self, other) {
            (Node::Table(own), Node::Table(other)) => {
                for (key, value) in other {
                    match own.get_mut(&key) {
                        Some(known) => known.merge(value),
                        None => drop(own.insert(key, value)),
                    }
                }
            }
            (own, other) => *own = other,
        }
    }
}

impl From<toml::Value> for Node {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Node::Text(text),
            toml::Value::Array(items) => Node::List(items.into_iter().map(Node::from).collect()),
            toml::Value::Table(table) => {
                Node::Table(table.into_iter().map(|(key, value)| (key, Node::from(value))).collect())
            }
            toml::Value::Integer(number) => Node::Text(number.to_string()),
            toml::Value::Float(number) => Node::Text(number.to_string()),
            toml::Value::Boolean(flag) => Node::Text(flag.to_string()),
            toml::Value::Datetime(time) => Node::Text(time.to_string()),
        }
    }
}

impl From<serde_json::Value> for Node {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Node::Text(text),
            serde_json::Value::Array(items) => Node::List(items.into_iter().map(Node::from).collect()),
            serde_json::Value::Object(table) => {
                Node::Table(table.into_iter().map(|(key, value)| (key, Node::from(value))).collect())
            }
            other => Node::Text(other.to_string()),
        }
    }
}
