//! Tests of what a report changes.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use systole_shared::events::{Event, EventType};
use systole_shared::{ComponentId, ComponentKind, LogStream, NodeStatus, PipelineId, PipelineStatus};
use uuid::Uuid;

use super::progress::DUPLICATE_WINDOW_MS;
use super::*;
use crate::config::IngestLimits;
use crate::ingest::places::ComponentPlaces;
use crate::ingest::reason::PublishedReason;
use crate::ingest::state::IngestState;
use crate::ingest::upkeep;
use crate::model::report::{PipelineDeltas, ReportedComponent, ReportedDeployments, ReportedLine, ReportedPipeline};
use crate::store::{CommitBatch, PipelineMinuteRow};
use crate::timeseries::WalRecord;

const NOW: UnixMillis = 1_790_000_000_000;

fn boot(number: u128) -> BootId {
    BootId(Uuid::from_u128(number))
}

fn node() -> NodeState {
    NodeState {
        key: NodeKey(1),
        id: NodeId(Uuid::from_u128(1)),
        environment: EnvironmentKey(1),
        name: "n".to_owned(),
        reported_name: "n".to_owned(),
        reported_labels: Default::default(),
        settings: Default::default(),
        status: NodeStatus::Unknown,
        status_reason: "enrolled".to_owned(),
        status_since: NOW,
        reason: PublishedReason::new("enrolled"),
        boots: Vec::new(),
        boot_returns: Vec::new(),
        deployments: Default::default(),
        pipelines: Default::default(),
        agent: None,
        agent_version: None,
        host: None,
        address: None,
        totals: Default::default(),
        enrolled_at: NOW,
        reports: 0,
        last_seen: 0,
        lost_reports_at: None,
        clock_skew_ms: None,
        known_series: 0,
        new_pipelines: Default::default(),
        new_series: Default::default(),
        unassigned_missing: 0,
        throughput: Default::default(),
        log_budget: Default::default(),
    }
}

/// A run of the agent, and the parameters of its reports.
fn context(boot_number: u128, received_at: UnixMillis) -> (BootId, Context) {
    let context = Context {
        sent_at: received_at,
        received_at,
        address: None,
        interval_ms: 5_000,
        oldest: received_at - 7 * 86_400_000,
        log_limits: LogLimits::NONE,
    };
    (boot(boot_number), context)
}

fn pipeline(id: &str, status: PipelineStatus, events_in: Option<i64>) -> ReportedPipeline {
    ReportedPipeline {
        id: PipelineId::parse(id).unwrap(),
        name: None,
        version: None,
        status,
        status_text: None,
        reason: String::new(),
        pid: None,
        started_at: None,
        restarts: 0,
        config_checksum: None,
        sample: events_in.map(|events_in| PipelineDeltas { events_in, ..PipelineDeltas::default() }),
        scrape_error: events_in.is_none().then(|| "connection refused".to_owned()),
        components: Vec::new(),
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    }
}

fn report(seq: u64, end: UnixMillis, pipelines: Vec<ReportedPipeline>) -> NodeReport {
    NodeReport {
        seq,
        start: end - 5_000,
        end,
        covers_from: seq,
        agent: None,
        stopping: None,
        health: None,
        host: None,
        pipelines,
        complete: true,
        deployments: ReportedDeployments::Stated { items: Vec::new(), complete: true },
    }
}

/// A node with its names, and the changes of the report that was applied last.
struct Bench {
    node: NodeState,
    dimensions: Dimensions,
    changes: Changes,
    refusals: Refusals,
}

impl Bench {
    fn new() -> Self {
        Bench {
            node: node(),
            dimensions: Dimensions::default(),
            changes: Changes::new(0),
            refusals: Refusals::default(),
        }
    }

    fn apply(&mut self, (boot, context): (BootId, Context), report: NodeReport) -> Outcome {
        self.changes = Changes::new(self.changes.head_seq());
        apply(&mut self.node, &mut self.dimensions, boot, report, &context, &mut self.changes, &mut self.refusals)
    }

