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

/// For the alerts and dashboards of fleets that had the VectorFlow agent. What it called polls has no
/// counterpart here: nothing is polled.
fn vectorflow(page: &mut Page, monitor: &Monitor) {
    let counters = &monitor.counters;
    page.single("vf_agent_poll_errors_total", Counter, "Nothing is polled, so always 0.", 0);
    page.single(
        "vf_agent_push_reconnects_total",
        Counter,
        "Times that the collector answered again after it had not.",
        counters.reconnects.get(),
    );
    page.single("vf_agent_heartbeat_errors_total", Counter, "Requests that failed.", counters.send_errors.get());
    page.single("vf_agent_poll_duration_seconds", Gauge, "Nothing is polled, so always 0.", 0);
    page.single("vf_agent_push_connected", Gauge, "Whether the collector answered last.", u8::from(connected(monitor)));
    page.single(
        "vf_agent_heartbeat_duration_seconds",
        Gauge,
        "How long the last request took that the collector answered.",
        counters.acks.last().as_secs_f64(),
    );
    page.single("vf_agent_pipelines_running", Gauge, "Pipelines that run.", running(monitor));
    page.single("vf_agent_uptime_seconds", Gauge, "Since the agent's start.", uptime(monitor));
}

fn agent(page: &mut Page, monitor: &Monitor) {
    let (health, counters) = (monitor.health(), &monitor.counters);
    let name = "systole_agent_build_info";
    page.begin(name, Gauge, "Always 1; what was built.");
    let commit = BUILD.commit.unwrap_or("unknown");
    let labels = [("version", BUILD.version), ("commit", commit), ("target", BUILD.target), ("rustc", BUILD.rustc)];
    page.sample(name, &labels, 1);
    page.single("systole_agent_uptime_seconds", Gauge, "Since the agent's start.", uptime(monitor));
    let ready = u8::from(monitor.readiness() == Readiness::Ready);
    page.single("systole_agent_ready", Gauge, "Whether reports are made.", ready);
    timer(page, "systole_agent_report_duration_seconds", "Making a report.", &counters.reports);
    timer(page, "systole_agent_scrape_duration_seconds", "Scrapes that gave an answer.", &counters.scrapes);
    for (name, help, value) in [
        ("systole_agent_scrape_errors_total", "Scrapes that failed.", health.scrape_errors),
        (
            "systole_agent_garbage_metric_lines_total",
            "Lines of metrics endpoints that were no samples.",
            health.garbage_metric_lines,
        ),
        ("systole_agent_lost_reports_total", "Reports that had to be dropped.", health.lost_reports),
        ("systole_agent_lost_log_lines_total", "Log lines that had to be dropped.", health.lost_log_lines),
        (
            "systole_agent_refused_items_total",
            "Items that the collector refused, or that were left out because it would.",
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
        "Whether the collector answered last.",
        u8::from(connection.state == ConnectionState::Connected),
    );
    page.single(
        "systole_agent_refused",
        Gauge,
        "Whether the collector does not accept this node.",
        u8::from(connection.state == ConnectionState::Refused),
    );
    timer(page, "systole_agent_ack_duration_seconds", "Requests that the collector answered.", &counters.acks);
    for (name, help, value) in [
        ("systole_agent_reports_committed_total", "Reports that the collector has.", counters.committed_reports.get()),
        ("systole_agent_send_errors_total", "Requests that failed.", counters.send_errors.get()),
        (
            "systole_agent_reconnects_total",
            "Times that the collector answered again after it had not.",
            counters.reconnects.get(),
        ),
        ("systole_agent_sent_bytes_total", "Bytes of requests' bodies on the wire.", counters.sent_bytes.get()),
    ] {
        page.single(name, Counter, help, value);
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
        page.single("systole_agent_clock_skew_seconds", Gauge, "This clock ahead of the collector's.", seconds(skew));
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
    page.begin(name, Gauge, "Whether the pipeline runs.");
    for pipeline in pipelines.iter() {
        page.sample(name, &[("pipeline", pipeline.id().as_str())], u8::from(pipeline.state().status.is_running()));
    }
    let name = "systole_agent_pipeline_restarts_total";
    page.begin(name, Counter, "How often the agent started the pipeline anew.");
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

/// A count and a sum, and the last one for those who only look.
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
    fn milliseconds_are_written_as_seconds_without_rounding() {
        assert_eq!(seconds(1_790_000_000_007), "1790000000.007");
        assert_eq!(seconds(-4_200), "-4.200");
        assert_eq!(seconds(-7), "-0.007");
    }
}
