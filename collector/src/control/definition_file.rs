//! The TOML file of a pipeline, as operators write it for `apply`. All errors at once, each with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use systole_shared::edit_distance::edit_distance;
use systole_shared::{ConfigFormat, PipelineId};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definition::Fault;
use super::syntax::Position;
use crate::config::parse_duration;
use crate::model::definition::{Batch, Definition, RolloutPolicy};

const KEYS: [&str; 10] =
    ["id", "name", "selector", "engine", "config", "config_file", "format", "secrets", "log_level", "rollout"];

const ROLLOUT_KEYS: [&str; 4] = ["canary", "batch", "healthy_for", "max_failed"];

/// A pipeline as its file describes it.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionFile {
    pub id: PipelineId,
    /// Without its `config` when that is in a file of its own.
    pub definition: Definition,
    /// The file of the engine's configuration, beside this one.
    pub config_file: Option<PathBuf>,
    places: Places,
}

/// Where each field is, by the name that the definition has for it.
type Places = BTreeMap<&'static str, Position>;

/// An error in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    pub position: Position,
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.position.line, self.position.column, self.message)
    }
}

impl DefinitionFile {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<FileError>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, errors: Vec::new(), places: Places::new() };
        for error in errors {
            reader.error(error.span().map_or(0, |span| span.start), error.message().trim().replace('\n', ", "));
        }
        // What follows an error of the syntax is often a consequence of it.
        let file = if reader.errors.is_empty() { reader.file(table.get_ref()) } else { None };
        match file {
            Some(file) if reader.errors.is_empty() => Ok(DefinitionFile { places: reader.places, ..file }),
            _ => {
                reader.errors.sort_by_key(|error| error.position);
                Err(reader.errors)
            }
        }
    }

    /// A fault of the definition as an error of this file. `None` when it is in the file of the configuration.
    pub(crate) fn error(&self, fault: &Fault) -> Option<FileError> {
        if fault.position.is_some() && self.config_file.is_some() {
            return None;
        }
        let known = |field: &str| self.places.get(field).copied();
        let group = fault.field.split('.').next().unwrap_or_default();
        let position = known(&fault.field).or_else(|| known(group)).unwrap_or(Position { line: 1, column: 1 });
        Some(FileError { position, message: fault.to_string() })
    }
}

