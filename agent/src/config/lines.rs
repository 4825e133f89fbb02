//! Reads what a `[[pipeline]]` says of its lines.

use std::path::PathBuf;
use std::sync::Arc;

use regex_lite::Regex;
use toml::{Table, Value};

use super::section::Section;
use crate::model::log_files::Links;
use crate::model::multiline::MultilineRule;
use crate::model::pattern::Pattern;
use crate::model::pipeline::LogFilesConfig;

/// Patterns of one pipeline; each is looked up every few seconds.
const MAX_PATTERNS: usize = 32;

/// `log_files`: absolute patterns; `follow_symlinks`.
pub(super) fn read_log_files(section: &mut Section<'_>) -> LogFilesConfig {
    let texts = section.text_or_texts("log_files").unwrap_or_default();
    if texts.len() > MAX_PATTERNS {
        section.error("log_files", format!("has {} patterns; at most {MAX_PATTERNS}", texts.len()));
    }
    let mut config = LogFilesConfig::default();
    for text in &texts {
        match Pattern::parse(text) {
            Ok(pattern) => config.patterns.push(pattern),
            Err(error) => section.error("log_files", format!("`{}` {error}", text.escape_debug())),
        }
    }
    if section.flag("follow_symlinks") == Some(true) {
        config.links = Links::Followed;
    }
    config
}

/// The files that hold secrets of the agent, by the names that the configuration has for them.
pub(super) fn secret_files(root: &Table) -> Vec<PathBuf> {
    let text = |table: &Table, key: &str| table.get(key).and_then(Value::as_str).map(PathBuf::from);
    let pipelines = root.get("pipeline").and_then(Value::as_array).into_iter().flatten();
    let of_pipelines = pipelines.filter_map(|table| text(table.as_table()?, "metrics_bearer_token_file"));
    ["token_file", "client_key_file"].iter().filter_map(|key| text(root, key)).chain(of_pipelines).collect()
}

/// `multiline`: `true`, or `{ start = "REGEX" }`.
pub(super) fn read_multiline(section: &mut Section<'_>) -> Option<Arc<MultilineRule>> {
    let table = match section.take("multiline")? {
        Value::Boolean(true) => return Some(Arc::new(MultilineRule::StackTraces)),
        Value::Boolean(false) => return None,
        Value::Table(table) => table,
        _ => {
            section.error("multiline", "must be true, or a table like { start = \"^[0-9]{4}-\" }");
            return None;
        }
    };
    let mut table = Section::new(section.name("multiline"), table, section.errors());
    if !table.has("start") {
        table.error("start", "is missing; it matches the lines that begin an entry, like \"^[0-9]{4}-\"");
    }
    let start = table.text("start").and_then(|start| match Regex::new(&start) {
        Ok(start) => Some(start),
        Err(error) => {
            table.error("start", format!("is no regular expression: {error}"));
            None
        }
    });
    table.finish();
    Some(Arc::new(MultilineRule::Start(start?)))
}
