//! Limits of one node and one environment.

use super::lookup::Lookup;

/// Limits of new names in reports, and of unfinished bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IngestLimits {
    /// `max_component_series`: components over all nodes that have a history; later ones have live samples
    /// only. Default 20000, 0 for none.
    pub component_series: usize,
    /// `max_series_per_node`: components of a node that ever had a history. Default 50000.
    pub series_per_node: usize,
    /// `max_new_series_per_node`: those that are new within an hour. Default 10000.
    pub new_series_per_node: usize,
    /// `max_pipelines_per_node`: pipelines of a node, including those that it no longer reports. Default 3000.
    pub pipelines_per_node: usize,
    /// `max_new_pipelines_per_node`: those that are new within an hour. Default 1500.
    pub new_pipelines_per_node: usize,
    /// `max_pipelines_per_environment`: default 100000.
    pub pipelines_per_environment: usize,
    /// `max_new_pipelines_per_environment`: those that are new within an hour. Default 50000.
    pub new_pipelines_per_environment: usize,
    /// `body_budget`: bytes of unfinished bodies of all senders, from 16 MiB. Default 128 MiB.
    pub body_budget_bytes: usize,
    /// `body_budget_per_sender`: bytes of unfinished bodies of one node or address, from 16 MiB. Default 32 MiB.
    pub body_budget_per_sender_bytes: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        IngestLimits {
            // See docs/benchmarks.md for what they cost.
            component_series: 20_000,
            // About 5 MB of memory.
            series_per_node: 50_000,
            // A report has as many components.
            new_series_per_node: 10_000,
            // Three times what a report may have: two generations of names are remembered.
            pipelines_per_node: 3_000,
            // A first report has up to 1,000, and some are renamed.
            new_pipelines_per_node: 1_500,
            // About 200 MB of memory.
            pipelines_per_environment: 100_000,
            // A fleet of 5,000 nodes with ten pipelines each may come within an hour.
            new_pipelines_per_environment: 50_000,
            // Sixteen of the largest bodies, which are rare: most come in one piece and need nothing of it.
            body_budget_bytes: 128 << 20,
            // Four of them are not reached by an agent, which sends one at a time; while a body grows it takes
            // up to twice its size.
            body_budget_per_sender_bytes: 32 << 20,
        }
    }
}

impl IngestLimits {
    pub(super) fn read(lookup: &mut Lookup<'_>) -> Self {
        let default = IngestLimits::default();
        let any = |text: &str| text.parse().map_err(|_| "expected a number of series".to_owned());
        IngestLimits {
            component_series: lookup.get("max_component_series", default.component_series, any),
            series_per_node: lookup.get("max_series_per_node", default.series_per_node, any),
            new_series_per_node: lookup.get("max_new_series_per_node", default.new_series_per_node, any),
            pipelines_per_node: lookup.get("max_pipelines_per_node", default.pipelines_per_node, parse_count),
            new_pipelines_per_node: lookup.get(
                "max_new_pipelines_per_node",
                default.new_pipelines_per_node,
                parse_count,
            ),
            pipelines_per_environment: lookup.get(
                "max_pipelines_per_environment",
                default.pipelines_per_environment,
                parse_count,
            ),
            new_pipelines_per_environment: lookup.get(
                "max_new_pipelines_per_environment",
                default.new_pipelines_per_environment,
                parse_count,
            ),
            body_budget_bytes: lookup.get("body_budget", default.body_budget_bytes, parse_body_budget),
            body_budget_per_sender_bytes: lookup.get(
                "body_budget_per_sender",
                default.body_budget_per_sender_bytes,
                parse_body_budget,
            ),
        }
    }

    /// Every key with its value.
    pub(super) fn entries(&self) -> [(&'static str, usize); 9] {
        [
            ("max_component_series", self.component_series),
            ("max_series_per_node", self.series_per_node),
            ("max_new_series_per_node", self.new_series_per_node),
            ("max_pipelines_per_node", self.pipelines_per_node),
            ("max_new_pipelines_per_node", self.new_pipelines_per_node),
            ("max_pipelines_per_environment", self.pipelines_per_environment),
            ("max_new_pipelines_per_environment", self.new_pipelines_per_environment),
            ("body_budget", self.body_budget_bytes),
            ("body_budget_per_sender", self.body_budget_per_sender_bytes),
        ]
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a number of pipelines".to_owned()),
    }
}

fn parse_body_budget(text: &str) -> Result<usize, String> {
    // The largest body, and its copy while it grows.
    const LEAST: usize = 16 << 20;
    let bytes: usize = text.parse().map_err(|_| "expected a number of bytes".to_owned())?;
    if bytes < LEAST { Err(format!("must be at least 16 MiB ({LEAST})")) } else { Ok(bytes) }
}
