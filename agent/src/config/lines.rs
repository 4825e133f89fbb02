//! Reads what a `[[pipeline]]` says of its lines.

use std::sync::Arc;

use regex_lite::Regex;
use toml::Value;

use super::section::Section;
use crate::logs::multiline::MultilineRule;

/// Patterns of one pipeline; each is looked up every few seconds.
const MAX_PATTERNS: usize = 32;

/// `log_files`: absolute patterns.
pub(super) fn read_log_files(section: &mut Section<'_>) -> Vec<String> {
    let patterns = section.text_or_texts("log_files").unwrap_or_default();
    if patterns.len() > MAX_PATTERNS {
        section.mistake("log_files", format!("has {} patterns; at most {MAX_PATTERNS}", patterns.len()));
    }
    for pattern in &patterns {
        if let Some(what) = mistake_of(pattern) {
            section.mistake("log_files", format!("`{}` {what}", pattern.escape_debug()));
        }
    }
    patterns
}

fn mistake_of(pattern: &str) -> Option<String> {
    if !pattern.starts_with('/') {
        return Some("must be an absolute path, like \"/var/log/orders/*.log\"".to_owned());
    }
    if pattern.ends_with('/') || pattern.contains('\0') {
        return Some("names no file; write a pattern, like \"/var/log/orders/*.log\"".to_owned());
    }
    glob::Pattern::new(pattern).err().map(|error| format!("is no pattern: {}", error.msg))
}

/// `multiline`: `true`, or `{ start = "REGEX" }`.
pub(super) fn read_multiline(section: &mut Section<'_>) -> Option<Arc<MultilineRule>> {
    let table = match section.take("multiline")? {
        Value::Boolean(true) => return Some(Arc::new(MultilineRule::StackTraces)),
        Value::Boolean(false) => return None,
        Value::Table(table) => table,
        _ => {
            section.mistake("multiline", "must be true, or a table like { start = \"^[0-9]{4}-\" }");
            return None;
        }
    };
    let mut table = Section::new(section.name("multiline"), table, section.mistakes());
    if !table.has("start") {
        table.mistake("start", "is missing; it matches the lines that begin an entry, like \"^[0-9]{4}-\"");
    }
    let start = table.text("start").and_then(|start| match Regex::new(&start) {
        Ok(start) => Some(start),
        Err(error) => {
            table.mistake("start", format!("is no regular expression: {error}"));
            None
        }
    });
    table.finish();
    Some(Arc::new(MultilineRule::Start(start?)))
}