    fn mark_unreachable(&mut self, now: UnixMillis) {
        self.changes = Changes::new(self.changes.head_seq());
        mark_unreachable(&mut self.node, &mut self.dimensions, "no report for 15 s", now, &mut self.changes);
    }

    fn batch(&mut self) -> CommitBatch {
        self.changes.take_batch().1
    }

    fn record(&mut self) -> WalRecord {
        self.changes.take_batch().0
    }

    fn pipeline_minutes(&mut self) -> Vec<PipelineMinuteRow> {
        self.record().buckets.into_iter().flat_map(|bucket| bucket.pipelines).collect()
    }

    /// `subject from>to` of the last report's status changes.
    fn transitions(&self) -> Vec<String> {
        let changes = self.changes.events.iter().filter(|event| event.kind == EventType::StatusChange);
        changes
            .map(|event| match serde_json::from_str(&event.payload.to_json()).unwrap() {
                Event::StatusChange(change) => {
                    let subject = change.pipeline_id.map_or("node".to_owned(), |id| id.to_string());
                    format!("{subject} {}>{}", change.from_status, change.to_status)
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

#[test]
fn report_counts_in_the_minute_of_its_end() {
    let mut bench = Bench::new();
    let end = NOW - 3 * 60_000;
    bench.apply(context(1, NOW), report(1, end, vec![pipeline("a", PipelineStatus::Running, Some(7))]));
    let rows = bench.pipeline_minutes();
    assert_eq!((rows[0].minute, rows[0].events_in, rows[0].samples), (end / 60_000, 7, 1));
}

#[test]
fn failed_scrape_is_a_gap_and_not_a_zero() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, vec![pipeline("a", PipelineStatus::Running, None)]));
    let row = &bench.pipeline_minutes()[0];
    assert_eq!((row.samples, row.gaps, row.events_in), (0, 1, 0));
    assert!(bench.changes.samples.is_empty(), "nothing in the ring");
    assert!(bench.changes.events.iter().all(|event| event.kind != EventType::MetricUpdate), "nothing in the feed");
}

fn component(id: &str) -> ReportedComponent {
    ReportedComponent {
        id: ComponentId::parse(id).unwrap(),
        kind: ComponentKind::Transform,
        received_events: 5,
        sent_events: 5,
        received_bytes: None,
        sent_bytes: None,
        errors: 0,
        discarded: 0,
        latency_ms: None,
        utilization: None,
        buffer_events: None,
        buffer_max_events: None,
        buffer_bytes: None,
        buffer_max_bytes: None,
    }
}

#[test]
fn pipelines_over_the_limits_are_refused_alone_until_there_is_room() {
    let mut bench = Bench::new();
    bench.dimensions.limits =
        IngestLimits { pipelines_per_node: 3, new_pipelines_per_node: 2, ..IngestLimits::default() };
    let running = |ids: &[&str]| ids.iter().map(|id| pipeline(id, PipelineStatus::Running, Some(1))).collect();
    let taken = |bench: &mut Bench, seq: u64, at: UnixMillis, ids: &[&str]| {
        bench.refusals = Refusals::default();
        bench.apply(context(1, at), report(seq, at, running(ids)));
        let codes: Vec<_> = bench.refusals.listed.iter().map(|refused| refused.code).collect();
        assert!(codes.iter().all(|code| *code == RefusalCode::NodePipelineLimit), "{codes:?}");
        (bench.pipeline_minutes().len(), codes.len())
    };
    const HOUR: i64 = 3_600_000;
    assert_eq!(taken(&mut bench, 1, NOW, &["a", "b", "c"]), (2, 1));
    assert_eq!(taken(&mut bench, 2, NOW, &["c", "b", "a"]), (2, 1), "the known ones continue");
    assert_eq!(taken(&mut bench, 3, NOW + HOUR, &["a", "b", "c", "d"]), (3, 1), "one is new in the next hour");
    assert_eq!(taken(&mut bench, 4, NOW + 2 * HOUR, &["a", "b", "c", "d"]), (3, 1), "in all there are three");
    assert_eq!(bench.dimensions.over_limit.node_pipelines, 4);
}

#[test]
fn pipelines_over_the_limit_of_the_environment_are_refused() {
    let mut bench = Bench::new();
    bench.dimensions.limits = IngestLimits { new_pipelines_per_environment: 1, ..IngestLimits::default() };
    let running = ["a", "b"].map(|id| pipeline(id, PipelineStatus::Running, Some(1)));
    bench.apply(context(1, NOW), report(1, NOW, running.into()));
    assert_eq!(bench.refusals.listed[0].code, RefusalCode::EnvironmentPipelineLimit);
    assert_eq!(bench.pipeline_minutes().len(), 1);
}

#[test]
fn places_come_back_with_a_removed_pipeline_and_after_a_day() {
    let mut bench = Bench::new();
    bench.dimensions.places = ComponentPlaces::new(2);
    let with = |id: &str, components: &[&str]| ReportedPipeline {
        components: components.iter().map(|id| component(id)).collect(),
        ..pipeline(id, PipelineStatus::Running, Some(5))
    };
    let histories =
        |bench: &mut Bench| bench.record().buckets.iter().map(|bucket| bucket.components.len()).sum::<usize>();
    bench.apply(context(1, NOW), report(1, NOW, vec![with("a", &["x", "y"]), with("b", &["z"])]));
    assert_eq!(histories(&mut bench), 2);
    let removed = NOW + 5_000;
    bench.apply(context(1, removed), report(2, removed, vec![with("b", &["z"])]));
    assert_eq!(bench.dimensions.places.taken(), 0, "those of a are free");
    bench.apply(context(1, removed), report(3, removed, vec![with("b", &["z", "w"])]));
    assert_eq!(histories(&mut bench), 2);

    let later = NOW + 30 * 3_600_000;
    bench.apply(context(1, later), report(4, later, vec![with("b", &["w"])]));
    let node = std::mem::replace(&mut bench.node, node());
    let mut state = IngestState {
        nodes: [(node.key, node)].into_iter().collect(),
        dimensions: std::mem::take(&mut bench.dimensions),
        head_seq: 0,
    };
    upkeep::free_places(&mut state, later);
    assert_eq!(state.dimensions.places.taken(), 1, "z was not reported for a day");
}

#[test]
fn components_beyond_the_limit_have_no_history() {
    let mut bench = Bench::new();
    bench.dimensions.places = ComponentPlaces::new(3);
    for seq in 1..=2 {
        let pipelines = ["a", "b"].map(|id| ReportedPipeline {
            components: ["in", "out"].map(component).into(),
            ..pipeline(id, PipelineStatus::Running, Some(5))
        });
        bench.apply(context(1, NOW), report(seq, NOW, pipelines.into()));
        assert!(bench.changes.samples.iter().all(|sample| sample.update.components.len() == 2), "all are live");
        let (record, batch) = bench.changes.take_batch();
        assert_eq!(record.buckets[0].components.len(), 3);
        let named = batch.series.iter().filter(|series| !series.component.is_empty()).count();
        assert_eq!(named, if seq == 1 { 3 } else { 0 }, "each is made known once");
    }
}

#[test]
fn wrong_clock_is_corrected_beyond_tolerance() {
    for (skew, corrected) in [(1_500, 0), (-1_500, 0), (3_600_000, 3_600_000), (-90_000, -90_000)] {
        let mut bench = Bench::new();
        let context = (boot(1), Context { sent_at: NOW - skew, ..context(1, NOW).1 });
        let mut facts = pipeline("a", PipelineStatus::Running, Some(1));
        facts.logs.push(ReportedLine { at: NOW - skew, stream: LogStream::Stdout, level: None, line: "x".into() });
        bench.apply(context, report(1, NOW - skew, vec![facts]));
        let (record, batch) = bench.changes.take_batch();
        assert_eq!(batch.logs[0].at, NOW - skew + corrected, "skew {skew}");
        assert_eq!(record.buckets[0].pipelines[0].minute, (NOW - skew + corrected) / 60_000, "skew {skew}");
    }
}

#[test]
fn back_fill_is_stored_without_live_events() {
    let mut bench = Bench::new();
    let kinds = |bench: &Bench| -> Vec<_> { bench.changes.events.iter().map(|event| event.kind).collect() };
    bench.apply(context(1, NOW), report(1, NOW - 61_000, vec![pipeline("a", PipelineStatus::Running, Some(1))]));
    assert_eq!(kinds(&bench), [EventType::StatusChange, EventType::StatusChange]);
    assert_eq!((bench.pipeline_minutes().len(), bench.changes.samples.len()), (1, 1));
    bench.apply(context(1, NOW), report(2, NOW - 60_000, vec![pipeline("a", PipelineStatus::Running, Some(1))]));
    assert_eq!(kinds(&bench), [EventType::MetricUpdate, EventType::FleetStatus]);
}

#[test]
fn missing_reports_become_one_gap() {
    let mut bench = Bench::new();
    assert_eq!(bench.apply(context(1, NOW), report(5, NOW, vec![])), Outcome::Applied { missing: None });
    let missing = Some(SeqRange { from: 6, to: 8 });
    assert_eq!(bench.apply(context(1, NOW), report(9, NOW, vec![])), Outcome::Applied { missing });
    let gaps = bench.batch().gaps;
    assert_eq!((gaps[0].from_seq, gaps[0].to_seq), (6, 8));
    assert_eq!(bench.apply(context(1, NOW), report(9, NOW, vec![])), Outcome::Duplicate);
}

#[test]
fn merged_report_covers_its_range_once() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, vec![]));
    let merged = NodeReport { covers_from: 2, ..report(4, NOW, vec![pipeline("a", PipelineStatus::Running, Some(3))]) };
    assert_eq!(bench.apply(context(1, NOW), merged.clone()), Outcome::Applied { missing: None });
    let overlapping = NodeReport { seq: 6, covers_from: 4, ..merged };
    assert_eq!(bench.apply(context(1, NOW), overlapping), Outcome::Refused { missing: None });
    assert!(bench.pipeline_minutes().is_empty());
}