struct Reader<'a> {
    text: &'a str,
    errors: Vec<FileError>,
    places: Places,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn error(&mut self, byte: usize, message: impl Into<String>) {
        self.errors.push(FileError { position: Position::of(self.text, byte), message: message.into() });
    }

    fn file(&mut self, table: &DeTable<'_>) -> Option<DefinitionFile> {
        self.refuse_unknown(table, &KEYS);
        let id = self.text(table, "id", "id").and_then(|(id, byte)| match PipelineId::parse(&id) {
            Ok(id) => Some(id),
            Err(fault) => {
                self.error(byte, format!("id: {fault}"));
                None
            }
        });
        let name = self.text(table, "name", "name").map(|(name, _)| name);
        let selector = self.conditions(table, "selector", "selector");
        let engine = self.text(table, "engine", "engine").map(|(engine, _)| engine);
        let config_file = self.text(table, "config_file", "config").map(|(path, _)| PathBuf::from(path));
        let config = self.text(table, "config", "config").map(|(config, _)| config);
        let format = self.format(table, config_file.as_deref());
        let secrets = self.secrets(table);
        let log_level = self.text(table, "log_level", "logLevel").map(|(level, _)| level);
        let rollout = self.rollout(table);
        for key in ["id", "selector", "engine"].into_iter().filter(|key| !table.contains_key(*key)) {
            self.error(0, format!("{key}: is missing"));
        }
        match (table.get("config"), table.get("config_file")) {
            (Some(_), Some(second)) => self.error(second.span().start, "config_file: config is there too, use one"),
            (None, None) => self.error(0, "config_file: is missing; or write the configuration in config"),
            _ => {}
        }
        let config = config.unwrap_or_default();
        let definition = Definition {
            name,
            selector: selector?,
            engine: engine?,
            config,
            format: format?,
            secrets,
            log_level,
            rollout,
        };
        Some(DefinitionFile { id: id?, definition, config_file, places: Places::new() })
    }

    fn refuse_unknown(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let nearest = known.iter().map(|known| (edit_distance(name, known), known)).min();
            let hint = match nearest {
                Some((distance, known)) if distance <= 2 => format!("did you mean {known}?"),
                _ => format!("expected one of {}", known.join(", ")),
            };
            self.error(key.span().start, format!("{name}: unknown key, {hint}"));
        }
    }

    /// A value and its place, noted as that of the definition's field.
    fn value<'t, 'a>(&mut self, table: &'t DeTable<'a>, key: &str, field: &'static str) -> Option<&'t Value<'a>> {
        let value = table.get(key)?;
        self.places.insert(field, Position::of(self.text, value.span().start));
        Some(value)
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str, field: &'static str) -> Option<(String, usize)> {
        let value = self.value(table, key, field)?;
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(key, value, "a text");
        }
        Some((text?, value.span().start))
    }

    fn wrong_type(&mut self, key: &str, value: &Value<'_>, expected: &str) {
        self.error(value.span().start, format!("{key}: must be {expected}, not {}", kind_of(value.get_ref())));
    }

    /// One condition or a list of them.
    fn conditions(&mut self, table: &DeTable<'_>, key: &str, field: &'static str) -> Option<Vec<String>> {
        let value = self.value(table, key, field)?;
        match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                let mut conditions = Vec::new();
                for item in items.iter() {
                    match item.get_ref().as_str() {
                        Some(text) => conditions.push(text.to_owned()),
                        None => self.wrong_type(key, item, "a list of texts"),
                    }
                }
                Some(conditions)
            }
            _ => {
                self.wrong_type(key, value, "a text or a list of texts");
                None
            }
        }
    }

    /// As it is named, or by the name of the configuration's file.
    fn format(&mut self, table: &DeTable<'_>, config_file: Option<&Path>) -> Option<ConfigFormat> {
        if table.contains_key("format") {
            let (name, byte) = self.text(table, "format", "format")?;
            let format = ConfigFormat::from_extension(&name);
            if format.is_none() {
                self.error(byte, format!("format: {name:?}, expected yaml, toml or json"));
            }
            return format;
        }
        let Some(file) = config_file else { return Some(ConfigFormat::Yaml) };
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let format = ConfigFormat::from_extension(&extension.to_ascii_lowercase());
        if format.is_none() {
            let byte = table.get("config_file").map_or(0, |value| value.span().start);
            self.error(byte, "config_file: must end with .yaml, .yml, .toml or .json, or format must say what it is");
        }
        format
    }

    fn secrets(&mut self, table: &DeTable<'_>) -> BTreeMap<String, String> {
        let mut secrets = BTreeMap::new();
        let Some(value) = self.value(table, "secrets", "secrets") else { return secrets };
        let DeValue::Table(variables) = value.get_ref() else {
            self.wrong_type("secrets", value, "a table of variables and names of secrets");
            return secrets;
        };
        for (variable, name) in variables.iter() {
            match name.get_ref().as_str() {
                Some(name) => drop(secrets.insert(variable.get_ref().to_string(), name.to_owned())),
                None => self.wrong_type(&format!("secrets.{}", variable.get_ref()), name, "the name of a secret"),
            }
        }
        secrets
    }

    fn rollout(&mut self, table: &DeTable<'_>) -> RolloutPolicy {
        let mut policy = RolloutPolicy::default();
        let Some(value) = self.value(table, "rollout", "rollout") else { return policy };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type("rollout", value, "a table");
            return policy;
        };
        self.refuse_unknown(table, &ROLLOUT_KEYS);
        policy.canary = self.conditions(table, "canary", "rollout.canary").unwrap_or_default();
        if let Some(batch) = self.batch(table) {
            policy.batch = batch;
        }
        if let Some((text, byte)) = self.text(table, "healthy_for", "rollout.healthyForMs") {
            match parse_duration(&text).map(|duration: Duration| duration.as_millis()) {
                Some(ms) => policy.healthy_for_ms = u64::try_from(ms).unwrap_or(u64::MAX),
                None => self.error(byte, format!("healthy_for: {text:?}, expected a duration such as 30s")),
            }
        }
        if let Some(value) = self.value(table, "max_failed", "rollout.maxFailed") {
            match integer(value.get_ref()).and_then(|text| text.parse().ok()) {
                Some(count) => policy.max_failed = count,
                None => self.wrong_type("max_failed", value, "a number of nodes from 0"),
            }
        }
        policy
    }

    /// `"10%"`, `"5"` or `5`.
    fn batch(&mut self, table: &DeTable<'_>) -> Option<Batch> {
        let value = self.value(table, "batch", "rollout.batch")?;
        let Some(text) = value.get_ref().as_str().or_else(|| integer(value.get_ref())) else {
            self.wrong_type("batch", value, "a number of nodes or a share such as \"10%\"");
            return None;
        };
        match text.parse() {
            Ok(batch) => Some(batch),
            Err(fault) => {
                self.error(value.span().start, format!("batch: {fault}"));
                None
            }
        }
    }
}

