//! Which components of a page are the engine's own monitoring.
//!
//! A Vector that exports its own metrics has a source of them, and a sink that serves them. Both are
//! components as all others, but what they count is not what the pipeline moves.
//!
//! A page does not say which sink is fed by which source. The rule is cautious: a sink is internal
//! when every source is, or when it serves metrics and nothing but internal sources makes any.

use systole_shared::ComponentKind;

use super::reading::ComponentReading;

/// The types of components that matter here, as an engine calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InternalTypes {
    /// The label that holds a component's type. Without one the type is the component's name up to
    /// the first dot or slash.
    pub(crate) type_label: Option<String>,
    /// Sources of the engine's own metrics and logs, and of its host's metrics.
    pub(crate) sources: Vec<String>,
    /// Sinks that serve metrics to scrapers.
    pub(crate) exporters: Vec<String>,
    /// Components that make metrics of the user's own; an exporter may be fed by them.
    pub(crate) makers: Vec<String>,
}

/// What a component may be in the engine's own monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    #[default]
    None,
    /// A source of it.
    Source,
    /// A sink that may serve it.
    Exporter,
    /// It makes metrics that are no monitoring of the engine.
    Maker,
}

impl InternalTypes {
    /// The role of a component of this kind and type.
    pub(crate) fn role(&self, kind: ComponentKind, component_type: &str) -> Role {
        let is_in = |types: &[String]| types.iter().any(|known| known == component_type);
        match kind {
            ComponentKind::Source if is_in(&self.sources) => Role::Source,
            ComponentKind::Sink if is_in(&self.exporters) => Role::Exporter,
            _ if is_in(&self.makers) => Role::Maker,
            _ => Role::None,
        }
    }
}

/// Marks the components that are the engine's own monitoring.
pub(crate) fn mark(components: &mut [ComponentReading]) {
    let sources = || components.iter().filter(|component| component.kind == ComponentKind::Source);
    if !sources().any(|source| source.role == Role::Source) {
        return;
    }
    let all = sources().all(|source| source.role == Role::Source);
    let has_makers = components.iter().any(|component| component.role == Role::Maker);
    for component in components {
        component.is_internal = all
            || match component.role {
                Role::Source => true,
                Role::Exporter => !has_makers,
                Role::Maker | Role::None => false,
            };
    }
}

#[cfg(test)]
mod tests {
    use crate::scrape::mapping::Mapping;
    use crate::scrape::reading::Reading;

    /// The ids of the internal components among these: id, kind and type.
    fn internal(engine: &str, components: &[(&str, &str, &str)]) -> Vec<String> {
        let mapping = Mapping::built_in().find(|mapping| mapping.name() == engine).unwrap();
        let mut body = String::new();
        for (id, kind, component_type) in components {
            body.push_str(&match engine {
                "vector" => format!(
                    "component_sent_events_total{{component_id=\"{id}\",component_kind=\"{kind}\",component_type=\"{component_type}\"}} 1\n"
                ),
                _ if *kind == "source" => format!("fluentbit_input_records_total{{name=\"{id}\"}} 1\n"),
                _ => format!("fluentbit_output_proc_records_total{{name=\"{id}\"}} 1\n"),
            });
        }
        let reading = Reading::of(body.as_bytes(), &mapping);
        assert_eq!(reading.components.len(), components.len(), "all stay visible");
        reading.components.into_iter().filter(|one| one.is_internal).map(|one| one.id).collect()
    }

    const OWN: (&str, &str, &str) = ("own", "source", "internal_metrics");
    const EXPORTER: (&str, &str, &str) = ("prom", "sink", "prometheus_exporter");
    const FILES: (&str, &str, &str) = ("files", "source", "file");
    const OUT: (&str, &str, &str) = ("out", "sink", "loki");

    #[test]
    fn own_metrics_and_their_exporter_are_internal() {
        assert_eq!(internal("vector", &[FILES, OUT, OWN, EXPORTER]), ["own", "prom"]);
        let more = [FILES, ("logs", "source", "internal_logs"), ("host", "source", "host_metrics"), OUT];
        assert_eq!(internal("vector", &more), ["logs", "host"]);
    }

    #[test]
    fn an_exporter_of_other_metrics_counts() {
        for maker in [("stats", "source", "statsd"), ("made", "transform", "log_to_metric")] {
            assert_eq!(internal("vector", &[FILES, OUT, OWN, EXPORTER, maker]), ["own"], "{maker:?}");
        }
        assert_eq!(internal("vector", &[FILES, EXPORTER, OUT]), [""; 0]);
    }

    #[test]
    fn everything_is_internal_when_every_source_is() {
        assert_eq!(internal("vector", &[OWN, OUT]), ["own", "out"]);
    }

    #[test]
    fn the_type_is_part_of_the_name_where_no_label_holds_it() {
        let components = [
            ("tail.0", "source", ""),
            ("fluentbit_metrics.1", "source", ""),
            ("loki.0", "sink", ""),
            ("prometheus_exporter.1", "sink", ""),
        ];
        assert_eq!(internal("fluentbit", &components), ["input/fluentbit_metrics.1", "output/prometheus_exporter.1"]);
    }
}
