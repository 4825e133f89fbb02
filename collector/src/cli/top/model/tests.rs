use std::collections::BTreeMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use systole_shared::events::{ComponentSample, FleetTotals, LogEntryLine, StatusChange};
use systole_shared::{
    ComponentKind, EnvironmentId, HostMetrics, LogLevel, LogStream, NodeStatus, PipelineStatus, RateSample,
};

use super::logs::MAX_LINES;
use super::rows::GraphComponent;
use super::*;

/// The time of the test fleet.
pub(in crate::cli::top) const NOW: UnixMillis = 1_790_000_000_000;

pub(in crate::cli::top) fn node(number: u128) -> NodeId {
    NodeId(uuid::Uuid::from_u128(number))
}

pub(in crate::cli::top) fn pipeline(id: &str) -> PipelineId {
    PipelineId::parse(id).unwrap()
}

fn rates(events: f64, errors: f64) -> RateSample {
    RateSample {
        timestamp: NOW,
        received_events_rate: events,
        sent_events_rate: events * 0.98,
        received_bytes_rate: events * 100.0,
        sent_bytes_rate: events * 100.0,
        error_count: errors * 5.0,
        errors_rate: errors,
        discarded_rate: events * 0.02,
        latency_mean_ms: Some(1.5),
    }
}

fn component(id: &str, kind: ComponentKind, events: f64) -> ComponentSample {
    ComponentSample { component_id: ComponentId::parse(id).unwrap(), kind, sample: rates(events, 0.0) }
}

pub(in crate::cli::top) fn change(on: NodeId, of: Option<&str>, from: &str, to: &str, reason: &str) -> Message {
    Message::Event(Event::StatusChange(StatusChange {
        node_name: None,
        node_id: on,
        pipeline_id: of.map(pipeline),
        pipeline_name: None,
        from_status: from.into(),
        to_status: to.into(),
        reason: reason.into(),
        timestamp: NOW - 4_000,
    }))
}

pub(in crate::cli::top) fn press(model: &mut Model, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(model.press(KeyEvent::new(*key, KeyModifiers::NONE)), Command::Continue);
    }
}

pub(in crate::cli::top) fn lines(number: u64, on: NodeId, texts: &[(LogLevel, &str)]) -> Message {
    let entry = |(level, text): &(LogLevel, &str)| LogEntryLine {
        at: NOW,
        stream: LogStream::Stdout,
        level: Some(*level),
        line: (*text).to_owned(),
    };
    let entries = texts.iter().map(entry).collect();
    Message::LiveLogs(number, LogEntry { node_id: on, pipeline_id: pipeline("orders"), entries })
}

