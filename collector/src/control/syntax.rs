//! Whether an engine's configuration is YAML, TOML or JSON at all. What it means only the engine knows.
//!
//! YAML is read as events, so that aliases cost nothing: a file of a kilobyte can stand for gigabytes.

use std::collections::HashSet;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser};
use serde::de::IgnoredAny;
use systole_shared::ConfigFormat;
use toml::de::DeTable;

/// Levels of a configuration: the engines' own parsers end there.
const MAX_DEPTH: usize = 127;

/// The first place where a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub position: Position,
    pub message: String,
}

/// A place in a text; both numbers begin with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// The place of a byte in a text.
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Position { line, column }
    }
}

/// Checks that a configuration is a table in its format.
///
/// # Errors
///
/// The first fault and its place.
pub(crate) fn check(config: &str, format: ConfigFormat) -> Result<(), SyntaxError> {
    match format {
        ConfigFormat::Yaml => check_yaml(config),
        ConfigFormat::Toml => check_toml(config),
        ConfigFormat::Json => check_json(config),
    }
}

fn check_toml(config: &str) -> Result<(), SyntaxError> {
    let fault = |error: toml::de::Error| SyntaxError {
        position: Position::of(config, error.span().map_or(0, |span| span.start)),
        message: error.message().trim().replace('\n', ", "),
    };
    DeTable::parse(config).map(drop).map_err(fault)
}

fn check_json(config: &str) -> Result<(), SyntaxError> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(config) {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        let position = Position { line: error.line().max(1), column: error.column().max(1) };
        return Err(SyntaxError { position, message });
    }
    if config.trim_start().starts_with('{') {
        return Ok(());
    }
    Err(SyntaxError { position: Position { line: 1, column: 1 }, message: "expected an object".to_owned() })
}

/// A list or a table that is not complete yet.
enum Open {
    List,
    /// Its keys so far, and whether the next item is one.
    Table {
        keys: HashSet<String>,
        key_is_next: bool,
    },
}

fn check_yaml(config: &str) -> Result<(), SyntaxError> {
    let mut open: Vec<Open> = Vec::new();
    let mut documents = 0;
    let fault = |at: &Marker, message: String| SyntaxError {
        position: Position { line: at.line().max(1), column: at.col() + 1 },
        message,
    };
    for event in Parser::new_from_str(config) {
        let (event, span) = event.map_err(|error| fault(error.marker(), error.info().to_owned()))?;
        let is_item =
            matches!(event, Event::Scalar(..) | Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..));
        if is_item {
            if open.is_empty() && !matches!(event, Event::MappingStart(..)) {
                return Err(fault(&span.start, "expected a table of keys and values".to_owned()));
            }
            let key = if let Event::Scalar(text, ..) = &event { Some(text.as_ref()) } else { None };
            if let Some(key) = open.last_mut().and_then(|open| open.repeats(key)) {
                return Err(fault(&span.start, format!("the key {key:?} occurs twice")));
            }
        }
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(fault(&span.start, "a configuration is one document".to_owned()));
                }
            }
            Event::SequenceStart(..) => open.push(Open::List),
            Event::MappingStart(..) => open.push(Open::Table { keys: HashSet::new(), key_is_next: true }),
            Event::SequenceEnd | Event::MappingEnd => drop(open.pop()),
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return Err(fault(&span.start, format!("more than {MAX_DEPTH} levels")));
        }
    }
    if documents == 0 {
        let message = "there is no document, only space or comments".to_owned();
        return Err(SyntaxError { position: Position { line: 1, column: 1 }, message });
    }
    Ok(())
}

impl Open {
    /// Takes the next item, and returns its text if it is a key that was there before.
    fn repeats(&mut self, text: Option<&str>) -> Option<String> {
        let Open::Table { keys, key_is_next } = self else { return None };
        let is_key = std::mem::replace(key_is_next, !*key_is_next);
        match text {
            // Merges may be several.
            Some("<<") | None => None,
            Some(text) => (is_key && !keys.insert(text.to_owned())).then(|| text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(config: &str, format: ConfigFormat) -> (usize, usize, String) {
        let SyntaxError { position, message } = check(config, format).unwrap_err();
        (position.line, position.column, message)
    }

    #[test]
    fn configuration_is_valid_in_its_format() {
        let yaml = "# Vector\nsources:\n  in: &x {type: stdin, list: [a, b: 1]}\n  \"in 2\":\n    <<: *x\n    <<: *x\n";
        check(yaml, ConfigFormat::Yaml).unwrap();
        check("---\na: 1\n...\n", ConfigFormat::Yaml).unwrap();
        check("[sources.in]\ntype = \"stdin\"\n", ConfigFormat::Toml).unwrap();
        check(" {\"sources\": {}}", ConfigFormat::Json).unwrap();
    }

    #[test]
    fn fault_has_line_and_column() {
        let (line, column, _) = fault("sources:\n  in:\n    type: \"stdin\n", ConfigFormat::Yaml);
        assert!(line >= 3 && column >= 1);
        let (line, ..) = fault("a:\n  - b\n c: d\n", ConfigFormat::Yaml);
        assert_eq!(line, 3);
        let twice = fault("a: 1\nb:\n  c: 1\n  c: 2\n", ConfigFormat::Yaml);
        assert_eq!(twice, (4, 3, "the key \"c\" occurs twice".into()));
        assert_eq!(fault("a: *b\n", ConfigFormat::Yaml).0, 1);
        assert_eq!(fault("- a\n", ConfigFormat::Yaml).2, "expected a table of keys and values");
        assert_eq!(fault("# nothing\n", ConfigFormat::Yaml).0, 1);
        assert_eq!(fault("a: 1\n---\nb: 1\n", ConfigFormat::Yaml).2, "a configuration is one document");
        for deep in ["[".repeat(10_000), format!("a: {}", "[".repeat(10_000)), "- ".repeat(10_000)] {
            assert!(check(&deep, ConfigFormat::Yaml).is_err());
        }
        let nested: String = (0..MAX_DEPTH + 1).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert_eq!(fault(&nested, ConfigFormat::Yaml).2, "more than 127 levels");
        let (line, column, message) = fault("[a]\nx = 1\nx = 2\n", ConfigFormat::Toml);
        assert_eq!((line, column), (3, 1), "{message}");
        let (line, column, message) = fault("{\n  \"a\": 1,\n}", ConfigFormat::Json);
        assert_eq!((line, column), (3, 1), "{message}");
        assert_eq!(fault("[1]", ConfigFormat::Json).2, "expected an object");
    }
}