#[test]
fn impossible_times_are_refused_and_acknowledged() {
    let mut bench = Bench::new();
    let too_new = report(1, NOW + MAX_FUTURE_MS + 1, vec![pipeline("a", PipelineStatus::Running, Some(1))]);
    let too_old = report(2, NOW - 8 * 86_400_000, vec![]);
    let backwards = NodeReport { start: NOW + 1, ..report(3, NOW, vec![]) };
    for report in [too_new, too_old, backwards] {
        let seq = report.seq;
        assert_eq!(bench.apply(context(1, NOW), report), Outcome::Refused { missing: None });
        assert_eq!(bench.node.progress(boot(1)), Some(seq));
        assert!(bench.pipeline_minutes().is_empty());
    }
    let codes: Vec<_> = bench.refusals.listed.iter().map(|refused| refused.code).collect();
    assert_eq!(codes, [RefusalCode::InFuture, RefusalCode::TooOld, RefusalCode::InvalidInterval]);
}

#[test]
fn extreme_times_do_not_overflow() {
    for time in [i64::MIN, i64::MAX] {
        for report in [
            NodeReport { start: time, ..report(1, NOW, vec![]) },
            NodeReport { start: time, end: time, ..report(1, NOW, vec![]) },
        ] {
            let mut bench = Bench::new();
            for sent_at in [NOW, i64::MIN, i64::MAX] {
                bench.apply((boot(1), Context { sent_at, ..context(1, NOW).1 }), report.clone());
            }
        }
    }
}

