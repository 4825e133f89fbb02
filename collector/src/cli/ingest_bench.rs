//! Measures the cost of each step of the ingest path, without HTTP.
//!
//! One thread opens, reads, applies, commits and folds the reports of a fleet, and the same rows are
//! also upserted the plain way, without a journal. For `make bench`, which sets the collector's
//! throughput against it; hidden, because it has no other use.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use systole_shared::{
    BootId, ComponentKind, ComponentReport, Counter, PipelineReport, PipelineSample, Report, ReportRequest, Token,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock;
use crate::config::{Config, Database, IngestLimits, LogLimits};
use crate::ingest::apply::{self, Context};
use crate::ingest::changes::Changes;
use crate::ingest::decompress;
use crate::ingest::protocol::native;
use crate::ingest::state::{IngestState, NodeState};
use crate::model::NodeKey;
use crate::store::{Access, CommitBatch, FlushBatch, NewEnrolment, Store};
use crate::timeseries::WalRecord;

/// The limits are not what is measured.
const UNLIMITED: IngestLimits = IngestLimits {
    component_series: usize::MAX,
    series_per_node: usize::MAX,
    new_series_per_node: usize::MAX,
    pipelines_per_node: usize::MAX,
    new_pipelines_per_node: usize::MAX,
    pipelines_per_environment: usize::MAX,
    new_pipelines_per_environment: usize::MAX,
    body_budget_bytes: usize::MAX,
    body_budget_per_sender_bytes: usize::MAX,
};

/// Reports in one transaction, as under load.
const BATCH: usize = 100;

/// Level of the bodies' zstd, as agents pack.
const LEVEL: i32 = 1;

#[derive(clap::Args)]
pub(super) struct IngestBenchArgs {
    /// Nodes of the fleet
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Pipelines of each node
    #[arg(long, default_value_t = 10)]
    pipelines: usize,
    /// Components of each pipeline
    #[arg(long, default_value_t = 5)]
    components: usize,
    /// Seconds of each of the two ways
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Microseconds per report.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    open: f64,
    decode: f64,
    apply: f64,
    commit: f64,
    fold: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    reports: u64,
    reports_per_second: f64,
    microseconds_per_report: Cost,
    /// The same with every batch's rows upserted at once.
    upserting_reports_per_second: f64,
    upserts_per_second: f64,
}

/// The time of one of the two ways.
#[derive(Debug, Default)]
struct Spent {
    reports: u64,
    rows: u64,
    open: Duration,
    decode: Duration,
    apply: Duration,
    commit: Duration,
    fold: Duration,
}

impl Spent {
    fn total(&self) -> Duration {
        self.open + self.decode + self.apply + self.commit + self.fold
    }

    fn per_report(&self, part: Duration) -> f64 {
        part.as_secs_f64() * 1e6 / self.reports.max(1) as f64
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Wal,
    Upserts,
}

/// Runs both ways on databases of their own below the data directory, which must not exist.
pub(super) async fn run(args: IngestBenchArgs, config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(!config.data_dir.exists(), "{} already exists", config.data_dir.display());
    std::fs::create_dir_all(&config.data_dir).context("cannot create the directory")?;
    let timeseries = spend(&args, config, Way::Wal).await?;
    let upserts = spend(&args, config, Way::Upserts).await?;
    let per_second = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    let outcome = Outcome {
        reports: timeseries.reports,
        reports_per_second: per_second(timeseries.reports, timeseries.total()),
        microseconds_per_report: Cost {
            open: timeseries.per_report(timeseries.open),
            decode: timeseries.per_report(timeseries.decode),
            apply: timeseries.per_report(timeseries.apply),
            commit: timeseries.per_report(timeseries.commit),
            fold: timeseries.per_report(timeseries.fold),
        },
        upserting_reports_per_second: per_second(upserts.reports, upserts.total()),
        upserts_per_second: per_second(upserts.rows, upserts.commit),
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&outcome)?)?;
    Ok(())
}

async fn spend(args: &IngestBenchArgs, config: &Config, way: Way) -> anyhow::Result<Spent> {
    let name = if way == Way::Wal { "journal.db" } else { "upserts.db" };
    let (store, timeseries) =
        crate::app::open_database(&Database::Sqlite(config.data_dir.join(name)), Access::Exclusive).await?;
    let fleet = enroll(&*store, args.nodes).await?;
    let mut state = IngestState::load(timeseries.load().await?, UNLIMITED);
    let bodies = Bodies::new(args);
    let mut spent = Spent::default();
    let mut seq = 0;
    while spent.total() < Duration::from_secs(args.seconds) {
        seq += 1;
        for nodes in fleet.chunks(BATCH) {
            let packed: Vec<_> = nodes.iter().map(|node| (*node, bodies.pack(*node, seq))).collect();
            let (record, batch) = read_and_apply(&packed, &mut state, config, &mut spent)?;
            let begin = Instant::now();
            let (rows, head_seq) = match way {
                Way::Wal => {
                    let rows = record.row_count();
                    let written = timeseries.commit(record, batch).await?;
                    (rows + written.row_count(), written.head_seq)
                }
                Way::Upserts => {
                    let flush = rows_at_once(record, batch.head_seq);
                    let (rows, head_seq) = (flush.row_count() + batch.row_count(), batch.head_seq);
                    timeseries.upsert(batch, flush).await?;
                    (rows, head_seq)
                }
            };
            spent.commit += begin.elapsed();
            spent.rows += rows as u64;
            state.head_seq = head_seq;
        }
    }
    let begin = Instant::now();
    while way == Way::Wal && timeseries.seal() > 0 {
        timeseries.flush().await?;
    }
    spent.fold = begin.elapsed();
    store.close().await;
    Ok(spent)
}

