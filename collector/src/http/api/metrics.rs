//! `GET /metrics`: the collector's own metrics, over all environments.
//!
//! It needs a token of all environments, because its values cover all of them.

use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use actix_web::web::Data;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

use crate::app::App;
use crate::cluster::Role;
use crate::http::error::ApiError;
use crate::http::extract::MetricsAccess;
use crate::http::openapi::problems::Owned;
use crate::telemetry::{ActionLabel, StatusLabel, prometheus_text};

/// The collector's own metrics
///
/// For Prometheus, with a token of kind `scrape`, which reads nothing else. The token must be of all environments.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "collector",
    responses(
        (status = 200, description = "Every metric", body = String, content_type = "text/plain"),
        Owned,
    ),
)]
pub(crate) async fn get_metrics(app: Data<App>, _: MetricsAccess) -> Result<HttpResponse, ApiError> {
    let telemetry = &app.telemetry;
    let usage = app.recent_samples.usage();
    telemetry.recent_samples_bytes.set(signed(usage.bytes));
    telemetry.recent_samples_pipelines.set(signed(usage.pipelines));
    telemetry.recent_samples_components.set(signed(usage.components));
    telemetry.recent_samples_per_component.set(signed(usage.component_samples));
    telemetry.recent_samples_per_pipeline.set(signed(usage.pipeline_samples));
    for (action, count) in [
        ("component_shrunk", usage.evicted.shrunk_components),
        ("pipeline_shrunk", usage.evicted.shrunk_pipelines),
        ("component_dropped", usage.evicted.dropped_components),
        ("pipeline_dropped", usage.evicted.dropped_pipelines),
    ] {
        telemetry.samples_evicted.get_or_create(&ActionLabel { action }).inner().store(count, Ordering::Relaxed);
    }
    for (status, count) in app.fleet.count_by_status() {
        telemetry.nodes.get_or_create(&StatusLabel { status: status.as_str() }).set(count);
    }
    let timeseries = app.timeseries.usage();
    telemetry.wal_rows.set(signed(timeseries.rows));
    telemetry.wal_bytes.set(i64::try_from(timeseries.bytes).unwrap_or(i64::MAX));
    // They are counted under the lock of the memtable.
    let hours = app.timeseries.hour_counts();
    telemetry.history_cache_hits.inner().store(hours.hits, Ordering::Relaxed);
    telemetry.history_cache_misses.inner().store(hours.misses, Ordering::Relaxed);
    telemetry.push_streams.set(signed(app.delivery.push.count()));
    note_cluster(&app);
    let lag = app.feed.lag();
    telemetry.feed_lag_events.set(signed(lag.events));
    telemetry.feed_lag_seconds.set(lag.seconds);
    telemetry.ingest_queue.set(signed(app.cluster.queue_len()));
    telemetry.unfinished_body_bytes.set(signed(app.body_budget.used()));
    note_process(&app);
    let text = telemetry.encode().map_err(|_| ApiError::unavailable("the metrics could not be written"))?;
    Ok(HttpResponse::Ok().content_type(prometheus_text::CONTENT_TYPE).body(text))
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn note_cluster(app: &App) {
    let (telemetry, cluster) = (&app.telemetry, &app.cluster);
    telemetry.cluster_leader.set(i64::from(cluster.role() == Role::Leader));
    telemetry.cluster_term.set(i64::try_from(cluster.term()).unwrap_or(i64::MAX));
    telemetry.cluster_lag_seconds.set(cluster.lag().map_or(0.0, |lag| lag.as_secs_f64()));
    telemetry.cluster_followers.set(signed(cluster.commit_log.count()));
    telemetry.cluster_forwarded.inner().store(cluster.forwarded.load(Ordering::Relaxed), Ordering::Relaxed);
    telemetry.cluster_take_overs.inner().store(cluster.take_overs.load(Ordering::Relaxed), Ordering::Relaxed);
}

fn note_process(app: &App) {
    let (Ok(pid), Ok(mut system)) = (get_current_pid(), System::new()) else { return };
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    if let Some(process) = system.process(pid) {
        app.telemetry.resident_bytes.set(i64::try_from(process.memory()).unwrap_or(i64::MAX));
        let used = process.accumulated_cpu_time() as f64 / 1_000.0;
        app.telemetry.cpu_seconds.inc_by((used - app.telemetry.cpu_seconds.get()).max(0.0));
    }
    app.telemetry.start_time_seconds.set(app.started_at as f64 / 1_000.0);
}