#[test]
fn node_status_follows_its_pipelines() {
    let mut bench = Bench::new();
    let both = |status| vec![pipeline("a", PipelineStatus::Running, Some(1)), pipeline("b", status, Some(1))];
    bench.apply(context(1, NOW), report(1, NOW, both(PipelineStatus::Running)));
    assert_eq!(bench.transitions(), ["a UNKNOWN>RUNNING", "b UNKNOWN>RUNNING", "node UNKNOWN>HEALTHY"]);
    bench.apply(context(1, NOW), report(2, NOW, both(PipelineStatus::Crashed)));
    assert_eq!(bench.transitions(), ["b RUNNING>CRASHED", "node HEALTHY>DEGRADED"]);
    let change = bench.batch().nodes.remove(0).1;
    assert_eq!(change.status_reason.as_deref(), Some("pipeline b is CRASHED"));
    bench.apply(context(1, NOW), report(3, NOW, both(PipelineStatus::Running)));
    assert_eq!(bench.transitions(), ["b CRASHED>RUNNING", "node DEGRADED>HEALTHY"]);
    bench.apply(context(1, NOW), report(4, NOW, both(PipelineStatus::Running)));
    assert_eq!(bench.transitions(), [""; 0]);
}

#[test]
fn unreachable_node_recovers_with_its_next_report() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, vec![]));
    bench.mark_unreachable(NOW + 15_000);
    assert_eq!(bench.transitions(), ["node HEALTHY>UNREACHABLE"]);
    bench.apply(context(1, NOW + 20_000), report(2, NOW + 20_000, vec![]));
    assert_eq!(bench.transitions(), ["node UNREACHABLE>HEALTHY"]);
}

