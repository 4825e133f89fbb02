//! Which components of a page are the engine's own monitoring.
//!
//! A Vector that exports its own metrics has a source of them, and a sink that serves them. Both are
//! components as all others, but what they count is not what the pipeline moves.
//!
//! A page does not say which sink is fed by which source. The rule is cautious: a sink is internal
//! when every source is, or when it serves metrics and nothing but internal sources makes any. With the topology
//! of the configuration no rule is needed: internal is what is fed by internal sources only.

use std::collections::{HashMap, HashSet};

use systole_shared::{ComponentKind, Topology};

use super::page::ScrapedComponent;
use crate::model::mapping::Role;

/// Marks the components that are the engine's own monitoring.
pub(crate) fn mark(components: &mut [ScrapedComponent]) {
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

/// Marks them by the topology. Components that it does not have stay as they are.
pub(super) fn mark_by(components: &mut [ScrapedComponent], topology: &Topology) {
    let own: HashSet<&str> =
        components.iter().filter(|one| one.role == Role::Source).map(|one| one.id.as_str()).collect();
    if own.is_empty() {
        return;
    }
    let mut readers: HashMap<&str, Vec<&str>> = HashMap::new();
    for edge in &topology.edges {
        readers.entry(&edge.from).or_default().push(&edge.to);
    }
    let sources = topology.components.iter().filter(|component| component.kind == ComponentKind::Source);
    // A source that the page does not show moves events as well.
    let mut next: Vec<&str> = sources.map(|source| source.id.as_str()).filter(|id| !own.contains(id)).collect();
    let mut moved: HashSet<&str> = HashSet::new();
    while let Some(id) = next.pop() {
        if moved.insert(id) {
            next.extend(readers.get(id).into_iter().flatten());
        }
    }
    let fed: HashSet<&str> = topology.edges.iter().map(|edge| edge.to.as_str()).collect();
    let own: HashSet<String> = own.into_iter().map(str::to_owned).collect();
    for component in components {
        if fed.contains(component.id.as_str()) {
            component.is_internal = !moved.contains(component.id.as_str());
        } else if own.contains(&component.id) {
            component.is_internal = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::{ComponentKind, Topology, TopologyComponent, TopologyEdge};

    use crate::scrape::page::Scrape;

    /// The ids of the internal components among these: id, kind and type.
    fn internal(engine: &str, components: &[(&str, &str, &str)]) -> Vec<String> {
        let mapping = crate::config::built_in_mappings().find(|mapping| mapping.name() == engine).unwrap();
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
        let scrape = Scrape::of(body.as_bytes(), &mapping);
        assert_eq!(scrape.components.len(), components.len(), "all stay visible");
        scrape.components.into_iter().filter(|one| one.is_internal).map(|one| one.id).collect()
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
    fn with_the_topology_internal_is_what_internal_sources_feed() {
        let mapping = crate::config::vector_mapping();
        let components = [OWN, FILES, ("made", "transform", "log_to_metric"), EXPORTER, OUT, ("late", "sink", "loki")];
        let series = |(id, kind, component_type): &(&str, &str, &str)| {
            format!(
                "component_sent_events_total{{component_id=\"{id}\",component_kind=\"{kind}\",component_type=\"{component_type}\"}} 1\n"
            )
        };
        let page: String = components.iter().map(series).collect();
        let internal = |edges: &[(&str, &str)]| {
            let mut scrape = Scrape::of(page.as_bytes(), &mapping);
            let edges = edges.iter().map(|(from, to)| TopologyEdge {
                from: (*from).to_owned(),
                output: None,
                to: (*to).to_owned(),
            });
            let kinds = [("own", ComponentKind::Source), ("files", ComponentKind::Source)];
            let components =
                kinds.map(|(id, kind)| TopologyComponent { id: id.to_owned(), kind, component_type: String::new() });
            scrape.mark_internal(&Topology { components: components.into(), edges: edges.collect() });
            let found = scrape.components.into_iter().filter(|one| one.is_internal).map(|one| one.id);
            found.collect::<Vec<_>>()
        };
        // By the page alone the exporter counts here, because a transform makes metrics.
        assert_eq!(internal(&[("own", "prom"), ("files", "made"), ("made", "out")]), ["own", "prom"]);
        assert_eq!(internal(&[("own", "prom"), ("files", "made"), ("made", "prom")]), ["own"]);
        assert_eq!(internal(&[("own", "made"), ("made", "out"), ("files", "prom")]), ["own", "made", "out"]);
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
