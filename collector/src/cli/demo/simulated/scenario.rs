//! The simulated fleet: nodes, their pipelines, and what happens to them.

use systole_shared::ComponentKind;
use systole_shared::ComponentKind::{Sink, Source, Transform};

/// The pipeline that comes from the centre.
pub(super) const MANAGED: &str = "orders";

/// The engine that the nodes accept pipelines for.
pub(super) const ENGINE: &str = "vector";

/// A simulated node.
#[derive(Debug)]
pub(super) struct NodeSpec {
    pub name: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
    pub cores: f64,
    pub memory_bytes: u64,
    pub pipelines: &'static [PipelineSpec],
    /// Regularly without a connection; its reports come late.
    pub is_away: bool,
    /// Seconds before the start in which the host was down: a hole in its history.
    pub was_down: Option<std::ops::Range<i64>>,
}

/// A pipeline of a simulated node.
#[derive(Debug)]
pub(super) struct PipelineSpec {
    pub id: &'static str,
    pub name: &'static str,
    /// Events a second, on average.
    pub events_per_second: f64,
    pub bytes_per_event: u64,
    /// In the order of the flow.
    pub components: &'static [ComponentSpec],
    pub crashes: bool,
}

/// A component of a pipeline.
#[derive(Debug)]
pub(super) struct ComponentSpec {
    pub id: &'static str,
    pub kind: ComponentKind,
    /// The engine's name of its type.
    pub of_type: &'static str,
    pub inputs: &'static [&'static str],
    /// Share of the events that it sends.
    pub keeps: f64,
    /// Whether the others are discarded; otherwise they are aggregated.
    pub discards: bool,
    /// Events that fit into its buffer; 0: none.
    pub buffer: u64,
}

const fn source(id: &'static str, of_type: &'static str) -> ComponentSpec {
    ComponentSpec { id, kind: Source, of_type, inputs: &[], keeps: 1.0, discards: false, buffer: 0 }
}

const fn transform(
    id: &'static str,
    of_type: &'static str,
    inputs: &'static [&'static str],
    keeps: f64,
    discards: bool,
) -> ComponentSpec {
    ComponentSpec { id, kind: Transform, of_type, inputs, keeps, discards, buffer: 100 }
}

const fn sink(id: &'static str, of_type: &'static str, inputs: &'static [&'static str], buffer: u64) -> ComponentSpec {
    ComponentSpec { id, kind: Sink, of_type, inputs, keeps: 1.0, discards: false, buffer }
}

const ORDERS: [ComponentSpec; 4] = [
    source("shop_events", "http_server"),
    transform("parse", "remap", &["shop_events"], 1.0, false),
    transform("only_valid", "filter", &["parse"], 0.97, true),
    sink("orders_topic", "kafka", &["only_valid"], 500),
];

const CLICKSTREAM: [ComponentSpec; 5] = [
    source("clicks", "kafka"),
    transform("enrich", "remap", &["clicks"], 1.0, false),
    transform("sessions", "reduce", &["enrich"], 0.2, false),
    sink("warehouse", "clickhouse", &["sessions"], 1_000),
    sink("archive", "aws_s3", &["enrich"], 2_000),
];

const SYSTEM_LOGS: [ComponentSpec; 3] = [
    source("journal", "journald"),
    transform("without_debug", "filter", &["journal"], 0.7, true),
    sink("loki", "loki", &["without_debug"], 500),
];

const fn orders(events_per_second: f64) -> PipelineSpec {
    PipelineSpec {
        id: MANAGED,
        name: "Orders",
        events_per_second,
        bytes_per_event: 420,
        components: &ORDERS,
        crashes: false,
    }
}

const fn clickstream(events_per_second: f64, crashes: bool) -> PipelineSpec {
    PipelineSpec {
        id: "clickstream",
        name: "Clickstream",
        events_per_second,
        bytes_per_event: 260,
        components: &CLICKSTREAM,
        crashes,
    }
}

const fn system_logs(events_per_second: f64) -> PipelineSpec {
    PipelineSpec {
        id: "system-logs",
        name: "System logs",
        events_per_second,
        bytes_per_event: 180,
        components: &SYSTEM_LOGS,
        crashes: false,
    }
}

