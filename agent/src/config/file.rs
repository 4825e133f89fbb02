//! Reads files of the configuration without ever showing what is in them.

use std::path::Path;

use systole_shared::Token;
use toml::Table;

use super::errors::ConfigErrors;
use super::last_known_good::SourceText;

/// Reads and parses the TOML file at `path`; an unreadable or broken one is a error.
pub(crate) fn read_table(path: &Path, errors: &mut ConfigErrors) -> (Table, SourceText) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            errors.add(path.display().to_string(), format!("cannot be read: {error}"));
            return Default::default();
        }
    };
    match text.parse() {
        Ok(table) => (table, SourceText(text)),
        Err(error) => {
            let error: toml::de::Error = error;
            // The error's own display quotes the line, which may hold a secret.
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let message = error.message().lines().next().unwrap_or("not TOML");
            errors.add(format!("{}, line {line}", path.display()), message);
            Default::default()
        }
    }
}

/// Reads a secret out of a file of its own, without the white space around it.
pub(crate) fn read_secret(path: &str, key: &str, errors: &mut ConfigErrors) -> Option<Token> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Some(Token::new(&text)),
        Ok(_) => {
            errors.add_of_host(key, format!("the file {path} is empty"));
            None
        }
        Err(error) => {
            errors.add_of_host(key, format!("the file {path} cannot be read: {error}"));
            None
        }
    }
}
