//! Tests of totals: what counts is what the processes have counted, whatever happens to the reports.

use proptest::collection::vec;
use proptest::prelude::*;
use systole_shared::{ComponentKind, PipelineStatus};

use super::*;
use crate::model::report::{ReportedDeployments, TotalsOfPipeline};

const NOW: UnixMillis = 1_790_000_000_000;

fn component(id: &str, kind: ComponentKind, received_events: i64, sent_events: i64) -> ReportedComponent {
    ReportedComponent {
        id: ComponentId::parse(id).unwrap(),
        kind,
        received_events,
        sent_events,
        received_bytes: None,
        sent_bytes: Some(sent_events * 10),
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

/// A process, as a report says.
#[derive(Clone, Copy)]
struct Seen {
    pid: u32,
    uptime_seconds: u64,
}

fn pipeline(
    id: &str,
    seen: Seen,
    sample: Option<PipelineDeltas>,
    components: Vec<ReportedComponent>,
) -> TotalsOfPipeline {
    let pipeline = ReportedPipeline {
        id: PipelineId::parse(id).unwrap(),
        name: None,
        version: None,
        status: PipelineStatus::Running,
        status_text: None,
        reason: String::new(),
        pid: Some(seen.pid),
        started_at: None,
        restarts: 0,
        config_checksum: None,
        sample,
        scrape_error: None,
        components,
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    };
    TotalsOfPipeline { pipeline, uptime_seconds: Some(seen.uptime_seconds), components_complete: true }
}

/// A source `in` and a sink `out` with these totals, and the pipeline's totals as their sums.
fn in_and_out(seen: Seen, received: i64, sent: i64) -> TotalsOfPipeline {
    let sample = PipelineDeltas { events_in: received, events_out: sent, bytes_out: sent * 10, ..Default::default() };
    let components = vec![
        component("in", ComponentKind::Source, received, received),
        component("out", ComponentKind::Sink, sent, sent),
    ];
    let mut pipeline = pipeline("orders", seen, Some(sample), components);
    pipeline.pipeline.components[0].sent_bytes = None;
    pipeline
}

fn report(pipelines: Vec<TotalsOfPipeline>) -> TotalsReport {
    let deployments = ReportedDeployments::UNKNOWN;
    TotalsReport { agent: None, health: None, host: None, pipelines, complete: true, deployments }
}

/// A node that enrolled at NOW.
#[derive(Default)]
struct Bench {
    totals: NodeTotals,
}

impl Bench {
    fn take(&mut self, at_seconds: i64, pipelines: Vec<TotalsOfPipeline>) -> NodeReport {
        // As a restart of the collector would.
        self.totals = NodeTotals::unpack(&self.totals.pack());
        self.totals.advance(report(pipelines), NOW, NOW + at_seconds * 1_000)
    }

    /// The growth of the events in and out of the only pipeline.
    fn grown(&mut self, at_seconds: i64, pipeline: TotalsOfPipeline) -> Option<(i64, i64)> {
        let report = self.take(at_seconds, vec![pipeline]);
        report.pipelines[0].sample.map(|sample| (sample.events_in, sample.events_out))
    }
}

#[test]
fn growth_is_the_difference_to_the_last_totals() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    assert_eq!(bench.grown(5, in_and_out(seen(4), 100, 90)), Some((100, 90)), "it started after the enrolment");
    let next = bench.take(10, vec![in_and_out(seen(9), 150, 150)]);
    assert_eq!((next.start, next.end), (NOW + 5_000, NOW + 10_000));
    let pipeline = &next.pipelines[0];
    assert_eq!(pipeline.sample.unwrap().bytes_out, 600);
    assert_eq!((pipeline.components[0].received_events, pipeline.components[1].sent_bytes), (50, Some(600)));
    assert_eq!(pipeline.components[0].received_bytes, None, "unknown stays unknown");
    assert_eq!(bench.grown(10, in_and_out(seen(9), 150, 150)), Some((0, 0)), "the same heartbeat again");
    assert_eq!(bench.grown(15, in_and_out(seen(14), 151, 150)), Some((1, 0)));
}

#[test]
fn failed_scrape_is_no_zero_and_loses_nothing() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    bench.grown(5, in_and_out(seen(4), 100, 90));
    assert_eq!(bench.grown(10, pipeline("orders", seen(9), None, Vec::new())), None);
    assert_eq!(bench.grown(15, in_and_out(seen(14), 130, 120)), Some((30, 30)));
}

#[test]
fn new_process_counts_whole_also_above_the_old_totals() {
    let mut bench = Bench::default();
    bench.grown(5, in_and_out(Seen { pid: 7, uptime_seconds: 4 }, 100, 90));
    let report = bench.take(10, vec![in_and_out(Seen { pid: 8, uptime_seconds: 3 }, 140, 130)]);
    let sample = report.pipelines[0].sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (140, 130, true));
    assert_eq!((report.pipelines[0].restarts, report.pipelines[0].started_at), (1, Some(NOW + 7_000)));
    // The same id again, as in a container.
    assert_eq!(bench.grown(15, in_and_out(Seen { pid: 8, uptime_seconds: 1 }, 141, 130)), Some((141, 130)));
    let after = bench.take(20, vec![in_and_out(Seen { pid: 8, uptime_seconds: 6 }, 142, 130)]);
    assert!(!after.pipelines[0].sample.unwrap().reset);
}

