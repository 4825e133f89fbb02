//! Reads what the collector may ask of this node: `accept_pipelines`, the `[engine.NAME]` tables, `push` and
//! `tap_redact`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use systole_shared::limits::MAX_SHORT_TEXT_BYTES;
use toml::Value;

use super::mappings::Mappings;
use super::section::Section;
use super::{command, settings};
use crate::model::centre::{
    API_PORT_PLACEHOLDER, CentreConfig, DedicatedConfig, EngineConfig, EngineMetrics, PORT_PLACEHOLDER, PortRange,
};
use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig};

/// The directory of the desired state in the data directory.
const DIR: &str = "desired";

/// Below are the ports of the system.
const MIN_PORT: u16 = 1_024;

/// Engines of one node: each is a program that an operator has installed.
const MAX_ENGINES: usize = 32;

/// Paths of keys that are redacted: each event is compared with all of them.
const MAX_REDACTED: usize = 64;

/// Reads all of it, and whether the file says anything of `accept_pipelines`. `dir` of the result is relative to the data directory, unless `desired_dir` is set.
pub(super) fn read(root: &mut Section<'_>, mappings: &Mappings) -> (CentreConfig, Option<bool>) {
    let said = root.flag("accept_pipelines");
    let accepts = said.unwrap_or(false);
    let push = root.flag("push").unwrap_or(true);
    let dir = command::absolute(root, "desired_dir").unwrap_or_else(|| PathBuf::from(DIR));
    let redact = root.texts("tap_redact").unwrap_or_default();
    if redact.len() > MAX_REDACTED {
        root.error("tap_redact", format!("has {} paths, at most {MAX_REDACTED} are allowed", redact.len()));
    }
    for path in redact.iter().filter(|path| path.split('.').any(|key| key.trim().is_empty())) {
        root.error(
            "tap_redact",
            format!("invalid path `{path}`, expected keys with dots, like \"password\" or \"*.token\""),
        );
    }
    let tables = root.table("engine").unwrap_or_default();
    if tables.len() > MAX_ENGINES {
        root.error("engine", format!("there are {}, at most {MAX_ENGINES} are allowed", tables.len()));
    }
    let mut engines = BTreeMap::new();
    for (name, value) in tables {
        let path = format!("engine \"{name}\"");
        let Value::Table(table) = value else {
            root.error("engine", format!("`{name}` must be a table, written as [engine.{name}]"));
            continue;
        };
        if name.trim().is_empty() || name.len() > MAX_SHORT_TEXT_BYTES || name.contains(char::is_control) {
            root.error("engine", "has a name that is empty, too long, or has control characters");
        }
        if let Some(engine) = read_one(Section::new(path, table, root.errors()), mappings) {
            engines.insert(name, engine);
        }
    }
    if accepts && engines.is_empty() {
        root.error(
            "accept_pipelines",
            "needs an engine that runs them, like [engine.vector] with command = [\"/usr/bin/vector\", \"--config\", \"{config}\"]",
        );
    }
    (CentreConfig { accepts, engines, dedicated: DedicatedConfig::default(), dir, push, redact }, said)
}

impl CentreConfig {
    /// The same with its directory in the data directory.
    pub(super) fn below(self, data_dir: &Path) -> Self {
        CentreConfig { dir: data_dir.join(&self.dir), ..self }
    }
}

fn read_one(mut section: Section<'_>, mappings: &Mappings) -> Option<EngineConfig> {
    let has_command = section.has("command");
    let command = command::read_engine(&mut section);
    if !has_command {
        section.error(
            "command",
            "is missing; write the program and its arguments, like [\"/usr/bin/vector\", \"--config\", \"{config}\"]",
        );
    }
    let run_as = section.text("run_as").filter(|user| is_user(user, &mut section));
    let ports = section.text("port_range").and_then(|text| read_ports(&text, &mut section));
    let metrics = read_metrics(&mut section, mappings);
    let api_url = read_template(&mut section, "api_url", API_PORT_PLACEHOLDER);
    let command = command.map(|command| CommandConfig { run_as, ..command });
    if let (Some(command), None) = (&command, ports) {
        let texts = command.args.iter().chain(command.validate.iter().flatten()).chain(command.env.values());
        let texts = texts.chain(metrics.as_ref().map(|metrics| &metrics.url)).chain(&api_url);
        if texts.into_iter().any(|text| text.contains(PORT_PLACEHOLDER) || text.contains(API_PORT_PLACEHOLDER)) {
            section.error("port_range", "is missing; {port} and {api_port} need one, like \"20000-20999\"");
        }
    }
    section.finish();
    Some(EngineConfig { command: command?, ports, metrics, api_url })
}

fn is_user(name: &str, section: &mut Section<'_>) -> bool {
    match nix::unistd::User::from_name(name) {
        Ok(Some(_)) => return true,
        Ok(None) => section.error("run_as", format!("there is no user `{name}` on this host")),
        Err(error) => section.error("run_as", format!("the user `{name}` cannot be looked up: {error}")),
    }
    false
}

fn read_ports(text: &str, section: &mut Section<'_>) -> Option<PortRange> {
    let range = text.split_once('-').and_then(|(first, last)| {
        Some(PortRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
    });
    match range {
        // Each pipeline needs two.
        Some(range) if range.first >= MIN_PORT && range.first < range.last => Some(range),
        _ => {
            section.error(
                "port_range",
                format!("invalid range `{text}`, expected FIRST-LAST, two ports or more from {MIN_PORT}, like \"20000-20999\""),
            );
            None
        }
    }
}

fn read_metrics(section: &mut Section<'_>, mappings: &Mappings) -> Option<EngineMetrics> {
    let has_url = section.has("metrics_url");
    let url = read_template(section, "metrics_url", PORT_PLACEHOLDER);
    let name = section.text("metrics");
    let count_internal = section.flag("count_internal");
    if !has_url {
        for (key, is_there) in [("metrics", name.is_some()), ("count_internal", count_internal.is_some())] {
            if is_there {
                section.error(key, "needs metrics_url");
            }
        }
    }
    let mapping = match name {
        None => mappings.default(),
        Some(name) => match mappings.get(&name) {
            Some(mapping) => mapping,
            None => {
                section.error(
                    "metrics",
                    format!("unknown mapping `{name}`, expected one of {}", mappings.names().join(", ")),
                );
                return None;
            }
        },
    };
    Some(EngineMetrics { url: url?, mapping, count_internal: count_internal.unwrap_or(false) })
}

/// An address in which a placeholder is the port. Each pipeline of an engine needs an address of its own.
fn read_template(section: &mut Section<'_>, key: &'static str, placeholder: &str) -> Option<String> {
    let text = section.text(key)?;
    if !text.contains(placeholder) {
        section.error(key, format!("must contain {placeholder}: each pipeline of the engine has a port of its own"));
        return None;
    }
    let example = text.replace(PORT_PLACEHOLDER, "20000").replace(API_PORT_PLACEHOLDER, "20001");
    match settings::http_url(&example) {
        Ok(_) => Some(text),
        Err(what) => {
            section.error(key, what);
            None
        }
    }
}

/// Notes a command that does not say where its configuration goes.
pub(super) fn check_placeholder(section: &mut Section<'_>, args: &[String]) {
    if !args.iter().any(|arg| arg.contains(CONFIG_PLACEHOLDER)) {
        section
            .error("command", format!("must contain {CONFIG_PLACEHOLDER}, where the path of the configuration goes"));
    }
}
