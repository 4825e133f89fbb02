//! A node of the fleet: makes reports with known content, keeps what is not acknowledged,
//! and sends it, oldest first, until it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::{
    BootId, ComponentKind, ComponentReport, PipelineReport, Report, ReportAck, ReportRequest, Text, UnixMillis,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::ledger::{Cell, Change, SharedLedger, add};
use crate::clock;
use crate::harness::node::{Encoding, to_json};
use crate::harness::reports::{distinct_counts, pipeline, report, running, with_lines};
use crate::harness::{Answer, NodeClient};

const MINUTE_MS: i64 = 60_000;
/// How far back reports of a spool may lie.
const SPOOL_MS: i64 = 3 * 3_600_000;
/// States that a pipeline may be in.
const STATES: [&str; 4] = ["RUNNING", "DEGRADED", "CRASHED", "STOPPED"];
/// Components of each pipeline between its source and its sink: enough that a short run collects
/// more rows than a collector writes at once.
pub const TRANSFORMS: usize = 20;
/// Between two reports, milliseconds at most.
const MAX_PAUSE_MS: u64 = 160;
/// Reports in a request at most.
const MAX_BATCH: usize = 20;
/// Boots of a node with waiting reports at most: the collector keeps eight.
const MAX_BOOTS_WAITING: usize = 3;
/// The waits of an agent after a failure: short, so that requests arrive in every phase of a collector's start.
const RETRY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_millis(200),
    longest: Duration::from_millis(200),
    longest_asked: Duration::ZERO,
    jitter: Jitter::Full,
};

/// A report that is not acknowledged.
#[derive(Clone, Debug)]
struct Waiting {
    boot: BootId,
    report: Report<'static>,
    cells: Vec<((String, UnixMillis), Cell)>,
}

/// Waiting reports, shared by the task that makes reports and the one that sends them.
#[derive(Clone, Debug, Default)]
struct Queue(Arc<Mutex<VecDeque<Waiting>>>);