/// Three nodes with two pipelines each.
pub(in crate::cli::top) fn fleet() -> Model {
    let mut model = Model::new("http://127.0.0.1:8080".into());
    let names = ["edge-oslo-1", "edge-bergen-1", "cloud-frankfurt-production-ingest-1"];
    let nodes = names.iter().enumerate().map(|(index, name)| SnapshotNode {
        node_id: node(index as u128 + 1),
        name: (*name).to_owned(),
        status: NodeStatus::Healthy,
        last_seen_at: Some(NOW - 2_000),
        maintenance_until: None,
    });
    let on_nodes = (1..=3).flat_map(|on| ["orders", "clickstream"].map(|id| (node(on), id)));
    let pipelines = on_nodes.clone().map(|(on, id)| SnapshotPipeline {
        node_id: on,
        pipeline_id: pipeline(id),
        pipeline_name: if id == "orders" { "Orders" } else { "Clickstream" }.to_owned(),
        status: PipelineStatus::Running,
        reason: String::new(),
        since: NOW - 3_700_000,
    });
    model.take(Message::Opened { address: "http://127.0.0.1:8080".into() });
    // As the samples below add up.
    let totals = FleetTotals {
        environment_id: EnvironmentId(uuid::Uuid::nil()),
        timestamp: NOW,
        nodes: BTreeMap::new(),
        pipelines: BTreeMap::new(),
        events_in_rate: 2_100.0,
        events_out_rate: 2_058.0,
        errors_rate: 0.4,
        discarded_rate: 42.0,
    };
    let (nodes, pipelines) = (nodes.collect(), pipelines.collect());
    model.take(Message::Snapshot { nodes, pipelines, totals: vec![totals] });
    let samples = on_nodes.enumerate().map(|(index, (on, id))| MetricUpdate {
        node_id: on,
        pipeline_id: pipeline(id),
        timestamp: NOW,
        sample: rates(100.0 * (index as f64 + 1.0), if index == 3 { 0.4 } else { 0.0 }),
        components: vec![
            component("http_in", ComponentKind::Source, 100.0),
            component("a_filter", ComponentKind::Transform, 100.0),
            component("parse", ComponentKind::Transform, 100.0),
            component("kafka", ComponentKind::Sink, 98.0),
        ],
    });
    model.take(Message::Samples(samples.collect()));
    for seconds in [100.0, 105.0] {
        let details = (1..=3_u32).map(|on| {
            let host = HostMetrics {
                cpu_seconds_total: Some(seconds),
                cpu_seconds_idle: Some(seconds * (1.0 - 0.2 * f64::from(on))),
                memory_total_bytes: Some(1_000),
                memory_used_bytes: Some(u64::from(on) * 170),
                ..HostMetrics::default()
            };
            let details = NodeDetails {
                name: names[on as usize - 1].to_owned(),
                reason: String::new(),
                labels: vec![format!("role={}", if on == 3 { "cloud" } else { "edge" }), format!("site={on}")],
                version: "0.1.0".into(),
                host,
                pipelines: Vec::new(),
            };
            (node(u128::from(on)), details)
        });
        model.take(Message::Details(details.collect()));
    }
    model.resize(24);
    model
}

/// The graph of the pipelines in [`fleet`].
pub(in crate::cli::top) fn graph() -> Graph {
    let component = |name: &str, fill, to: &[&str]| {
        let sends_to = to.iter().map(|to| (*to).to_owned()).collect();
        GraphComponent { sends_to, ..GraphComponent::new(Some(name.to_owned()), fill) }
    };
    Graph::new(BTreeMap::from([
        ("http_in".to_owned(), component("http_server", None, &["parse"])),
        ("parse".to_owned(), component("remap", Some(0.02), &["a_filter"])),
        ("a_filter".to_owned(), component("filter", Some(0.0), &["kafka"])),
        ("kafka".to_owned(), component("kafka", Some(0.91), &[])),
    ]))
}

fn node_names(model: &Model) -> Vec<&str> {
    model.node_rows().iter().map(|row| row.node.name.as_str()).collect()
}