#[test]
fn pipelines_of_a_silent_node_are_unknown_until_it_reports() {
    let mut bench = Bench::new();
    let running = || vec![pipeline("a", PipelineStatus::Running, Some(1))];
    bench.apply(context(1, NOW), report(1, NOW, running()));
    bench.mark_unreachable(NOW + 15_000);
    assert_eq!(bench.transitions(), ["node HEALTHY>UNREACHABLE", "a RUNNING>UNKNOWN"]);
    assert_eq!(bench.node.pipelines_running(), 0);
    let row = bench.batch().statuses.remove(0);
    assert_eq!((row.status.as_str(), row.reason.as_str(), row.since), ("UNKNOWN", "node unreachable", NOW + 15_000));
    bench.apply(context(1, NOW + 20_000), report(2, NOW + 20_000, running()));
    assert_eq!(bench.transitions(), ["a UNKNOWN>RUNNING", "node UNREACHABLE>HEALTHY"]);
}

#[test]
fn node_is_offline_after_a_stop_in_order_only() {
    let running = || vec![pipeline("a", PipelineStatus::Running, Some(1))];
    let stopping = |seq, end| NodeReport { stopping: Some("agent stopped".to_owned()), ..report(seq, end, running()) };
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, running()));
    bench.apply(context(1, NOW + 5_000), stopping(2, NOW + 5_000));
    assert_eq!(bench.transitions(), ["node HEALTHY>OFFLINE", "a RUNNING>UNKNOWN"]);
    bench.mark_unreachable(NOW + 60_000);
    assert_eq!(bench.transitions(), [""; 0], "the watchdog leaves it alone");
    bench.apply(context(2, NOW + 90_000), report(1, NOW + 90_000, running()));
    assert_eq!(bench.transitions(), ["a UNKNOWN>RUNNING", "node OFFLINE>HEALTHY"]);
    bench.apply(context(1, NOW + 91_000), stopping(3, NOW + 91_000));
    assert_eq!(bench.transitions(), [""; 0], "a late request of the agent before");
    bench.apply(context(2, NOW + 400_000), stopping(2, NOW + 95_000));
    assert_eq!(bench.transitions(), [""; 0], "a report of the past: another agent has sent it");
}