fn read_and_apply(
    packed: &[(NodeKey, Vec<u8>)],
    state: &mut IngestState,
    config: &Config,
    spent: &mut Spent,
) -> anyhow::Result<(WalRecord, CommitBatch)> {
    let mut changes = Changes::new(state.head_seq);
    for (key, packed) in packed {
        let begin = Instant::now();
        let (opened, decoded) = decompress::open(packed, Some("zstd"), |text| (begin.elapsed(), native::decode(text)))?;
        let mut decoded = decoded?;
        spent.open += opened;
        spent.decode += begin.elapsed() - opened;
        let begin = Instant::now();
        let received_at = clock::now_ms();
        let context = Context {
            address: None,
            sent_at: decoded.sent_at,
            received_at,
            interval_ms: i64::try_from(config.interval.as_millis())?,
            oldest: 0,
            log_limits: LogLimits::NONE,
        };
        let node: &mut NodeState = state.nodes.get_mut(key).context("the node is enrolled")?;
        for report in decoded.reports {
            let refusals = &mut decoded.refusals;
            apply::apply(node, &mut state.dimensions, decoded.boot, report, &context, &mut changes, refusals);
            spent.reports += 1;
        }
        anyhow::ensure!(decoded.refusals.count == 0, "good reports are refused: {:?}", decoded.refusals.listed);
        spent.apply += begin.elapsed();
    }
    Ok(changes.take_batch())
}

/// Every row as its own upsert.
fn rows_at_once(record: WalRecord, head_seq: u64) -> FlushBatch {
    let WalRecord { buckets, boots, forgotten_boots, heartbeats, totals } = record;
    let mut batch = FlushBatch { boots, forgotten_boots, heartbeats, totals, head_seq, ..FlushBatch::default() };
    for bucket in buckets {
        batch.dirty_hours.push((bucket.minute.div_euclid(60), bucket.node));
        batch.dirty_days.push((bucket.minute.div_euclid(1_440), bucket.node));
        batch.pipeline_minutes.extend(bucket.pipelines);
        batch.component_minutes.extend(bucket.components);
        batch.node_minutes.extend(bucket.host);
    }
    batch
}

async fn enroll(store: &dyn Store, nodes: usize) -> anyhow::Result<Vec<NodeKey>> {
    let environment = store.load_access(None).await?.context("a new database has an environment")?.environments[0].key;
    let mut keys = Vec::with_capacity(nodes);
    for number in 0..nodes {
        let name = format!("node-{number}");
        let enrolment = NewEnrolment {
            environment,
            hash: Token::new(&name).hash(),
            name,
            machine_id: None,
            os: String::new(),
            agent_version: String::new(),
            labels: Default::default(),
            hint: String::new(),
            now: clock::now_ms(),
            old_tokens_until: 0,
        };
        keys.push(store.enroll_node(enrolment).await?.key);
    }
    Ok(keys)
}

/// Reports that differ in their node and number only.
struct Bodies(Vec<PipelineReport<'static>>);

impl Bodies {
    fn new(args: &IngestBenchArgs) -> Self {
        let number = |most: u64| Counter::new(rand::random_range(0..most));
        let component = |index: usize| ComponentReport {
            id: format!("component_{index}").into(),
            kind: [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink][index.min(2)],
            received_events: number(500_000),
            sent_events: number(500_000),
            received_bytes: Some(number(50_000_000)),
            sent_bytes: Some(number(50_000_000)),
            errors: number(10),
            discarded: number(10),
            latency_ms: Some(rand::random()),
            utilization: Some(rand::random()),
            buffer_events: None,
            buffer_max_events: None,
            buffer_bytes: None,
            buffer_max_bytes: None,
        };
        let sample = || PipelineSample {
            events_in: number(500_000),
            events_out: number(500_000),
            errors: number(10),
            discarded: number(10),
            bytes_in: number(50_000_000),
            bytes_out: number(50_000_000),
            utilization: Some(rand::random()),
            latency_ms: Some(rand::random()),
            reset: false,
        };
        let pipeline = |index: usize| PipelineReport {
            id: format!("pipeline-{index}").into(),
            name: None,
            version: None,
            status: "RUNNING".into(),
            reason: None,
            pid: Some(4_242),
            started_at: Some(1),
            restarts: 0,
            config_checksum: None,
            sample: Some(sample()),
            scrape_error: None,
            components: (0..args.components).map(component).collect(),
            logs: Vec::new(),
            logs_dropped: 0,
            topology: None,
        };
        Bodies((0..args.pipelines).map(pipeline).collect())
    }

    fn pack(&self, node: NodeKey, seq: u64) -> Vec<u8> {
        let now = clock::now_ms();
        let report = Report {
            seq,
            start: now - 5_000,
            end: now,
            agent: None,
            host: None,
            pipelines: self.0.clone(),
            covers: None,
            deployments: Vec::new(),
        };
        let boot_id = BootId(Uuid::from_u128(node.0.unsigned_abs().into()));
        let request = ReportRequest { boot_id, sent_at: now, reports: vec![report] };
        let json = serde_json::to_vec(&request).expect("a report has string keys and finite numbers only");
        zstd::bulk::compress(&json, LEVEL).expect("memory is packed into memory")
    }
}