/// The nodes.
pub(super) static NODES: [NodeSpec; 3] = [
    NodeSpec {
        name: "edge-oslo-1",
        labels: &[("role", "edge"), ("site", "oslo"), ("canary", "true")],
        cores: 4.0,
        memory_bytes: 8 << 30,
        pipelines: &[orders(140.0), clickstream(900.0, true), system_logs(35.0)],
        is_away: false,
        was_down: None,
    },
    NodeSpec {
        name: "edge-bergen-1",
        labels: &[("role", "edge"), ("site", "bergen")],
        cores: 2.0,
        memory_bytes: 4 << 30,
        pipelines: &[orders(60.0), system_logs(20.0)],
        is_away: true,
        was_down: None,
    },
    NodeSpec {
        name: "cloud-frankfurt-1",
        labels: &[("role", "cloud"), ("site", "frankfurt")],
        cores: 8.0,
        memory_bytes: 32 << 30,
        pipelines: &[orders(310.0), clickstream(2_400.0, false), system_logs(80.0)],
        is_away: false,
        was_down: Some(1_860..2_280),
    },
];

/// How a pipeline that crashes is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Runs,
    Crashed,
    Starts,
}

/// Seconds from one crash to the next.
const CRASH_EVERY: i64 = 180;

/// Seconds after the start at which it crashes, is started again, and runs.
const CRASH: [i64; 3] = [25, 40, 46];

/// Seconds from one time away to the next.
const AWAY_EVERY: i64 = 600;

/// Seconds after the start in which the node is away: more than the minute after which a report is a back-fill.
const AWAY: std::ops::Range<i64> = 20..95;

/// The course of a pipeline `second` seconds after the start; before it, when negative.
pub(super) fn course(spec: &PipelineSpec, second: i64) -> Course {
    let [crashed, starts, runs] = CRASH;
    match second.rem_euclid(CRASH_EVERY) {
        second if !spec.crashes || second < crashed || second >= runs => Course::Runs,
        second if second < starts => Course::Crashed,
        _ => Course::Starts,
    }
}

/// How often a pipeline has crashed in the hour before the start and since then.
pub(super) fn crashes_until(spec: &PipelineSpec, second: i64) -> u64 {
    let since_crash = second + 3_600 - CRASH[0];
    let count = if since_crash < 0 { 0 } else { since_crash / CRASH_EVERY + 1 };
    if spec.crashes { u64::try_from(count).unwrap_or(0) } else { 0 }
}

/// Whether a node has no connection now.
pub(super) fn is_away(spec: &NodeSpec, second: i64) -> bool {
    spec.is_away && second >= 0 && AWAY.contains(&second.rem_euclid(AWAY_EVERY))
}

/// Whether the host was down at that moment, so that it has no report at all.
pub(super) fn is_down(spec: &NodeSpec, second: i64) -> bool {
    spec.was_down.as_ref().is_some_and(|down| down.contains(&-second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_is_an_earlier_component() {
        for pipeline in NODES.iter().flat_map(|node| node.pipelines) {
            for (index, component) in pipeline.components.iter().enumerate() {
                let earlier: Vec<_> = pipeline.components[..index].iter().map(|component| component.id).collect();
                assert!(component.inputs.iter().all(|input| earlier.contains(input)), "{}", component.id);
                assert_eq!(component.inputs.is_empty(), component.kind == Source);
            }
        }
    }

    #[test]
    fn courses_follow_the_clock() {
        let crashing = &NODES[0].pipelines[1];
        let courses = [0, 25, 39, 40, 46, 205, -155].map(|second| course(crashing, second));
        use Course::{Crashed, Runs, Starts};
        assert_eq!(courses, [Runs, Crashed, Crashed, Starts, Runs, Crashed, Crashed]);
        assert_eq!(crashes_until(crashing, 30) - crashes_until(crashing, 0), 1);
        assert_eq!(course(&NODES[0].pipelines[0], 30), Runs);
        assert_eq!(
            [19, 20, 94, 95, 620, -580].map(|at| is_away(&NODES[1], at)),
            [false, true, true, false, true, false]
        );
        assert_eq!([-1_859, -1_860, -2_280, 1_900].map(|at| is_down(&NODES[2], at)), [false, true, false, false]);
    }
}