#[test]
fn worst_state_comes_first_and_order_is_reversed() {
    let mut model = fleet();
    assert_eq!(node_names(&model), ["cloud-frankfurt-production-ingest-1", "edge-bergen-1", "edge-oslo-1"]);
    model.take(change(node(2), Some("orders"), "RUNNING", "CRASHED", "exit code 78"));
    model.take(change(node(2), None, "HEALTHY", "DEGRADED", "Orders is CRASHED"));
    assert_eq!(node_names(&model)[0], "edge-bergen-1");
    assert_eq!(model.pipeline_rows()[0].status, PipelineStatus::Crashed);
    assert_eq!((model.pipeline_rows()[0].running, model.pipeline_rows()[0].nodes), (2, 3));
    press(&mut model, &[KeyCode::Char('r')]);
    assert_eq!(node_names(&model)[2], "edge-bergen-1");
    press(&mut model, &[KeyCode::Char('r'), KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!(model.sort, Sort::EventsIn);
    assert_eq!(node_names(&model)[0], "cloud-frankfurt-production-ingest-1");
    press(&mut model, &[KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!((model.sort, node_names(&model)[0]), (Sort::Cpu, "cloud-frankfurt-production-ingest-1"));
}

#[test]
fn selection_stays_on_its_row_when_rows_move() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Down, KeyCode::Down]);
    assert_eq!(model.selection().0, 2);
    model.take(change(node(1), None, "HEALTHY", "UNREACHABLE", "no report"));
    assert_eq!(model.selection().0, 0, "edge-oslo-1 is the worst now");
    press(&mut model, &[KeyCode::Up]);
    assert_eq!(model.selection().0, 0);
    press(&mut model, &[KeyCode::End]);
    assert_eq!(model.selection().0, 2);
}

#[test]
fn enter_goes_in_and_esc_goes_back() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!((model.view(), model.scope().node), (View::Pipelines, Some(node(2))));
    assert_eq!(model.pipeline_rows().iter().map(|row| row.nodes).collect::<Vec<_>>(), [1, 1]);
    press(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!((model.view(), model.scope().pipeline.clone()), (View::Components, Some(pipeline("orders"))));
    assert_eq!(model.wanted_graph(), Some((pipeline("orders"), Some(node(2)))));
    press(&mut model, &[KeyCode::Enter]);
    assert_eq!(model.view(), View::Logs);
    press(&mut model, &[KeyCode::Esc, KeyCode::Esc, KeyCode::Esc]);
    assert_eq!((model.view(), model.selection().0), (View::Nodes, 1), "the selection is still there");
    press(&mut model, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab, KeyCode::Tab]);
    assert_eq!((model.view(), model.scope().clone()), (View::Nodes, Scope::default()));
}

#[test]
fn filter_is_typed_and_cleared() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Char('/'), KeyCode::Char('E'), KeyCode::Char('d'), KeyCode::Char('x')]);
    press(&mut model, &[KeyCode::Backspace, KeyCode::Char('g'), KeyCode::Enter]);
    assert_eq!(node_names(&model), ["edge-bergen-1", "edge-oslo-1"], "by name");
    press(&mut model, &[KeyCode::Esc]);
    press(&mut model, &[KeyCode::Char('/')]);
    "site=3".chars().for_each(|c| press(&mut model, &[KeyCode::Char(c)]));
    assert_eq!(node_names(&model).len(), 1, "by label");
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!((node_names(&model).len(), model.is_typing_filter), (3, false));
}

#[test]
fn paused_screen_keeps_what_it_shows() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Char('p')]);
    model.take(change(node(1), None, "HEALTHY", "UNREACHABLE", "no report"));
    let state = |model: &Model| model.data().fleet.nodes[&node(1)].status;
    assert_eq!(state(&model), NodeStatus::Healthy);
    press(&mut model, &[KeyCode::Char('p')]);
    assert_eq!(state(&model), NodeStatus::Unreachable);
}

