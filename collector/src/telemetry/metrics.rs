//! The collector's own metrics, for /metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::prometheus_text;
use crate::version::{BUILD, Build};

/// A label that says which event type.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TypeLabel {
    pub r#type: &'static str,
}

/// A label that says why.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub reason: &'static str,
}

/// A label that says which limit.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct LimitLabel {
    pub limit: &'static str,
}

/// A label that says in which state.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    pub status: &'static str,
}

/// A label that says what was done.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ActionLabel {
    pub action: &'static str,
}

/// A label that says which part of a whole.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PartLabel {
    pub part: &'static str,
}

/// A label that says which table.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TableLabel {
    pub table: String,
}

/// What the program was built from.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
    target: &'static str,
    rustc: &'static str,
}

/// A label that says which background task.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TaskLabel {
    pub task: &'static str,
}

/// The longest forecast: nothing grows, or too little is known.
pub(crate) const MAX_DAYS_UNTIL_FULL: f64 = 3_650.0;
/// Labels that say which rule, and how severe.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct AlertLabel {
    pub rule: String,
    pub severity: &'static str,
}

/// A label that says which kind of target.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TargetLabel {
    pub target: &'static str,
}

/// Counters and histograms, cheap to clone and to count with.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    pub reports_applied: Counter,
    pub reports_duplicate: Counter,
    pub reports_refused: Counter,
    pub reports_missing: Counter,
    pub items_refused: Counter,
    pub pipelines_refused: Family<LimitLabel, Counter>,
    pub pipelines_removed: Counter,
    pub components_without_history: Counter,
    pub component_histories: Gauge,
    pub requests_rejected: Family<ReasonLabel, Counter>,
    pub long_bodies: Counter,
    pub unfinished_body_bytes: Gauge,
    pub body_bytes: Counter,
    pub events_reported: Counter,
    pub rows_written: Counter,
    pub log_lines: Counter,
    pub log_lines_dropped: Counter,
    /// Only with a bound for it.
    pub log_bytes: Gauge,
    pub commits: Counter,
    pub commit_failures: Counter,
    pub commit_seconds: Histogram,
    pub flush_seconds: Histogram,
    pub wal_rows: Gauge,
    pub wal_bytes: Gauge,
    pub history_cache_hits: Counter,
    pub history_cache_misses: Counter,
    pub rows_expired: Counter,
    pub rows_evicted: Counter,
    pub database_bytes: Family<TableLabel, Gauge>,
    /// Only where there is a file.
    pub database_file_bytes: Family<PartLabel, Gauge>,
    pub disk_free_bytes: Gauge,
    pub disk_low: Gauge,
    pub disk_full: Gauge,
    pub series_rolled_up: Counter,
    pub log_blocks_indexed: Counter,
    pub events_published: Family<TypeLabel, Counter>,
    pub push_streams: Gauge,
    pub cluster_leader: Gauge,
    pub cluster_term: Gauge,
    pub cluster_lag_seconds: Gauge<f64, AtomicU64>,
    pub cluster_followers: Gauge,
    pub cluster_forwarded: Counter,
    pub cluster_take_overs: Counter,
    pub feed_subscribers: Gauge,
    pub feed_bytes: Counter,
    pub feed_deliveries: Counter,
    pub feed_replays: Counter,
    pub feed_gaps: Family<ReasonLabel, Counter>,
    pub feed_streams_closed: Family<ReasonLabel, Counter>,
    pub feed_refused: Family<ReasonLabel, Counter>,
    pub feed_lag_events: Gauge,
    pub feed_lag_seconds: Gauge<f64, AtomicU64>,
    pub recent_samples_bytes: Gauge,
    pub recent_samples_pipelines: Gauge,
    pub recent_samples_components: Gauge,
    pub recent_samples_per_component: Gauge,
    pub recent_samples_per_pipeline: Gauge,
    pub samples_evicted: Family<ActionLabel, Counter>,
    pub queries_running: Gauge,
    pub queries_refused: Counter,
    pub tls_handshakes: Gauge,
    pub tls_handshakes_failed: Family<ReasonLabel, Counter>,
    pub nodes: Family<StatusLabel, Gauge>,
    pub ingest_queue: Gauge,
    pub alerts: Family<AlertLabel, Gauge>,
    pub alert_samples_left_out: Counter,
    pub notifications_sent: Family<TargetLabel, Counter>,
    pub notifications_failed: Family<TargetLabel, Counter>,
    pub notifications_waiting: Gauge,
    pub notifications_oldest: Gauge<f64, AtomicU64>,
    pub task_last_success: Family<TaskLabel, Gauge<f64, AtomicU64>>,
    pub task_failures: Family<TaskLabel, Counter>,
    /// 0 when there is none.
    pub backup_last_success: Gauge<f64, AtomicU64>,
    pub growth_bytes_per_day: Gauge<f64, AtomicU64>,
    pub seconds_until_full: Gauge<f64, AtomicU64>,
    pub resident_bytes: Gauge,
    pub cpu_seconds: Counter<f64, AtomicU64>,
    pub start_time_seconds: Gauge<f64, AtomicU64>,
}