#[test]
fn new_reason_of_the_same_state_is_an_event() {
    let mut bench = Bench::new();
    let degraded = |reason: &str| {
        vec![ReportedPipeline { reason: reason.to_owned(), ..pipeline("a", PipelineStatus::Degraded, Some(1)) }]
    };
    bench.apply(context(1, NOW), report(1, NOW, degraded("refused: 1")));
    bench.apply(context(1, NOW), report(2, NOW, degraded("refused: 2")));
    assert_eq!(bench.transitions(), ["a DEGRADED>DEGRADED"]);
    bench.apply(context(1, NOW), report(3, NOW, degraded("refused: 2")));
    assert_eq!(bench.transitions(), [""; 0]);
    let mut events = 0;
    for seq in 4..40 {
        bench.apply(context(1, NOW), report(seq, NOW, degraded(&format!("refused: {seq}"))));
        events += bench.transitions().len();
    }
    assert_eq!(events, 4, "the rest of the burst");
    assert_eq!(bench.batch().statuses[0].reason, "refused: 39", "the row has the last one");
}

#[test]
fn unreported_pipeline_is_stopped_unless_refused() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, vec![pipeline("a", PipelineStatus::Crashed, Some(1))]));
    let refused = NodeReport { complete: false, ..report(2, NOW, vec![]) };
    bench.apply(context(1, NOW), refused);
    assert_eq!(bench.transitions(), [""; 0], "a refused pipeline has not vanished");
    bench.apply(context(1, NOW), report(3, NOW, vec![]));
    assert_eq!(bench.transitions(), ["a CRASHED>STOPPED", "node DEGRADED>HEALTHY"]);
    let row = bench.batch().statuses.remove(0);
    assert_eq!((row.present, row.status.as_str()), (0, "STOPPED"));
}

#[test]
fn duplicate_identity_is_reported_and_a_restart_is_not() {
    let mut bench = Bench::new();
    for (number, boot) in [1, 1, 2, 2, 3, 3].into_iter().enumerate() {
        bench.apply(context(boot, NOW), report(number as u64 + 1, NOW, vec![]));
        assert_ne!(bench.node.status, NodeStatus::Degraded, "restarts are no duplicates");
    }
    let mut seq = 10;
    for boot in [4, 3, 4, 3] {
        seq += 1;
        bench.apply(context(boot, NOW), report(seq, NOW, vec![]));
    }
    assert_eq!(bench.node.status, NodeStatus::Degraded);
    let later = NOW + DUPLICATE_WINDOW_MS + 1;
    bench.apply(context(3, later), report(20, later, vec![]));
    assert_eq!(bench.node.status, NodeStatus::Healthy, "over when only one of them is left");
}

#[test]
fn last_eight_boots_are_kept() {
    let mut bench = Bench::new();
    for number in 1..=9 {
        bench.apply(context(number, NOW), report(1, NOW, vec![]));
    }
    assert_eq!(bench.record().forgotten_boots, [(1, boot(1).to_string())]);
    assert_eq!((bench.node.progress(boot(1)), bench.node.progress(boot(2))), (None, Some(1)));
}

#[test]
fn boot_keeps_progress_in_the_batch_that_evicts_it() {
    let mut bench = Bench::new();
    let mut changes = Changes::new(0);
    for (number, seq) in (1..=9).map(|number| (number, 1)).chain([(1, 2)]) {
        let report = report(seq, NOW, vec![]);
        let (boot, context) = context(number, NOW);
        apply(&mut bench.node, &mut bench.dimensions, boot, report, &context, &mut changes, &mut bench.refusals);
    }
    let (record, _) = changes.take_batch();
    assert_eq!(record.forgotten_boots, [(1, boot(2).to_string())]);
    assert_eq!(record.boots.iter().find(|row| row.boot == boot(1).to_string()).map(|row| row.seq), Some(2));
}

