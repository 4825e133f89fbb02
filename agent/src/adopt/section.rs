//! A `[[pipeline]]` section for a unit.

use std::collections::BTreeSet;
use std::path::Path;

use systole_shared::PipelineId;

use super::fluentbit;
use super::units::Unit;
use crate::topology::files::Engine;
use crate::topology::metrics::{self, Metrics};

/// A unit that runs an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) unit: Unit,
    engine: Kind,
    metrics: Metrics,
}

/// The engines that units run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vector,
    Otelcol,
    FluentBit,
}

impl Kind {
    /// As `metrics` of a pipeline names it.
    fn mapping(self) -> &'static str {
        match self {
            Kind::Vector => "vector",
            Kind::Otelcol => "otelcol",
            Kind::FluentBit => "fluentbit",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Vector => "Vector",
            Kind::Otelcol => "OpenTelemetry Collector",
            Kind::FluentBit => "Fluent Bit",
        }
    }
}

impl Found {
    /// What a unit runs, if it is an engine.
    pub(super) fn of(unit: &Unit) -> Option<Self> {
        let (engine, metrics) = match Engine::of(&unit.command) {
            Some(Engine::Vector) => (Kind::Vector, metrics::of_command(Engine::Vector, &unit.command)),
            Some(Engine::Otelcol) => (Kind::Otelcol, metrics::of_command(Engine::Otelcol, &unit.command)),
            None => {
                let name = Path::new(&unit.command.program).file_name()?.to_str()?;
                if !fluentbit::PROGRAMS.contains(&name) {
                    return None;
                }
                (Kind::FluentBit, fluentbit::metrics_of(&unit.command))
            }
        };
        Some(Found { unit: unit.clone(), engine, metrics })
    }

    /// What was found, in a line.
    pub(super) fn summary(&self) -> String {
        let engine = self.engine.name();
        match &self.metrics {
            Metrics::At(url) => format!("{engine}, metrics at {url}"),
            Metrics::Missing(_) => format!("{engine}, without metrics: the section says what to add"),
            Metrics::Unknown => format!("{engine}, its configuration cannot be read: add metrics_url yourself"),
        }
    }

    /// The section. Its id is none of `ids`, and is added to them.
    pub(super) fn section(&self, ids: &mut BTreeSet<String>) -> String {
        let Unit { name, command } = &self.unit;
        let id = free_id(name.strip_suffix(".service").unwrap_or(name), ids);
        let words = std::iter::once(&command.program).chain(&command.args);
        let words: Vec<&str> = words.map(String::as_str).collect();
        let shown = words.join(" ").replace(char::is_control, " ");
        let mut lines = vec![format!("# {name}: {shown}"), "[[pipeline]]".to_owned(), format!("id = {}", quoted(&id))];
        lines.push(format!("systemd_unit = {}", quoted(name)));
        lines.push("journal = true                  # its lines; needs the group systemd-journal".to_owned());
        match &self.metrics {
            Metrics::At(url) => lines.push(format!("metrics_url = {}", quoted(url))),
            Metrics::Missing(what) => {
                lines.push(format!(
                    "# {} serves no metrics. Add this to its configuration, and metrics_url here:",
                    self.engine.name()
                ));
                lines.extend(what.lines().map(|line| format!("#     {line}")));
                lines.push(format!("# metrics_url = {}", quoted(self.usual_url())));
            }
            Metrics::Unknown => {
                lines.push("# Its configuration cannot be read; set the address of its metrics:".to_owned());
                lines.push(format!("# metrics_url = {}", quoted(self.usual_url())));
            }
        }
        if self.engine != Kind::Vector {
            // Without the address the key would be an error.
            let mark = if matches!(self.metrics, Metrics::At(_)) { "" } else { "# " };
            lines.push(format!("{mark}metrics = {}", quoted(self.engine.mapping())));
        }
        lines.join("\n") + "\n"
    }

    fn usual_url(&self) -> &'static str {
        match self.engine {
            Kind::Vector => "http://127.0.0.1:9598/metrics",
            Kind::Otelcol => "http://127.0.0.1:8888/metrics",
            Kind::FluentBit => fluentbit::USUAL_URL,
        }
    }
}

/// An id like the unit's name that is not taken.
fn free_id(name: &str, ids: &mut BTreeSet<String>) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let plain: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '-' }).collect();
    let plain = if PipelineId::parse(&plain).is_ok() { plain } else { "pipeline".to_owned() };
    let numbered = (2..).map(|number| format!("{plain}-{number}"));
    let id = std::iter::once(plain.clone()).chain(numbered).find(|id| !ids.contains(id)).unwrap_or(plain);
    ids.insert(id.clone());
    id
}

/// As TOML: the same as JSON for these texts.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_free_and_plain() {
        let mut ids = BTreeSet::from(["vector".to_owned()]);
        assert_eq!(free_id("vector", &mut ids), "vector-2");
        assert_eq!(free_id("vector", &mut ids), "vector-3");
        assert_eq!(free_id("vector@eu\\x2d1", &mut ids), "vector-eu-x2d1");
    }
}