/// The digits of a decimal number.
fn integer<'t>(value: &'t DeValue<'_>) -> Option<&'t str> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
        _ => None,
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::check;
    use super::*;

    const EXAMPLE: &str = r#"
id = "orders"
name = "Orders"
selector = ["role=edge", "!canary"]
engine = "vector"
config_file = "orders.yaml"
secrets = { DB_PASSWORD = "prod/db" }
log_level = "info"
rollout = { canary = "canary=true", batch = "10%", healthy_for = "30s", max_failed = 1 }
"#;

    fn errors(text: &str) -> Vec<String> {
        DefinitionFile::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn example_is_read_as_it_is_meant() {
        let file = DefinitionFile::parse(EXAMPLE).unwrap();
        assert_eq!((file.id.as_str(), file.config_file.as_deref()), ("orders", Some(Path::new("orders.yaml"))));
        let expected = Definition {
            name: Some("Orders".into()),
            selector: vec!["role=edge".into(), "!canary".into()],
            engine: "vector".into(),
            config: String::new(),
            format: ConfigFormat::Yaml,
            secrets: [("DB_PASSWORD".to_owned(), "prod/db".to_owned())].into(),
            log_level: Some("info".into()),
            rollout: RolloutPolicy {
                canary: vec!["canary=true".into()],
                batch: Batch::Percent(10),
                healthy_for_ms: 30_000,
                max_failed: 1,
            },
        };
        assert_eq!(file.definition, expected);
        let short =
            "id = \"a\"\nselector = \"*\"\nengine = \"e\"\nconfig = \"\"\"\na: 1\n\"\"\"\n[rollout]\nbatch = 5\n";
        let file = DefinitionFile::parse(short).unwrap();
        assert_eq!((file.definition.rollout.batch, file.definition.config.as_str()), (Batch::Count(5), "a: 1\n"));
        assert_eq!(check(&file.definition), []);
    }

    #[test]
    fn all_errors_are_reported_with_line_and_column() {
        let text = "id = \"\"\nselectr = \"*\"\nengine = 7\nconfig_file = \"x.conf\"\nsecrets = { A = 1 }\n\
            [rollout]\nbatch = \"0%\"\nhealthy_for = \"soon\"\nmax_failed = -1\ncanry = \"x\"\n";
        let expected = [
            "1:1: selector: is missing",
            "1:6: id: is empty",
            "2:1: selectr: unknown key, did you mean selector?",
            "3:10: engine: must be a text, not a number",
            "4:15: config_file: must end with .yaml, .yml, .toml or .json, or format must say what it is",
            "5:17: secrets.A: must be the name of a secret, not a number",
            "7:9: batch: \"0%\", expected a number of nodes such as 5, or a share such as 10%",
            "8:15: healthy_for: \"soon\", expected a duration such as 30s",
            "9:14: max_failed: must be a number of nodes from 0, not a number",
            "10:1: canry: unknown key, did you mean canary?",
        ];
        assert_eq!(errors(text), expected);
        assert!(errors("id = \"a\nengine = [\n")[0].starts_with("1:"), "{:?}", errors("id = \"a\nengine = [\n"));
    }

    #[test]
    fn fault_of_the_definition_has_the_place_of_its_field() {
        let file = DefinitionFile::parse(&EXAMPLE.replace("\"info\"", "\"loud\"").replace("30s", "2h")).unwrap();
        let faults = check(&file.definition);
        let places: Vec<_> = faults.iter().filter_map(|fault| file.error(fault)).map(|error| error.position).collect();
        assert_eq!(places, [Position { line: 9, column: 66 }, Position { line: 8, column: 13 }]);
        assert_eq!(faults.iter().filter(|fault| file.error(fault).is_none()).count(), 1, "the configuration is empty");
    }
}
