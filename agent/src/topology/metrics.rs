//! Where an engine serves its own metrics, by its configuration.

use super::document::Node;
use super::files::{self, Engine};
use super::vector;
use crate::model::pipeline::CommandConfig;

/// Where Vector's exporter listens when its configuration does not say.
const VECTOR_ADDRESS: &str = "0.0.0.0:9598";

/// Where the OpenTelemetry Collector serves its metrics when its configuration does not say.
const OTELCOL_ADDRESS: &str = "localhost:8888";

/// What is known of an engine's metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// They are served at this address.
    At(String),
    /// They are not served, and this is what to add.
    Missing(&'static str),
    /// The configuration cannot be read.
    Unknown,
}

const ADD_TO_VECTOR: &str = "\
sources:
  internal_metrics: { type: internal_metrics }
sinks:
  metrics: { type: prometheus_exporter, inputs: [internal_metrics], address: 127.0.0.1:9598 }";

const ADD_TO_OTELCOL: &str = "\
service:
  telemetry:
    metrics:
      level: normal
      readers: [{ pull: { exporter: { prometheus: { host: 127.0.0.1, port: 8888 } } } }]";

/// Reads it for a command of an engine. Blocks.
pub(crate) fn of_command(engine: Engine, command: &CommandConfig) -> Metrics {
    let Some(found) = files::find(engine, command, None) else { return Metrics::Unknown };
    let Some(whole) = vector::merged(&found) else { return Metrics::Unknown };
    match engine {
        Engine::Vector => of_vector(&whole),
        Engine::Otelcol => of_otelcol(&whole),
    }
}

fn of_vector(whole: &Node) -> Metrics {
    let of_type = |section: &str, name: &str| {
        let all = whole.get(section).and_then(Node::table).into_iter().flatten();
        let is_it = |(_, node): &(&String, &Node)| node.get("type").and_then(Node::text) == Some(name);
        all.filter(is_it).map(|(id, node)| (id.clone(), node.clone())).collect::<Vec<_>>()
    };
    let own: Vec<String> = of_type("sources", "internal_metrics").into_iter().map(|(id, _)| id).collect();
    let exporters = of_type("sinks", "prometheus_exporter");
    let is_fed = |node: &Node| {
        let inputs = node.get("inputs").map(Node::texts).unwrap_or_default();
        inputs.iter().any(|input| own.iter().any(|id| id == input || super::glob::matches(input, id)))
    };
    // One that is fed through a transform is better than none.
    let exporter = exporters.iter().find(|(_, node)| is_fed(node)).or(exporters.first().filter(|_| !own.is_empty()));
    let Some((_, node)) = exporter else { return Metrics::Missing(ADD_TO_VECTOR) };
    let has_tls = node.get("tls").is_some_and(|tls| tls.is_true("enabled"));
    let address = node.get("address").and_then(Node::text).unwrap_or(VECTOR_ADDRESS);
    Metrics::At(url(if has_tls { "https" } else { "http" }, address))
}

fn of_otelcol(whole: &Node) -> Metrics {
    let metrics = whole.get("service").and_then(|service| service.get("telemetry")?.get("metrics"));
    let Some(metrics) = metrics else { return Metrics::At(url("http", OTELCOL_ADDRESS)) };
    if metrics.get("level").and_then(Node::text) == Some("none") {
        return Metrics::Missing(ADD_TO_OTELCOL);
    }
    if let Some(Node::List(readers)) = metrics.get("readers") {
        let exporter = readers.iter().find_map(|reader| reader.get("pull")?.get("exporter")?.get("prometheus"));
        let Some(exporter) = exporter else { return Metrics::Missing(ADD_TO_OTELCOL) };
        let text = |key: &str| exporter.get(key).and_then(Node::text);
        return Metrics::At(url(
            "http",
            &format!("{}:{}", text("host").unwrap_or("localhost"), text("port").unwrap_or("8888")),
        ));
    }
    Metrics::At(url("http", metrics.get("address").and_then(Node::text).unwrap_or(OTELCOL_ADDRESS)))
}

/// The address as this host reaches it.
pub(crate) fn url(scheme: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = match host {
        "0.0.0.0" | "" | "::" | "[::]" | "localhost" => "127.0.0.1",
        other => other,
    };
    format!("{scheme}://{host}:{port}/metrics")
}

#[cfg(test)]
mod tests {
    use systole_shared::ConfigFormat;

    use super::*;

    fn yaml(text: &str) -> Node {
        Node::parse(text, ConfigFormat::Yaml).unwrap()
    }

    #[test]
    fn exporter_of_vector_is_found() {
        let own = "sources: {own: {type: internal_metrics}}\nsinks:\n  x: {type: prometheus_exporter, inputs: [a], address: \"1.2.3.4:1\"}\n";
        let fed = format!("{own}  y: {{type: prometheus_exporter, inputs: [o*], address: \"0.0.0.0:9600\"}}\n");
        assert_eq!(of_vector(&yaml(&fed)), Metrics::At("http://127.0.0.1:9600/metrics".to_owned()));
        assert_eq!(of_vector(&yaml(own)), Metrics::At("http://1.2.3.4:1/metrics".to_owned()));
        let usual = "sources: {own: {type: internal_metrics}}\nsinks: {x: {type: prometheus_exporter, inputs: [own], tls: {enabled: true}}}";
        assert_eq!(of_vector(&yaml(usual)), Metrics::At("https://127.0.0.1:9598/metrics".to_owned()));
        assert!(
            matches!(of_vector(&yaml("sources: {a: {type: file}}")), Metrics::Missing(what) if what.contains("internal_metrics"))
        );
    }

    #[test]
    fn telemetry_of_otelcol_is_found() {
        let at = |text: &str| of_otelcol(&yaml(text));
        assert_eq!(at("service: {}"), Metrics::At("http://127.0.0.1:8888/metrics".to_owned()));
        let old = "service: {telemetry: {metrics: {address: \"0.0.0.0:8889\"}}}";
        assert_eq!(at(old), Metrics::At("http://127.0.0.1:8889/metrics".to_owned()));
        let new = "service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8890}}}}]}}}";
        assert_eq!(at(new), Metrics::At("http://127.0.0.1:8890/metrics".to_owned()));
        for none in ["{level: none}", "{readers: [{periodic: {exporter: {otlp: {}}}}]}"] {
            assert!(
                matches!(at(&format!("service: {{telemetry: {{metrics: {none}}}}}")), Metrics::Missing(_)),
                "{none}"
            );
        }
    }
}