impl Telemetry {
    /// Everything at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let systole = registry.sub_registry_with_prefix("systole");
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                systole.register($name, $help, metric.clone());
                metric
            }};
        }
        let seconds = || Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
        let commit_seconds = seconds();
        systole.register_with_unit("commit", "Time of one transaction", Unit::Seconds, commit_seconds.clone());
        let flush_seconds = seconds();
        let help = "Time of one transaction that flushes the write-ahead log";
        systole.register_with_unit("wal_flush", help, Unit::Seconds, flush_seconds.clone());
        let mut telemetry = Telemetry {
            reports_applied: metric!("reports_applied", "Reports committed", Counter::default()),
            reports_duplicate: metric!(
                "reports_duplicate",
                "Reports acknowledged again, not applied",
                Counter::default()
            ),
            reports_refused: metric!("reports_refused", "Reports refused as a whole", Counter::default()),
            reports_missing: metric!("reports_missing", "Reports that agents can no longer send", Counter::default()),
            items_refused: metric!("items_refused", "Items refused in reports that were accepted", Counter::default()),
            pipelines_refused: metric!(
                "pipelines_refused",
                "New pipelines refused because a node or an environment has too many",
                Family::default()
            ),
            pipelines_removed: metric!(
                "pipelines_removed",
                "Pipelines of nodes removed because they were not reported for the longest retention",
                Counter::default()
            ),
            components_without_history: metric!(
                "component_samples_without_history",
                "Samples of components that have no history, because there are too many",
                Counter::default()
            ),
            component_histories: metric!("component_histories", "Components that have a history", Gauge::default()),
            long_bodies: metric!("long_bodies", "Long bodies of reports, read in turns", Counter::default()),
            unfinished_body_bytes: metric!(
                "unfinished_body_bytes",
                "Memory of bodies that are not whole yet",
                Gauge::default()
            ),
            requests_rejected: metric!("requests_rejected", "Requests of agents rejected", Family::default()),
            body_bytes: metric!("report_body_bytes", "Bytes of report bodies as received", Counter::default()),
            events_reported: metric!(
                "pipeline_events_in",
                "Events that pipelines received, as reported",
                Counter::default()
            ),
            rows_written: metric!("rows_written", "Rows written to the database", Counter::default()),
            log_lines: metric!("log_lines_stored", "Log lines written to the database", Counter::default()),
            log_lines_dropped: metric!(
                "log_lines_dropped",
                "Log lines above the budget of their node, not stored",
                Counter::default()
            ),
            log_bytes: metric!(
                "log_bytes",
                "Bytes of log lines, estimated, with retention_logs_bytes",
                Gauge::default()
            ),
            commits: metric!("commits", "Transactions committed", Counter::default()),
            commit_failures: metric!("commit_failures", "Transactions that failed", Counter::default()),
            commit_seconds,
            flush_seconds,
            wal_rows: metric!("wal_rows", "Rows that are only in the write-ahead log", Gauge::default()),
            wal_bytes: metric!("wal_bytes", "Bytes of the write-ahead log's records", Gauge::default()),
            history_cache_hits: metric!(
                "history_cache_hits",
                "Hours of pipelines' minutes that queries found in memory",
                Counter::default()
            ),
            history_cache_misses: metric!(
                "history_cache_misses",
                "Hours of pipelines' minutes, all over, that queries read from the database",
                Counter::default()
            ),
            rows_expired: metric!("rows_expired", "Rows removed after their retention", Counter::default()),
            rows_evicted: metric!("rows_evicted", "Rows removed early because the disk is low", Counter::default()),
            database_bytes: metric!("database_bytes", "Bytes of a table with its indexes", Family::default()),
            database_file_bytes: metric!(
                "database_file_bytes",
                "Bytes of the database's file (used and reusable) and of its write-ahead log",
                Family::default()
            ),
            disk_free_bytes: metric!(
                "disk_free_bytes",
                "Free bytes of the disk of the database, or of the data directory",
                Gauge::default()
            ),
            disk_low: metric!("disk_low", "1 while log lines are removed early: the disk is low", Gauge::default()),
            disk_full: metric!("disk_full", "1 while reports are refused: the disk is almost full", Gauge::default()),
            series_rolled_up: metric!("series_rolled_up", "Series summed into hours and days", Counter::default()),
            log_blocks_indexed: metric!(
                "log_blocks_indexed",
                "Blocks of log lines added to the search index",
                Counter::default()
            ),
            events_published: metric!("events_published", "Events published to the feed", Family::default()),
            push_streams: metric!("push_streams", "Open push streams of agents", Gauge::default()),
            cluster_leader: metric!("cluster_leader", "1 while this collector leads", Gauge::default()),
            cluster_term: metric!("cluster_term", "Take-overs of the cluster so far", Gauge::default()),
            cluster_lag_seconds: metric!(
                "cluster_entry_lag_seconds",
                "Time since this collector heard of the leader; 0 in the leader",
                Gauge::default()
            ),
            cluster_followers: metric!("cluster_followers", "Collectors that follow this one", Gauge::default()),
            cluster_forwarded: metric!(
                "cluster_forwarded_submissions",
                "Requests of agents that were handed to the collector that leads",
                Counter::default()
            ),
            cluster_take_overs: metric!(
                "cluster_take_overs",
                "Times that this collector became the leader",
                Counter::default()
            ),
            feed_subscribers: metric!("feed_subscribers", "Open streams of the feed", Gauge::default()),
            feed_bytes: metric!("feed_sent_bytes", "Bytes handed to subscribers", Counter::default()),
            feed_deliveries: metric!("feed_deliveries", "Events handed to subscribers", Counter::default()),
            feed_replays: metric!("feed_replays", "Replays served from the database", Counter::default()),
            feed_gaps: metric!("feed_gaps", "Gaps announced to subscribers", Family::default()),
            feed_streams_closed: metric!("feed_streams_closed", "Streams that ended", Family::default()),
            feed_refused: metric!("feed_refused", "Streams not opened because there are too many", Family::default()),
            feed_lag_events: metric!(
                "feed_slowest_lag_events",
                "Durable events that the slowest subscriber has not polled",
                Gauge::default()
            ),
            feed_lag_seconds: metric!(
                "feed_slowest_lag_seconds",
                "Age of the oldest event that the slowest subscriber has not polled",
                Gauge::default()
            ),
            recent_samples_bytes: metric!("recent_samples_bytes", "Memory of recent samples", Gauge::default()),
            recent_samples_pipelines: metric!(
                "recent_samples_pipelines",
                "Pipelines of nodes with recent samples",
                Gauge::default()
            ),
            recent_samples_components: metric!(
                "recent_samples_components",
                "Components with recent samples",
                Gauge::default()
            ),
            recent_samples_per_component: metric!(
                "recent_samples_per_component",
                "Recent samples that are kept of a component at most",
                Gauge::default()
            ),
            recent_samples_per_pipeline: metric!(
                "recent_samples_per_pipeline",
                "Recent samples that are kept of a pipeline at most",
                Gauge::default()
            ),
            samples_evicted: metric!(
                "samples_evicted",
                "Times that the samples of a pipeline or component were reduced or dropped for the budget",
                Family::default()
            ),
            queries_running: metric!("queries_running", "Queries of readers that run", Gauge::default()),
            queries_refused: metric!(
                "queries_refused",
                "Queries refused because too many of their token wait",
                Counter::default()
            ),
            tls_handshakes: metric!("tls_handshakes", "TLS handshakes that are not finished", Gauge::default()),
            tls_handshakes_failed: metric!(
                "tls_handshakes_failed",
                "TLS handshakes that came to nothing",
                Family::default()
            ),
            nodes: metric!("nodes", "Nodes by state", Family::default()),
            ingest_queue: metric!("ingest_queue_length", "Requests that wait for the committer", Gauge::default()),
            alerts: metric!("alerts_firing", "Alerts that fire", Family::default()),
            alert_samples_left_out: metric!(
                "alert_samples_left_out",
                "Samples of pipelines that alerts do not see, because there are too many pipelines",
                Counter::default()
            ),
            notifications_sent: metric!("notifications_sent", "Messages that targets took", Family::default()),
            notifications_failed: metric!(
                "notifications_failed",
                "Attempts to deliver a message that failed",
                Family::default()
            ),
            notifications_waiting: metric!(
                "notifications_waiting",
                "Messages that are not delivered yet",
                Gauge::default()
            ),
            notifications_oldest: metric!(
                "notifications_oldest_seconds",
                "Age of the oldest message that is not delivered yet",
                Gauge::default()
            ),
            task_last_success: metric!(
                "task_last_success_timestamp_seconds",
                "When a background task last succeeded, in Unix seconds",
                Family::default()
            ),
            task_failures: metric!("task_failures", "Activations of a background task that failed", Family::default()),
            backup_last_success: metric!(
                "backup_last_success_timestamp_seconds",
                "When the last backup was complete and verified, in Unix seconds; 0 without one",
                Gauge::default()
            ),
            growth_bytes_per_day: metric!(
                "database_growth_bytes_per_day",
                "Growth of the data in the database over the last week, 0 until it is known",
                Gauge::default()
            ),
            seconds_until_full: metric!(
                "disk_seconds_until_full",
                "Time until the disk is full at this growth: at most ten years, also until it is known",
                Gauge::default()
            ),
            resident_bytes: Gauge::default(),
            cpu_seconds: Counter::default(),
            start_time_seconds: Gauge::default(),
            registry: Registry::default(),
        };
        let Build { version, commit, target, rustc, .. } = BUILD;
        let labels = BuildLabels { version, commit: commit.unwrap_or("unknown"), target, rustc };
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&labels).set(1);
        let systole = registry.sub_registry_with_prefix("systole");
        systole.register("build_info", "Always 1; labels describe the build", build);
        let process = registry.sub_registry_with_prefix("process");
        process.register("resident_memory_bytes", "Resident memory", telemetry.resident_bytes.clone());
        process.register("cpu_seconds", "CPU time used so far", telemetry.cpu_seconds.clone());
        process.register("start_time_seconds", "Start, in Unix seconds", telemetry.start_time_seconds.clone());
        telemetry.registry = registry;
        telemetry.seconds_until_full.set(MAX_DAYS_UNTIL_FULL * 86_400.0);
        telemetry
    }

    /// Requests of agents that were rejected because of the collector, not because of what they said.
    pub(crate) fn reports_rejected(&self) -> u64 {
        let count = |reason| self.requests_rejected.get_or_create(&ReasonLabel { reason }).get();
        count("disk_full") + count("unavailable")
    }

    /// The page that Prometheus reads, in its own text format.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written as text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(prometheus_text::of_openmetrics(&text))
    }
}