#[test]
fn reset_behind_a_failed_scrape_comes_with_the_next_sample() {
    let mut bench = Bench::default();
    bench.grown(5, in_and_out(Seen { pid: 7, uptime_seconds: 4 }, 100, 90));
    bench.grown(10, pipeline("orders", Seen { pid: 8, uptime_seconds: 1 }, None, Vec::new()));
    let report = bench.take(15, vec![in_and_out(Seen { pid: 8, uptime_seconds: 6 }, 120, 110)]);
    let sample = report.pipelines[0].sample.unwrap();
    assert_eq!((sample.events_in, sample.reset), (120, true));
}

#[test]
fn process_that_ran_before_the_node_was_watched_begins_to_count() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    assert_eq!(bench.grown(5, in_and_out(seen(86_400), 1_000_000, 900_000)), None);
    assert_eq!(bench.grown(10, in_and_out(seen(86_405), 1_000_020, 900_010)), Some((20, 10)));
    // A process of which nothing is known.
    let mut unknown = in_and_out(seen(0), 1_000, 900);
    (unknown.pipeline.pid, unknown.uptime_seconds) = (None, None);
    assert_eq!(Bench::default().grown(5, unknown), None);
}

#[test]
fn pipeline_that_starts_later_counts_whole() {
    let mut bench = Bench::default();
    let other = |uptime_seconds| pipeline("other", Seen { pid: 6, uptime_seconds }, None, Vec::new());
    bench.take(1_000, vec![other(1_000)]);
    let mut pending = in_and_out(Seen { pid: 0, uptime_seconds: 0 }, 0, 0);
    (pending.pipeline.pid, pending.uptime_seconds, pending.pipeline.sample) = (None, None, None);
    bench.take(1_005, vec![other(1_005), pending]);
    let orders = in_and_out(Seen { pid: 9, uptime_seconds: 4 }, 70, 60);
    let report = bench.take(1_010, vec![other(1_010), orders]);
    assert_eq!(report.pipelines[1].sample.unwrap().events_in, 70);
}

#[test]
fn pipeline_that_was_absent_for_a_moment_counts_on() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    bench.grown(5, in_and_out(seen(4), 100, 90));
    bench.take(10, vec![]);
    assert_eq!(bench.grown(15, in_and_out(seen(14), 130, 120)), Some((30, 30)));
    bench.take(700, vec![]);
    assert_eq!(bench.totals.pipelines, []);
    assert_eq!(bench.grown(705, in_and_out(seen(704), 200, 190)), None, "it is not known what it counted meanwhile");
}

#[test]
fn counter_that_begins_again_does_not_repeat_its_neighbours() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    let two_sources = |a: i64, b: i64| {
        let sample = PipelineDeltas { events_in: a + b, ..Default::default() };
        let components = vec![component("a", ComponentKind::Source, a, 0), component("b", ComponentKind::Source, b, 0)];
        (sample, components)
    };
    let mut take = |at: i64, (sample, components): (PipelineDeltas, Vec<ReportedComponent>)| {
        let report = bench.take(at, vec![pipeline("orders", seen(at.unsigned_abs() - 1), Some(sample), components)]);
        report.pipelines[0].sample.unwrap().events_in
    };
    assert_eq!(take(5, two_sources(1_000, 500)), 1_500);
    // Vector has dropped the idle counter of `a`, and then the component.
    assert_eq!(take(310, two_sources(0, 510)), 10);
    let (sample, mut components) = two_sources(0, 520);
    components.remove(0);
    assert_eq!(take(315, (sample, components)), 10);
    assert_eq!(take(320, two_sources(1_200, 530)), 1_210, "above its old total");
    // The sum does not show that `a` has begun again.
    assert_eq!(take(625, two_sources(5, 1_800)), 5 + 1_270);
}

#[test]
fn totals_that_are_no_sums_of_components_are_compared_alone() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    let with = |uptime, events_in| {
        let sample = PipelineDeltas { events_in, ..Default::default() };
        pipeline("orders", seen(uptime), Some(sample), vec![component("in", ComponentKind::Source, 5, 5)])
    };
    assert_eq!(bench.grown(5, with(4, 100)), Some((100, 0)));
    assert_eq!(bench.grown(10, with(9, 130)), Some((30, 0)));
    assert_eq!(bench.grown(15, with(14, 20)), Some((20, 0)));
}

