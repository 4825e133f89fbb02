//! The page of metrics: first the names that the VectorFlow agent has, then everything.

use std::time::Duration;

use systole_shared::PipelineStatus;

use super::process;
use super::text::Kind::{Counter, Gauge, Summary};
use super::text::Page;
use crate::metrics::AgentTimer;
use crate::status::monitor::{Monitor, Readiness};
use crate::uplink::ConnectionState;
use crate::version::BUILD;

/// Every state, so that a series does not come and go with it.
const STATUSES: [PipelineStatus; 7] = [
    PipelineStatus::Pending,
    PipelineStatus::Starting,
    PipelineStatus::Running,
    PipelineStatus::Degraded,
    PipelineStatus::Stopped,
    PipelineStatus::Crashed,
    PipelineStatus::CrashLoop,
];

/// Writes the page.
pub(in crate::status) fn page_of(monitor: &Monitor) -> String {
    let mut page = Page::default();
    vectorflow(&mut page, monitor);
    agent(&mut page, monitor);
    collector(&mut page, monitor);
    pipelines(&mut page, monitor);
    own_process(&mut page, monitor);
    page.into_text()
}

/// For the alerts and dashboards of fleets that had the VectorFlow agent. A collector that is not polled pushes with
/// its answers to reports.
fn vectorflow(page: &mut Page, monitor: &Monitor) {
    let counters = &monitor.counters;
    let is_polled = counters.polls.count() + counters.poll_errors.get() > 0;
    let (push_connected, push_reconnects) = if is_polled {
        (counters.push_connected.get(), counters.push_reconnects.get())
    } else {
        (connected(monitor), counters.reconnects.get())
    };
    let poll_errors = counters.poll_errors.get();
    page.single("vf_agent_poll_errors_total", Counter, "Polls of the configuration that failed.", poll_errors);
    page.single(
        "vf_agent_push_reconnects_total",
        Counter,
        "Times that the push channel was opened again, or that a collector without polls answered again.",
        push_reconnects,
    );
    page.single("vf_agent_heartbeat_errors_total", Counter, "Heartbeats that failed.", counters.heartbeat_errors.get());
    page.single(
        "vf_agent_poll_duration_seconds",
        Gauge,
        "Duration of the last poll of the configuration.",
        counters.polls.last().as_secs_f64(),
    );
    page.single(
        "vf_agent_push_connected",
        Gauge,
        "Whether the push channel is open, or a collector without polls answered the last request.",
        u8::from(push_connected),
    );
    page.single(
        "vf_agent_heartbeat_duration_seconds",
        Gauge,
        "Duration of the last heartbeat that was answered.",
        counters.heartbeats.last().as_secs_f64(),
    );
    page.single("vf_agent_pipelines_running", Gauge, "Pipelines that are running.", running(monitor));
    page.single("vf_agent_uptime_seconds", Gauge, "Seconds since the agent's start.", uptime(monitor));
}

fn agent(page: &mut Page, monitor: &Monitor) {
    let (health, counters) = (monitor.health(), &monitor.counters);
    let name = "systole_agent_build_info";
    page.begin(name, Gauge, "Always 1; labels describe the build.");
    let commit = BUILD.commit.unwrap_or("unknown");
    let labels = [("version", BUILD.version), ("commit", commit), ("target", BUILD.target), ("rustc", BUILD.rustc)];
    page.sample(name, &labels, 1);
    page.single("systole_agent_uptime_seconds", Gauge, "Seconds since the agent's start.", uptime(monitor));
    let ready = u8::from(monitor.readiness() == Readiness::Ready);
    page.single("systole_agent_ready", Gauge, "Whether the agent makes reports.", ready);
    timer(page, "systole_agent_report_duration_seconds", "Duration of making a report.", &counters.reports);
    timer(page, "systole_agent_scrape_duration_seconds", "Scrapes that were answered.", &counters.scrapes);
    for (name, help, value) in [
        ("systole_agent_scrape_errors_total", "Scrapes that failed.", health.scrape_errors),
        (
            "systole_agent_garbage_metric_lines_total",
            "Invalid lines of metrics endpoints.",
            health.garbage_metric_lines,
        ),
        ("systole_agent_lost_reports_total", "Reports that were dropped.", health.lost_reports),
        ("systole_agent_lost_log_lines_total", "Log lines that were dropped.", health.lost_log_lines),
        (
            "systole_agent_refused_items_total",
            "Items that the collector refused or that were over a limit.",
            health.refused_items,
        ),
    ] {
        page.single(name, Counter, help, value);
    }
    page.single("systole_agent_spool_reports", Gauge, "Reports that wait for the collector.", health.spool_reports);
    page.single("systole_agent_spool_bytes", Gauge, "Bytes of the reports that wait.", health.spool_bytes);
}