#[test]
fn future_line_is_stored_as_of_now() {
    let mut bench = Bench::new();
    let mut facts = pipeline("a", PipelineStatus::Running, Some(1));
    let line = |at| ReportedLine { at, stream: LogStream::Stdout, level: None, line: String::new() };
    facts.logs = vec![line(NOW - 1), line(NOW + 365 * 86_400_000), line(i64::MAX)];
    bench.apply(context(1, NOW), report(1, NOW - 10, vec![facts]));
    assert_eq!(bench.batch().logs.iter().map(|row| row.at).collect::<Vec<_>>(), [NOW - 1, NOW, NOW]);
}

#[test]
fn refused_report_updates_last_seen() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW - 30 * 86_400_000, vec![]));
    assert_eq!(bench.transitions(), ["node UNKNOWN>HEALTHY"]);
    assert_eq!(bench.batch().events[0].at, NOW);
}

#[test]
fn silent_node_is_marked_once() {
    let mut bench = Bench::new();
    bench.mark_unreachable(NOW);
    let kinds: Vec<_> = bench.changes.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventType::StatusChange, EventType::FleetStatus]);
    bench.mark_unreachable(NOW);
    assert_eq!(bench.changes.events.len(), 0);
}

#[test]
fn lines_are_numbered_and_events_fit_a_write() {
    let mut bench = Bench::new();
    let mut facts = pipeline("a", PipelineStatus::Running, Some(1));
    let line = |text: String| ReportedLine { at: NOW, stream: LogStream::Stdout, level: None, line: text };
    facts.logs = (0..250).map(|number| line(format!("line {number}"))).collect();
    facts.logs.push(line("x".repeat(40_000)));
    facts.logs.push(line("last".into()));
    bench.apply(context(1, NOW), report(1, NOW, vec![facts]));
    let entries: Vec<_> = bench.changes.events.iter().filter(|event| event.kind == EventType::LogEntry).collect();
    assert_eq!(entries.iter().map(|event| event.seq).collect::<Vec<_>>(), [100, 200, 250, 251, 252]);
    let ends: Vec<_> = entries.iter().map(|event| event.seq as i64).collect();
    let batch = bench.batch();
    assert_eq!(batch.logs.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=252).collect::<Vec<_>>());
    for row in &batch.logs {
        assert_eq!(row.entry_seq, *ends.iter().find(|end| **end >= row.seq).unwrap());
    }
}

proptest! {
    /// Whatever order, repetition and batching reports come in: what is stored is each report's
    /// delta once, in its own minute.
    #[test]
    fn minute_sums_count_each_report_once(
        sends in prop::collection::vec((1_u128..4, 1_u64..20, 0_i64..1_000), 1..120),
    ) {
        let mut bench = Bench::new();
        let mut stored: BTreeMap<i64, i64> = BTreeMap::new();
        let mut progress: HashMap<u128, u64> = HashMap::new();
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for (boot, seq, value) in sends {
            let end = NOW - seq as i64 * 30_000;
            let facts = vec![pipeline("a", PipelineStatus::Running, Some(value))];
            let outcome = bench.apply(context(boot, NOW), report(seq, end, facts));
            let applied = progress.entry(boot).or_default();
            if seq > *applied {
                *applied = seq;
                *expected.entry(end / 60_000).or_default() += value;
                prop_assert!(matches!(outcome, Outcome::Applied { .. }), "{:?}", outcome);
            } else {
                prop_assert_eq!(outcome, Outcome::Duplicate);
            }
            for row in bench.pipeline_minutes() {
                *stored.entry(row.minute).or_default() += row.events_in;
            }
        }
        prop_assert_eq!(stored, expected);
    }
}

/// Counts of reports that the last report has changed: came, came late, never came.
fn report_counts(bench: &mut Bench) -> BTreeMap<i64, (i64, i64, i64)> {
    let (record, _) = bench.changes.take_batch();
    let rows = record.buckets.iter().flat_map(|bucket| &bucket.pipelines);
    rows.map(|row| (row.minute, (row.reports, row.late_reports, row.missing_reports))).collect()
}

