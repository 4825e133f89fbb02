//! The level of a line: from a JSON line's field, a pair `level=…`, or the place where the format
//! of a known system has it. Never from any word further in, because `cleared error state` is no error.

mod json;
mod text;
mod words;

use std::borrow::Cow;

use crate::LogLevel;

/// Finds the level of a line.
pub fn find(line: &str) -> Option<LogLevel> {
    let line = line.trim_start();
    if line.starts_with('{') { json::find(line) } else { text::find(&strip_ansi(line)) }
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
#[path = "level_tests.rs"]
mod tests;