#[test]
fn rates_are_asked_for_only_where_they_are_shown() {
    let mut model = fleet();
    let all = |every_ms| Wanted::Rates { nodes: Vec::new(), pipelines: Vec::new(), every_ms };
    assert_eq!(model.wanted(), all(EVERY_MS), "a small fleet");
    press(&mut model, &[KeyCode::Char('4')]);
    let Wanted::Logs { number, scope } = model.wanted() else { panic!("{:?}", model.wanted()) };
    assert_eq!(scope.node, Some(node(3)));
    press(&mut model, &[KeyCode::Esc, KeyCode::Down, KeyCode::Char('4')]);
    assert!(matches!(model.wanted(), Wanted::Logs { number: other, .. } if other != number));

    // A large fleet: ten pages of nodes.
    let mut model = Model::new(String::new());
    let nodes = (0..300).map(|index| SnapshotNode {
        node_id: node(index),
        name: format!("node-{index:03}"),
        status: NodeStatus::Healthy,
        last_seen_at: None,
        maintenance_until: None,
    });
    let pipelines = (0..300).map(|index| SnapshotPipeline {
        node_id: node(index),
        pipeline_id: pipeline(&format!("p{index:03}")),
        pipeline_name: String::new(),
        status: PipelineStatus::Running,
        reason: String::new(),
        since: 0,
    });
    model.take(Message::Snapshot { nodes: nodes.collect(), pipelines: pipelines.collect(), totals: Vec::new() });
    model.resize(OTHER_LINES + 10);
    let asked = |model: &Model| match model.wanted() {
        Wanted::Rates { nodes, pipelines, .. } => (nodes, pipelines),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&model), ((0..10).map(node).collect(), Vec::new()));
    press(&mut model, &[KeyCode::PageDown, KeyCode::PageDown]);
    assert_eq!(asked(&model).0, (11..21).map(node).collect::<Vec<_>>());
    press(&mut model, &[KeyCode::Char('2')]);
    assert_eq!(asked(&model).1.len(), 10);
    press(&mut model, &[KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!(model.wanted(), all(EVERY_MS_OF_ALL), "rates decide the order");
}

#[test]
fn lines_of_another_selection_are_dropped_and_kept_ones_are_bounded() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Char('4')]);
    let Wanted::Logs { number, .. } = model.wanted() else { panic!() };
    model.take(lines(number, node(3), &[(LogLevel::Info, "new")]));
    model.take(lines(number + 1, node(3), &[(LogLevel::Info, "of another selection")]));
    let old = |text: &str| LogLine {
        node: node(3),
        pipeline: pipeline("orders"),
        entry: LogEntryLine { at: NOW, stream: LogStream::Stdout, level: None, line: text.into() },
    };
    model.take(Message::StoredLogs(number, vec![old("old 1"), old("old 2")]));
    let shown = |model: &Model, filter: &str| {
        model.data().logs.newest_first(filter).map(|line| line.entry.line.clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&model, ""), ["new", "old 2", "old 1"]);
    assert_eq!(shown(&model, "OLD 1"), ["old 1"]);
    for _ in 0..MAX_LINES {
        model.take(lines(number, node(3), &[(LogLevel::Info, "more")]));
    }
    assert_eq!(shown(&model, "").len(), MAX_LINES);
    assert_eq!(shown(&model, "new"), [""; 0]);
}

#[test]
fn removed_node_leaves_with_its_pipelines() {
    let mut model = fleet();
    model.take(change(node(2), Some("orders"), "RUNNING", "REMOVED", "removed"));
    assert_eq!(model.data().fleet.instances.len(), 5);
    model.take(change(node(2), None, "HEALTHY", "REMOVED", "removed"));
    assert_eq!((model.data().fleet.nodes.len(), model.data().fleet.instances.len()), (2, 4));
    // What was not in a snapshot is gone, too.
    model.take(Message::Snapshot { nodes: Vec::new(), pipelines: Vec::new(), totals: Vec::new() });
    assert_eq!((model.data().fleet.nodes.len(), model.data().fleet.instances.len()), (0, 0));
}

#[test]
fn components_follow_the_flow() {
    let mut model = fleet();
    press(&mut model, &[KeyCode::Char('2'), KeyCode::Down, KeyCode::Enter]);
    model.take(Message::Graph(pipeline("orders"), graph()));
    let ids = |model: &Model| model.component_rows().iter().map(|row| row.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&model), ["http_in", "parse", "a_filter", "kafka"]);
    assert_eq!(model.component_rows()[0].received, 300.0, "of three nodes");
    press(&mut model, &[KeyCode::Char('s')]);
    assert_eq!(ids(&model), ["a_filter", "http_in", "kafka", "parse"]);
}

#[test]
fn graph_with_a_cycle_ends() {
    let to = |name: &str| GraphComponent { sends_to: vec![name.to_owned()], ..GraphComponent::new(None, None) };
    let graph = Graph::new(BTreeMap::from([("a".to_owned(), to("b")), ("b".to_owned(), to("a"))]));
    assert_eq!(graph.components.len(), 2);
}