#[test]
fn reports_are_counted_by_how_they_came() {
    let mut bench = Bench::new();
    let orders = || vec![pipeline("orders", PipelineStatus::Running, Some(1))];
    let minute = NOW / 60_000;
    bench.apply(context(1, NOW), report(1, NOW, orders()));
    assert_eq!(report_counts(&mut bench), [(minute, (1, 0, 0))].into());
    // 2 and 3 never came; 4 stands for 4 to 6.
    let merged = NodeReport { covers_from: 4, start: NOW + 15_000, ..report(6, NOW + 30_000, orders()) };
    bench.apply(context(1, NOW + 30_000), merged);
    let counts = report_counts(&mut bench);
    assert_eq!(counts.values().map(|counts| counts.0).sum::<i64>(), 3);
    assert_eq!(counts.values().map(|counts| counts.2).sum::<i64>(), 2);
    // Again: nothing is counted.
    bench.apply(context(1, NOW + 31_000), report(6, NOW + 30_000, orders()));
    assert_eq!(report_counts(&mut bench), BTreeMap::new());
    // After an outage of ten minutes.
    bench.apply(context(1, NOW + 630_000), report(7, NOW + 35_000, orders()));
    assert_eq!(report_counts(&mut bench).into_values().collect::<Vec<_>>(), [(1, 1, 0)]);
    // A hole before a refused report counts with the next one; a pipeline that is new there has lost nothing.
    bench.apply(context(1, NOW + 640_000), report(9, NOW - 8 * 86_400_000, orders()));
    report_counts(&mut bench);
    let both = vec![orders().remove(0), pipeline("bills", PipelineStatus::Running, Some(1))];
    bench.apply(context(1, NOW + 645_000), report(10, NOW + 645_000, both));
    let (record, _) = bench.changes.take_batch();
    let missing = record.buckets.iter().flat_map(|bucket| &bucket.pipelines).map(|row| row.missing_reports);
    assert_eq!(missing.sum::<i64>(), 1);
}

#[test]
fn lists_have_the_last_sample_and_none_when_it_is_absent() {
    let mut bench = Bench::new();
    let orders = |events| vec![pipeline("orders", PipelineStatus::Running, events)];
    let events_in = |bench: &Bench, now| bench.node.live().throughput(now).map(|sum| sum.events_in);
    bench.apply(context(1, NOW), report(1, NOW, orders(Some(50))));
    assert_eq!(events_in(&bench, NOW), Some(10_000), "thousandths of an event a second");
    bench.apply(context(1, NOW + 5_000), report(2, NOW + 5_000, orders(None)));
    assert_eq!(events_in(&bench, NOW + 5_000), None, "the scrape failed");
    bench.apply(context(1, NOW + 10_000), report(3, NOW + 10_000, orders(Some(5))));
    // A back-fill is no news.
    bench.apply(context(1, NOW + 200_000), report(4, NOW + 15_000, orders(Some(5_000))));
    assert_eq!(events_in(&bench, NOW + 200_000), Some(1_000));
    let live = bench.node.live();
    assert_eq!((live.status, live.last_seen_at), (NodeStatus::Healthy, Some(NOW + 200_000)));
    bench.mark_unreachable(NOW + 300_000);
    assert_eq!(events_in(&bench, NOW + 300_000), None, "a silent node has no sample");
}

#[test]
fn status_change_names_its_node() {
    let mut bench = Bench::new();
    bench.apply(context(1, NOW), report(1, NOW, vec![pipeline("orders", PipelineStatus::Crashed, None)]));
    let names: Vec<_> = bench
        .changes
        .events
        .iter()
        .filter(|event| event.kind == EventType::StatusChange)
        .map(|event| match serde_json::from_str(&event.payload.to_json()).unwrap() {
            Event::StatusChange(change) => change.node_name,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [Some("n".to_owned()), Some("n".to_owned())], "of the pipeline and of the node");
}
