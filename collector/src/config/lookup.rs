//! Reads settings from flags, environment and file, and collects the errors.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::without_password;

/// The file that is read when none is named and this one exists, as the packages install it.
pub(crate) const DEFAULT_FILE: &str = "/etc/systole/collector.toml";

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The sources of values. Keys are those of the file.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Values of flags.
    pub flags: BTreeMap<&'static str, String>,
    /// Values of the environment, by the name of the variable.
    pub environment: BTreeMap<String, String>,
    /// The file, and its name for messages.
    pub file: Option<(PathBuf, String)>,
}

impl Sources {
    /// With the environment of this process.
    pub(crate) fn from_process(
        flags: BTreeMap<&'static str, String>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        let environment = own_variables(std::env::vars_os())?;
        let named = file.map(Path::to_owned).or_else(|| environment.get("SYSTOLE_CONFIG").map(PathBuf::from));
        let named = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        let file = match named {
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| ConfigErrors(vec![format!("config: cannot read {}: {error}", path.display())]))?;
                Some((path, text))
            }
            None => None,
        };
        Ok(Sources { flags, environment, file })
    }
}

/// Variables that may be settings. The others are none of our business, whatever they hold.
pub(super) fn own_variables(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut own = BTreeMap::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SYSTOLE_")) else { continue };
        match value.into_string() {
            Ok(value) => {
                own.insert(name.to_owned(), value);
            }
            Err(value) => mistakes.push(format!("{name}: {value:?} is not UTF-8")),
        }
    }
    if mistakes.is_empty() { Ok(own) } else { Err(ConfigErrors(mistakes)) }
}

/// An entry of a list.
#[derive(Clone, Debug)]
pub(super) struct ListEntry {
    /// Its place in the list.
    pub index: usize,
    pub name: Option<String>,
    pub url: String,
}

/// Looks settings up, and remembers which there are.
pub(super) struct Lookup<'a> {
    sources: &'a Sources,
    file: toml::Table,
    known: BTreeSet<&'static str>,
    pub mistakes: Vec<String>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        let mut mistakes = Vec::new();
        let file = match &sources.file {
            Some((path, text)) => text.parse::<toml::Table>().unwrap_or_else(|error| {
                mistakes.push(format!("{}: {}", path.display(), error.to_string().trim_end()));
                toml::Table::new()
            }),
            None => toml::Table::new(),
        };
        Lookup { sources, file, known: BTreeSet::new(), mistakes }
    }

    /// The value of a key from the first source that has it.
    pub(super) fn get<T>(&mut self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.known.insert(key);
        let variable = variable(key);
        let (text, place) = if let Some(text) = self.sources.flags.get(key) {
            (text.clone(), format!("--{}", key.replace('_', "-")))
        } else if let Some(text) = self.sources.environment.get(&variable) {
            (text.clone(), variable)
        } else if let Some(value) = self.file.get(key) {
            match value {
                toml::Value::String(text) => (text.clone(), key.to_owned()),
                toml::Value::Integer(number) => (number.to_string(), key.to_owned()),
                toml::Value::Boolean(flag) => (flag.to_string(), key.to_owned()),
                other => {
                    self.mistakes
                        .push(format!("{key}: must be a string, a number, true or false, is a {}", other.type_str()));
                    return default;
                }
            }
        } else {
            return default;
        };
        parse(text.trim()).unwrap_or_else(|fault| {
            let shown = without_password(&text);
            self.errors().push(format!("{place}: invalid value {shown:?}: {fault}"));
            default
        })
    }

    /// All errors so far, to add more.
    pub(super) fn errors(&mut self) -> &mut Vec<String> {
        &mut self.mistakes
    }

    /// The same for a value that is a secret: an error does not show it.
    pub(super) fn get_hidden<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let text = self.get(key, None, |text| Ok(Some(text.to_owned())));
        let Some(text) = text else { return default };
        parse(&text).unwrap_or_else(|fault| {
            self.errors().push(format!("{key}: invalid value: {fault}"));
            default
        })
    }

    /// A table of the file.
    pub(super) fn table(&mut self, key: &'static str) -> Option<toml::Value> {
        self.known.insert(key);
        self.file.get(key).cloned()
    }

    /// A list whose entries are texts, or tables with `name` and `url`. A variable has texts between spaces.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<ListEntry> {
        self.known.insert(key);
        if let Some(text) = self.sources.environment.get(&variable(key)) {
            let entry = |(index, url): (usize, &str)| ListEntry { index, name: None, url: url.to_owned() };
            return text.split_whitespace().enumerate().map(entry).collect();
        }
        let list = match self.file.get(key).cloned() {
            None => return Vec::new(),
            Some(toml::Value::Array(list)) => list,
            Some(text @ toml::Value::String(_)) => vec![text],
            Some(other) => {
                let kind = other.type_str();
                self.errors().push(format!("{key}: must be a list, is a {kind}"));
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let text = |key: &str| entry.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            match entry {
                toml::Value::String(text) => entries.push(ListEntry { index, name: None, url: text.clone() }),
                toml::Value::Table(table) if table.keys().all(|key| key == "name" || key == "url") => {
                    match text("url") {
                        Some(url) => entries.push(ListEntry { index, name: text("name"), url }),
                        None => self.errors().push(format!("{key}[{index}].url: is missing")),
                    }
                }
                _ => self.errors().push(format!("{key}[{index}]: must be an address, or a table with name and url")),
            }
        }
        entries
    }

    /// Returns all errors, also those of unknown settings.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        for key in self.file.keys().filter(|key| !self.known.contains(key.as_str())) {
            let known: Vec<_> = self.known.iter().copied().collect();
            self.mistakes.push(format!("{key}: unknown setting, expected one of {}", known.join(", ")));
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors(self.mistakes)) }
    }
}

fn variable(key: &str) -> String {
    format!("SYSTOLE_{}", key.to_uppercase())
}