impl Queue {
    fn open(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pipeline as its agent knows it.
#[derive(Debug)]
struct Pipeline {
    id: String,
    status: &'static str,
    lines: u64,
}

/// Makes reports.
#[derive(Debug)]
struct Maker {
    node: NodeClient,
    random: StdRng,
    ledger: SharedLedger,
    queue: Queue,
    pipelines: Vec<Pipeline>,
    boot: BootId,
    seq: u64,
    /// The end of the next report, and for how many more it is in the past.
    past: Option<(UnixMillis, u32)>,
}

/// Runs a node until it is stopped and everything is acknowledged.
pub async fn run(
    node: NodeClient,
    pipelines: Vec<String>,
    seed: u64,
    ledger: SharedLedger,
    stop: watch::Receiver<bool>,
) {
    let queue = Queue::default();
    let pipelines = pipelines.into_iter().map(|id| Pipeline { id, status: "UNKNOWN", lines: 0 }).collect();
    let mut random = StdRng::seed_from_u64(seed);
    let sender = StdRng::seed_from_u64(random.random());
    let mut maker = Maker {
        node: node.clone(),
        random,
        ledger: ledger.clone(),
        queue: queue.clone(),
        pipelines,
        boot: BootId(Uuid::now_v7()),
        seq: 0,
        past: None,
    };
    maker.begin_life();
    tokio::join!(maker.run(stop.clone()), send(node, queue, sender, ledger, stop));
}

impl Maker {
    async fn run(&mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let waiting: std::collections::BTreeSet<_> =
                self.queue.open().iter().map(|it| it.boot.to_string()).collect();
            if waiting.len() < MAX_BOOTS_WAITING && self.random.random_bool(0.02) {
                self.begin_life();
            }
            self.make();
            // The pace of the imagined agent.
            sleep(Duration::from_millis(self.random.random_range(20..=MAX_PAUSE_MS))).await;
        }
    }

    /// Starts a new boot of the agent; it may have been down for hours with reports in its spool.
    fn begin_life(&mut self) {
        self.boot = BootId(Uuid::now_v7());
        self.seq = 0;
        let back = self.random.random_range(10 * MINUTE_MS..SPOOL_MS);
        self.past = self.random.random_bool(0.7).then(|| (clock::now_ms() - back, self.random.random_range(3..25)));
        self.ledger.open().boots += 1;
    }

    fn end_of_next(&mut self) -> UnixMillis {
        let now = clock::now_ms();
        match self.past {
            Some((end, left)) if left > 0 && end < now => {
                self.past = Some((end + self.random.random_range(1_000..90_000), left - 1));
                end
            }
            _ => now,
        }
    }

    fn make(&mut self) {
        let end = self.end_of_next();
        let minute = end - end.rem_euclid(MINUTE_MS);
        self.seq += 1;
        let mut ledger = self.ledger.open();
        ledger.reports += 1;
        let mut cells = Vec::new();
        let mut pipelines = Vec::new();
        for known in &mut self.pipelines {
            let place = (self.node.id, known.id.clone());
            let (made, cell) = sample(&known.id, &mut self.random);
            let key = (known.id.clone(), minute);
            add(&mut ledger.made, &key, cell);
            cells.push((key, cell));
            if known.status == "UNKNOWN" || self.random.random_bool(0.04) {
                let to = STATES[self.random.random_range(0..STATES.len())];
                if to != known.status {
                    let change = Change { from: known.status.to_owned(), to: to.to_owned(), at: end };
                    ledger.changes.entry(place.clone()).or_default().push(change);
                    known.status = to;
                }
            }
            let first = known.lines + 1;
            known.lines += self.random.random_range(0..3);
            ledger.lines.insert(place, known.lines);
            let lines = (first..=known.lines).map(|number| line(&self.node, &known.id, number));
            pipelines.push(PipelineReport { status: Text::from(known.status), ..with_lines(made, end, lines) });
        }
        let report = report(self.seq, end, pipelines);
        // While the ledger is open: nothing is acknowledged that is not in it.
        self.queue.open().push_back(Waiting { boot: self.boot, report, cells });
    }
}

/// The text of a numbered line.
fn line(node: &NodeClient, pipeline: &str, number: u64) -> String {
    format!("{} {pipeline} {number}", node.id)
}

/// The place and the number of a line.
pub fn read_line(line: &str) -> Option<(super::ledger::Place, u64)> {
    let mut words = line.split(' ');
    let (node, pipeline, number) = (words.next()?, words.next()?, words.next()?);
    Some(((node.parse().ok()?, pipeline.to_owned()), number.parse().ok()?))
}

/// The name of the n-th of them.
pub fn transform(number: usize) -> String {
    format!("transform-{number}")
}

fn sample(id: &str, random: &mut StdRng) -> (PipelineReport<'static>, Cell) {
    if random.random_bool(0.08) {
        let failed = PipelineReport { scrape_error: Some(Text::from("refused")), ..pipeline(id, "") };
        return (failed, Cell { gaps: 1, ..Cell::default() });
    }
    let counts = distinct_counts(random.random_range(0..1_000));
    let mut made = running(id, counts);
    let source = made.components[0].clone();
    made.components.extend((0..TRANSFORMS).map(|number| ComponentReport {
        id: Text::from(transform(number)),
        kind: ComponentKind::Transform,
        ..source.clone()
    }));
    (made, Cell { counts, samples: 1, gaps: 0 })
}

/// Sends what waits, one request at a time, the oldest first, each until it is acknowledged.
async fn send(node: NodeClient, queue: Queue, mut random: StdRng, ledger: SharedLedger, stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(RETRY);
    loop {
        let count = random.random_range(1..=MAX_BATCH);
        let Some(request) = next_request(&queue, count) else {
            if *stop.borrow() {
                return;
            }
            sleep(Duration::from_millis(random.random_range(5..50))).await;
            continue;
        };
        let packed = Encoding::Zstd.pack(&to_json(&request));
        let base = node.client().base().to_owned();
        let answer = Answer::try_of(node.raw_request(packed, Encoding::Zstd.name()));
        match timeout(node.client().patience(), answer).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                let ack: ReportAck = answer.json();
                assert_eq!(ack.refused, [], "a good report is refused");
                assert_eq!(ack.missing, None, "no report is left out");
                remove_durable(&queue, &ledger, request.boot_id, ack.durable_seq);
                backoff.reset();
                continue;
            }
            Ok(Ok(answer)) => {
                // 408: of a collector that was frozen when the request came.
                assert!(
                    answer.status >= 500 || answer.status == 408,
                    "an agent would give such reports up: {answer:?}"
                );
                ledger.open().put_off += 1;
            }
            Ok(Err(_)) | Err(_) => ledger.open().failures += 1,
        }
        node.client().move_on(&base);
        sleep(backoff.next(random.random(), None)).await;
    }
}

fn next_request(queue: &Queue, count: usize) -> Option<ReportRequest<'static>> {
    let queue = queue.open();
    let boot_id = queue.front()?.boot;
    let reports = queue.iter().take_while(|waiting| waiting.boot == boot_id).take(count);
    Some(ReportRequest { boot_id, sent_at: clock::now_ms(), reports: reports.map(|it| it.report.clone()).collect() })
}

fn remove_durable(queue: &Queue, ledger: &SharedLedger, boot: BootId, durable_seq: u64) {
    let mut ledger = ledger.open();
    let mut queue = queue.open();
    while let Some(waiting) = queue.pop_front_if(|it| it.boot == boot && it.report.seq <= durable_seq) {
        for (key, cell) in &waiting.cells {
            add(&mut ledger.durable, key, *cell);
        }
    }
}
