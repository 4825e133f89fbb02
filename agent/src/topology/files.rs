//! Which files the configuration of a command is in: what the engine itself would read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use systole_shared::ConfigFormat;

use super::glob;
use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig};

/// Bytes of one file: far above any that an operator wrote.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Files of one configuration.
const MAX_FILES: usize = 1_000;

/// What Vector reads without options.
const VECTOR_DEFAULT: &str = "/etc/vector/vector.yaml";

/// Folders of a configuration directory of Vector whose files hold one component each.
const VECTOR_SECTIONS: [&str; 4] = ["sources", "transforms", "sinks", "enrichment_tables"];

/// What stands for a variable that is not set. Vector would not start; the graph does not depend on it.
const UNSET: &str = "0";

/// An engine whose configuration is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Vector.
    Vector,
    /// The OpenTelemetry Collector, also in other distributions.
    Otelcol,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigText {
    /// Its content, with variables filled in.
    pub(crate) text: String,
    /// What it is written in.
    pub(crate) format: ConfigFormat,
    /// For a file that holds one component: its section and id.
    pub(crate) component: Option<(&'static str, String)>,
}

impl Engine {
    /// The engine that a command runs, by the name of its program.
    pub(crate) fn of(command: &CommandConfig) -> Option<Self> {
        let name = Path::new(&command.program).file_name()?.to_str()?;
        if name == "vector" {
            Some(Engine::Vector)
        } else if name.starts_with("otelcol") || name == "otel-collector" || name == "opentelemetry-collector" {
            Some(Engine::Otelcol)
        } else {
            None
        }
    }
}

/// The files of a configuration, in the order in which the engine reads them.
pub(crate) fn find(engine: Engine, command: &CommandConfig, content: Option<&[u8]>) -> Option<Vec<ConfigText>> {
    let finder = Finder { command, content };
    let mut found = match engine {
        Engine::Vector => finder.of_vector(),
        Engine::Otelcol => finder.of_otelcol(),
    };
    found.truncate(MAX_FILES);
    (!found.is_empty()).then_some(found)
}

struct Finder<'c> {
    command: &'c CommandConfig,
    content: Option<&'c [u8]>,
}

impl Finder<'_> {
    fn of_vector(&self) -> Vec<ConfigText> {
        let mut found = Vec::new();
        for (option, value) in self.options() {
            let format = match option {
                "--config-yaml" => Some(ConfigFormat::Yaml),
                "--config-toml" => Some(ConfigFormat::Toml),
                "--config-json" => Some(ConfigFormat::Json),
                "--config" | "-c" => None,
                "--config-dir" | "-C" => {
                    found.extend(self.of_directory(&self.path(&value)));
                    continue;
                }
                _ => continue,
            };
            // One argument may hold several paths.
            for path in value.split(',') {
                for path in expand(&self.path(path)) {
                    found.extend(self.read(&path, format));
                }
            }
        }
        if found.is_empty() {
            let named = self.command.env.get("VECTOR_CONFIG").map_or(VECTOR_DEFAULT, String::as_str);
            found.extend(self.read(&self.path(named), None));
        }
        found
    }

    fn of_otelcol(&self) -> Vec<ConfigText> {
        let configs = self.options().into_iter().filter(|(option, _)| *option == "--config");
        configs
            .filter_map(|(_, value)| {
                let path = value.strip_prefix("file:").unwrap_or(&value);
                self.read(&self.path(path), Some(ConfigFormat::Yaml))
            })
            .collect()
    }

    /// The options with their values, `--option value` and `--option=value` alike.
    fn options(&self) -> Vec<(&str, String)> {
        let args = &self.command.args;
        let mut options = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            if let Some((option, value)) = arg.split_once('=').filter(|(option, _)| option.starts_with('-')) {
                options.push((option, value.to_owned()));
            } else if let Some(value) = args.get(index + 1).filter(|_| arg.starts_with('-')) {
                options.push((arg.as_str(), value.clone()));
            }
        }
        options
    }

    fn path(&self, text: &str) -> PathBuf {
        match &self.command.working_dir {
            Some(dir) => dir.join(text),
            None => PathBuf::from(text),
        }
    }

    /// A directory: whole files, and folders whose files hold one component each.
    fn of_directory(&self, dir: &Path) -> Vec<ConfigText> {
        let mut found: Vec<_> = files_of(dir).iter().filter_map(|path| self.read(path, None)).collect();
        for section in VECTOR_SECTIONS {
            for path in files_of(&dir.join(section)) {
                let id = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
                if let (Some(id), Some(mut text)) = (id, self.read(&path, None)) {
                    text.component = Some((section, id));
                    found.push(text);
                }
            }
        }
        found
    }

    /// Reads a file, in this format or in that of its name.
    fn read(&self, path: &Path, format: Option<ConfigFormat>) -> Option<ConfigText> {
        let is_placeholder = path.to_str().is_some_and(|path| path.ends_with(CONFIG_PLACEHOLDER));
        let source = self.command.config_file.as_deref();
        let known = self.content.filter(|_| is_placeholder || source == Some(path));
        let named = if is_placeholder { source? } else { path };
        let format = format.or_else(|| ConfigFormat::from_extension(named.extension()?.to_str()?))?;
        let text = match known {
            Some(content) => String::from_utf8(content.to_vec()).ok()?,
            None => read(named)?,
        };
        let is_literal = self.command.args.iter().any(|arg| arg == "--disable-env-var-interpolation");
        let text = if is_literal { text } else { fill_in(&text, &self.command.env) };
        Some(ConfigText { text, format, component: None })
    }
}