fn collector(page: &mut Page, monitor: &Monitor) {
    let (connection, counters) = (monitor.connection.facts(), &monitor.counters);
    page.single(
        "systole_agent_connected",
        Gauge,
        "Whether the collector answered the last request.",
        u8::from(connection.state == ConnectionState::Connected),
    );
    page.single(
        "systole_agent_refused",
        Gauge,
        "Whether the collector rejects this node.",
        u8::from(connection.state == ConnectionState::Refused),
    );
    timer(page, "systole_agent_ack_duration_seconds", "Requests that the collector answered.", &counters.acks);
    for (name, help, value) in [
        (
            "systole_agent_reports_committed_total",
            "Reports that the collector has committed.",
            counters.committed_reports.get(),
        ),
        ("systole_agent_send_errors_total", "Requests that failed.", counters.send_errors.get()),
        (
            "systole_agent_reconnects_total",
            "Times that the collector answered again after a failure.",
            counters.reconnects.get(),
        ),
        (
            "systole_agent_collector_switches_total",
            "Times that another address of the collector answered than the one before.",
            monitor.addresses.switches(),
        ),
        ("systole_agent_sent_bytes_total", "Bytes of request bodies on the wire.", counters.sent_bytes.get()),
    ] {
        page.single(name, Counter, help, value);
    }
    let name = "systole_agent_collector_address";
    page.begin(name, Gauge, "1 for the address of the collector in use, 0 for the others.");
    let in_use = monitor.addresses.in_use();
    for url in monitor.addresses.urls() {
        page.sample(name, &[("url", url.as_str())], u8::from(url == in_use));
    }
    if let Some(at) = connection.acknowledged_at {
        page.single(
            "systole_agent_last_ack_timestamp_seconds",
            Gauge,
            "When the collector answered last.",
            seconds(at),
        );
    }
    if let Some(skew) = connection.clock_skew_ms {
        page.single(
            "systole_agent_clock_skew_seconds",
            Gauge,
            "Time that this clock is ahead of the collector's.",
            seconds(skew),
        );
    }
}

fn pipelines(page: &mut Page, monitor: &Monitor) {
    let name = "systole_agent_pipelines";
    page.begin(name, Gauge, "Pipelines in each state.");
    for status in STATUSES {
        page.sample(name, &[("status", status.as_str())], monitor.count_pipelines(|other| other == status));
    }
    let pipelines = monitor.pipelines.all();
    let name = "systole_agent_pipeline_up";
    page.begin(name, Gauge, "Whether the pipeline is running.");
    for pipeline in pipelines.iter() {
        page.sample(name, &[("pipeline", pipeline.id().as_str())], u8::from(pipeline.state().status.is_running()));
    }
    let name = "systole_agent_pipeline_restarts_total";
    page.begin(name, Counter, "Times that the agent started the pipeline again.");
    for pipeline in pipelines.iter() {
        page.sample(name, &[("pipeline", pipeline.id().as_str())], pipeline.state().restarts);
    }
}

fn own_process(page: &mut Page, monitor: &Monitor) {
    let started = seconds(monitor.origin.started.1);
    page.single("process_start_time_seconds", Gauge, "Start of the process.", started);
    if let Some(time) = process::cpu_time() {
        page.single("process_cpu_seconds_total", Counter, "CPU time, without children.", time.as_secs_f64());
    }
    if let Some(bytes) = process::resident_bytes() {
        page.single("process_resident_memory_bytes", Gauge, "Resident memory.", bytes);
    }
    if let Some(files) = process::open_files() {
        page.single("process_open_fds", Gauge, "Open files.", files);
    }
}

/// A count and a sum, and the last one for a quick check.
fn timer(page: &mut Page, name: &str, help: &str, timer: &AgentTimer) {
    page.begin(name, Summary, help);
    page.sample(&format!("{name}_sum"), &[], timer.sum().as_secs_f64());
    page.sample(&format!("{name}_count"), &[], timer.count());
}

fn connected(monitor: &Monitor) -> bool {
    monitor.connection.facts().state == ConnectionState::Connected
}

fn running(monitor: &Monitor) -> usize {
    monitor.count_pipelines(PipelineStatus::is_running)
}

fn uptime(monitor: &Monitor) -> u64 {
    monitor.origin.started.0.elapsed().as_secs()
}

/// Milliseconds as seconds with three places, exactly.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let span = Duration::from_millis(millis.unsigned_abs());
    format!("{sign}{}.{:03}", span.as_secs(), span.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_print_as_exact_seconds() {
        assert_eq!(seconds(1_790_000_000_007), "1790000000.007");
        assert_eq!(seconds(-4_200), "-4.200");
        assert_eq!(seconds(-7), "-0.007");
    }
}