#[test]
fn component_that_was_refused_once_is_not_counted_again() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    bench.grown(5, in_and_out(seen(4), 100, 90));
    let mut partial = in_and_out(seen(9), 110, 100);
    partial.pipeline.components.pop();
    partial.components_complete = false;
    bench.take(10, vec![partial]);
    let report = bench.take(15, vec![in_and_out(seen(14), 120, 110)]);
    assert_eq!(report.pipelines[0].components[1].sent_events, 20);
}

#[test]
fn heartbeat_that_was_overtaken_counts_nothing() {
    let mut bench = Bench::default();
    let seen = |uptime_seconds| Seen { pid: 7, uptime_seconds };
    bench.grown(5, in_and_out(seen(4), 100, 90));
    bench.grown(300, in_and_out(seen(299), 200, 190));
    assert_eq!(bench.grown(301, in_and_out(seen(200), 150, 140)), None);
    assert_eq!(bench.grown(305, in_and_out(seen(304), 210, 190)), Some((10, 0)));
}

#[test]
fn totals_of_another_version_are_unknown() {
    assert_eq!(NodeTotals::unpack(&[]), NodeTotals::default());
    assert_eq!(NodeTotals::unpack(&[VERSION + 1, 1, 2]), NodeTotals::default());
    assert_eq!(NodeTotals::unpack(&[VERSION, 0xff]), NodeTotals::default());
}

#[test]
fn interval_is_bounded() {
    let mut bench = Bench::default();
    let first = bench.take(5, vec![]);
    assert_eq!(first.start, first.end, "the usual interval");
    let later = bench.take(86_400, vec![]);
    assert_eq!(later.end - later.start, MAX_INTERVAL_MS);
    let earlier = bench.take(80_000, vec![]);
    assert_eq!(earlier.start, earlier.end, "the clock went back");
}

/// What happens between two heartbeats.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The source receives, and the sink sends.
    Count(u16, u16),
    /// The process ends and another one starts.
    Restart {
        keeps_pid: bool,
    },
    /// Vector drops the counters of the sink.
    DropIdle,
    Heartbeat,
    /// The answer is lost: the same body comes again.
    Repeat,
    FailedScrape,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u16>(), any::<u16>()).prop_map(|(received, sent)| Step::Count(received, sent)),
        1 => any::<bool>().prop_map(|keeps_pid| Step::Restart { keeps_pid }),
        1 => Just(Step::DropIdle),
        4 => Just(Step::Heartbeat),
        1 => Just(Step::Repeat),
        1 => Just(Step::FailedScrape),
    ]
}

/// A process and what it has counted, and a naive sum of it.
struct Model {
    bench: Bench,
    now: i64,
    started: i64,
    pid: u32,
    received: i64,
    sent: i64,
    /// The body of the last heartbeat.
    last: Option<TotalsOfPipeline>,
    expected: (i64, i64),
    grown: (i64, i64),
}

impl Model {
    fn seen(&self) -> Seen {
        Seen { pid: self.pid, uptime_seconds: (self.now - self.started).unsigned_abs() }
    }

    fn heartbeat(&mut self) {
        self.now += 5;
        let heartbeat = in_and_out(self.seen(), self.received, self.sent);
        self.last = Some(heartbeat.clone());
        let sample = self.bench.grown(self.now, heartbeat).unwrap();
        self.grown = (self.grown.0 + sample.0, self.grown.1 + sample.1);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Count(received, sent) => {
                let (received, sent) = (i64::from(received), i64::from(sent));
                (self.received, self.sent) = (self.received + received, self.sent + sent);
                self.expected = (self.expected.0 + received, self.expected.1 + sent);
            }
            // What no heartbeat has said before is lost, so one says it.
            Step::Restart { keeps_pid } => {
                self.now += 40;
                self.heartbeat();
                self.pid += u32::from(!keeps_pid);
                self.started = self.now + 2;
                (self.received, self.sent) = (0, 0);
                // Its age shows that it is another one: a heartbeat comes before it is as old as the last one was.
                self.heartbeat();
            }
            Step::DropIdle => {
                self.heartbeat();
                self.sent = 0;
                self.now += 300;
                self.heartbeat();
            }
            Step::Heartbeat => self.heartbeat(),
            Step::Repeat => {
                if let Some(last) = self.last.clone() {
                    assert_eq!(self.bench.grown(self.now, last), Some((0, 0)));
                }
            }
            Step::FailedScrape => {
                self.now += 5;
                let failed = pipeline("orders", self.seen(), None, Vec::new());
                assert_eq!(self.bench.grown(self.now, failed), None);
                self.last = None;
            }
        }
    }
}

proptest! {
    #[test]
    fn growth_adds_up_to_what_was_counted(steps in vec(step(), 1..80)) {
        let (bench, last) = (Bench::default(), None);
        let none = (0, 0);
        let mut model =
            Model { bench, now: 5, started: 1, pid: 7, received: 0, sent: 0, last, expected: none, grown: none };
        steps.into_iter().for_each(|step| model.take(step));
        model.heartbeat();
        prop_assert_eq!(model.grown, model.expected);
    }
}
