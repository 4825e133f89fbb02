//! Texts of a report: bounded, and fit for a page, a log line and a database.

use std::borrow::Cow;

use systole_shared::Text;
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};

/// Text for one line of a page: bounded, and without NUL, which not every database takes.
pub(super) fn short(text: &str) -> String {
    without_nul(cut(text, MAX_SHORT_TEXT_BYTES))
}

/// A text that appears in log lines.
pub(super) fn printable(text: &str) -> String {
    short(text).trim().replace(char::is_control, "\u{FFFD}")
}

pub(super) fn without_nul(text: Cow<'_, str>) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.into_owned() }
}

pub(super) fn short_option(text: Option<Text<'_>>) -> Option<String> {
    text.map(|text| short(text.as_str()))
}
