//! `GET /metrics?fleet=1`: states and counters of nodes and pipelines, for a Prometheus that has alerts and dashboards of its own.
//!
//! Counters begin with the process: Prometheus takes that for a restart. A page has a bound; what it leaves out is counted on it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::app::App;
use crate::model::EnvironmentKey;
use crate::model::watched::WatchedNode;
use crate::timeseries::minute_windows::WindowSums;

/// Series on one page: some 25 MB. A fleet of 10,000 nodes with two pipelines each has 210,000.
const MAX_SERIES: usize = 250_000;

/// Series of a node, and of a pipeline on it.
const NODE_SERIES: usize = 1;
const PIPELINE_SERIES: usize = 9;

/// One metric and its lines.
struct Page {
    families: Vec<(&'static str, &'static str, &'static str, String)>,
}

impl Page {
    fn new() -> Self {
        let family = |name, kind, help| (name, kind, help, String::new());
        Page {
            families: vec![
                family("systole_node_up", "gauge", "1 while reports of the node arrive"),
                family("systole_pipeline_status", "gauge", "1 for the state that the pipeline has"),
                family("systole_pipeline_events_total", "counter", "Events, by direction"),
                family("systole_pipeline_bytes_total", "counter", "Bytes, by direction"),
                family("systole_pipeline_errors_total", "counter", "Errors"),
                family("systole_pipeline_discarded_total", "counter", "Events that components discarded"),
                family("systole_pipeline_logs_dropped_total", "counter", "Log lines that were dropped"),
                family("systole_pipeline_buffer_fill", "gauge", "How full the fullest buffer is, 0 to 1"),
            ],
        }
    }

    fn add(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        if let Some((.., text)) = self.families.iter_mut().find(|(known, ..)| *known == name) {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    }

    fn finish(self, left_out: usize) -> String {
        let mut page = String::new();
        for (name, kind, help, text) in self.families {
            let _ = write!(page, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{text}");
        }
        let name = "systole_fleet_series_left_out";
        let _ = write!(
            page,
            "# HELP {name} Series that are not on this page because there are too many.\n# TYPE {name} gauge\n{name} {left_out}\n"
        );
        page
    }
}

/// The page.
pub(super) fn write(app: &App) -> String {
    let mut nodes = app.watched.all();
    nodes.sort_by(|a, b| (a.environment, &a.name, a.key).cmp(&(b.environment, &b.name, b.key)));
    let environments: HashMap<EnvironmentKey, String> =
        app.auth.environments().into_iter().map(|environment| (environment.key, environment.name)).collect();
    let mut page = Page::new();
    let (mut room, mut left_out) = (MAX_SERIES, 0);
    for part in nodes.chunks(200) {
        let totals = totals(app, part);
        for node in part {
            let series = NODE_SERIES + PIPELINE_SERIES * node.pipelines.len();
            if series > room {
                left_out += series;
                continue;
            }
            room -= series;
            add_node(&mut page, node, environments.get(&node.environment).map_or("", String::as_str), &totals);
        }
    }
    page.finish(left_out)
}

/// Copied, so that reports do not wait while text is written.
fn totals(app: &App, nodes: &[Arc<WatchedNode>]) -> HashMap<i64, WindowSums> {
    app.timeseries.with_windows(|windows| {
        let series = nodes.iter().flat_map(|node| &node.pipelines).map(|pipeline| pipeline.series.0);
        series.filter_map(|series| Some((series, *windows.get(series)?.total()))).collect()
    })
}

fn add_node(page: &mut Page, node: &WatchedNode, environment: &str, totals: &HashMap<i64, WindowSums>) {
    let (name, id) = (escaped(&node.name), node.id);
    let of_node = format!("environment=\"{}\",node=\"{name}\",node_id=\"{id}\"", escaped(environment));
    page.add("systole_node_up", &of_node, u8::from(!node.status.is_silent()));
    for pipeline in &node.pipelines {
        let labels = format!("{of_node},pipeline=\"{}\"", escaped(pipeline.id.as_str()));
        let status = format!("{labels},status=\"{}\"", pipeline.status.as_str());
        page.add("systole_pipeline_status", &status, 1);
        let Some(total) = totals.get(&pipeline.series.0) else { continue };
        for (direction, events, bytes) in
            [("in", total.events_in, total.bytes_in), ("out", total.events_out, total.bytes_out)]
        {
            let labels = format!("{labels},direction=\"{direction}\"");
            page.add("systole_pipeline_events_total", &labels, events);
            page.add("systole_pipeline_bytes_total", &labels, bytes);
        }
        page.add("systole_pipeline_errors_total", &labels, total.errors);
        page.add("systole_pipeline_discarded_total", &labels, total.discarded);
        page.add("systole_pipeline_logs_dropped_total", &labels, total.logs_dropped);
        if let Some(fill) = total.buffer_fill {
            page.add("systole_pipeline_buffer_fill", &labels, fill);
        }
    }
}

/// A value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped_and_the_page_follows_the_conventions() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        let mut page = Page::new();
        page.add("systole_node_up", "node=\"a\"", 1);
        let text = page.finish(3);
        assert!(
            text.contains("systole_node_up{node=\"a\"} 1\n") && text.ends_with("systole_fleet_series_left_out 3\n")
        );
        assert_eq!(systole_tests::metrics_lint::faults(&text), [""; 0]);
    }
}