fn read(path: &Path) -> Option<String> {
    // A pipe would block until a process writes to it.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The files of a directory by name, without hidden ones.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().take(MAX_FILES).map(|entry| entry.path());
    let is_shown = |path: &PathBuf| {
        path.is_file() && path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    let mut paths: Vec<_> = paths.filter(is_shown).collect();
    paths.sort();
    paths
}

/// The files that a path with wildcards in its last part stands for.
fn expand(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| glob::is_pattern(name));
    let (Some(name), Some(dir)) = (name, path.parent()) else { return vec![path.to_owned()] };
    let is_meant =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|own| glob::matches(name, own));
    files_of(dir).into_iter().filter(is_meant).collect()
}

/// Fills in `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}`, as Vector does before it parses; `$$` is
/// a dollar. The agent's own environment is the process's, too.
fn fill_in(text: &str, env: &BTreeMap<String, String>) -> String {
    let value = |name: &str| env.get(name).cloned().or_else(|| std::env::var(name).ok());
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(more) = after.strip_prefix('$') {
            filled.push('$');
            rest = more;
        } else if let Some((inner, more)) = after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            let end = inner.find(|letter: char| !is_name(letter)).unwrap_or(inner.len());
            let (name, default) = inner.split_at(end);
            let default = default.trim_start_matches([':', '-', '?']);
            let default = if default.is_empty() { UNSET } else { default };
            filled.push_str(&value(name).unwrap_or_else(|| default.to_owned()));
            rest = more;
        } else {
            let end = after.find(|letter: char| !is_name(letter)).unwrap_or(after.len());
            let (name, more) = after.split_at(end);
            match value(name) {
                Some(value) if !name.is_empty() => filled.push_str(&value),
                _ if name.is_empty() => filled.push('$'),
                _ => filled.push_str(UNSET),
            }
            rest = more;
        }
    }
    filled + rest
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_before_parsing() {
        let env = BTreeMap::from([("A".to_owned(), "one".to_owned())]);
        let filled = fill_in("a = \"$A ${A} ${B_NOT_SET:-two} ${B_NOT_SET} $$A $1.5 5$\" # $B_NOT_SET\n", &env);
        assert_eq!(filled, "a = \"one one two 0 $A 0.5 5$\" # 0\n");
    }
}
