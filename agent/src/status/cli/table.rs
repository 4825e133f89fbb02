//! The status for operators.

use std::fmt::Write;

use systole_shared::UnixMillis;

use crate::status::{PipelineView, Status};
use crate::uplink::ConnectionState;

/// A skew that is worth a line.
const SKEW_SHOWN_MS: i64 = 500;

const HEAD: [&str; 7] = ["PIPELINE", "STATUS", "PID", "UPTIME", "RESTARTS", "SCRAPED", "REASON"];

/// Writes it.
pub(super) fn show(status: &Status) -> String {
    let mut text = String::new();
    for (name, value) in head(status) {
        let _ = writeln!(text, "{name:<10} {value}");
    }
    if status.pipelines.is_empty() {
        text.push_str("\nno pipelines are configured\n");
        return text;
    }
    let rows: Vec<_> = status.pipelines.iter().map(|pipeline| row(pipeline, status.now)).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(HEAD[column].len()))
        .collect();
    text.push('\n');
    for row in std::iter::once(HEAD.map(str::to_owned)).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn head(status: &Status) -> Vec<(&'static str, String)> {
    let Status { now, agent, node, collector, health, .. } = status;
    let mut lines = vec![(
        "agent",
        format!(
            "{}, process {} of {}, up {}",
            agent.version,
            agent.pid,
            agent.running_as,
            span(now - agent.started_at)
        ),
    )];
    if !agent.ready {
        lines.push(("", "NOT READY: no recent report".to_owned()));
    }
    lines.push((
        "node",
        match node {
            Some(node) => format!("{} in {}", node.node_id, node.environment_name),
            None => "its id is unknown until the next enrolment".to_owned(),
        },
    ));
    lines.push(("collector", format!("{}, {}", collector.url, state_of(status))));
    let (count, switches) = (collector.urls.len(), collector.switches);
    if let Some(choice) = collector.urls.iter().position(|url| *url == collector.url).filter(|_| count > 1) {
        let first = if choice == 0 { String::new() } else { format!("; the first is {}", collector.urls[0]) };
        let times = if switches == 1 { "once" } else { &format!("{switches} times") };
        lines.push(("", format!("choice {} of {count} addresses{first}; switched {times}", choice + 1)));
    }
    if let (Some(error), Some(at)) = (&health.last_send_error, health.last_send_error_at) {
        lines.push(("", format!("last error {} ago: {}", span(now - at), one_line(error))));
    }
    let lost = match (health.lost_reports, health.lost_log_lines, health.refused_items) {
        (0, 0, 0) => "nothing lost".to_owned(),
        (reports, lines, refused) => format!("lost {reports} reports and {lines} log lines, {refused} items refused"),
    };
    lines.push(("spool", format!("{} reports, {} wait; {lost}", health.spool_reports, size(health.spool_bytes))));
    if let Some(skew) = health.clock_skew_ms.filter(|skew| skew.abs() >= SKEW_SHOWN_MS) {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        lines.push(("clock", format!("{} {side} the collector's", span(skew.abs()))));
    }
    if let Some(address) = agent.metrics_address {
        lines.push(("metrics", format!("http://{address}/metrics")));
    }
    if let Some(error) = &health.config_error {
        lines.push(("config", format!("INVALID, the last valid one is in use: {}", one_line(error))));
    }
    let file = agent.config_file.as_ref().map_or("no file".to_owned(), |path| path.display().to_string());
    lines.push((
        if health.config_error.is_some() { "" } else { "config" },
        format!("{file}, data in {}", agent.data_dir.display()),
    ));
    lines
}

fn state_of(status: &Status) -> String {
    let since = |at: UnixMillis| span(status.now - at);
    match (status.collector.state, status.collector.last_acknowledged_at) {
        (ConnectionState::Connected, Some(at)) => format!("connected, answered {} ago", since(at)),
        (ConnectionState::Connected, None) => "connected".to_owned(),
        (ConnectionState::Connecting, _) => "connecting".to_owned(),
        (ConnectionState::Disconnected, Some(at)) => format!("NOT REACHABLE, answered {} ago; reports wait", since(at)),
        (ConnectionState::Disconnected, None) => "NOT REACHABLE, has not answered yet; reports wait".to_owned(),
        (ConnectionState::Refused, _) => "REFUSES this node: configure a valid enrolment token".to_owned(),
    }
}

fn row(pipeline: &PipelineView, now: UnixMillis) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let scraped = match (pipeline.has_metrics, &pipeline.scrape_error, pipeline.last_scraped_at) {
        (false, ..) => "-".to_owned(),
        (true, Some(_), Some(at)) => format!("FAILS, {} ago", span(now - at)),
        (true, Some(_), None) => "FAILS".to_owned(),
        (true, None, Some(at)) => format!("{} ago", span(now - at)),
        (true, None, None) => "not yet".to_owned(),
    };
    let reason = pipeline.reason.as_ref().or(pipeline.scrape_error.as_ref());
    [
        pipeline.id.clone(),
        pipeline.status.as_str().to_owned(),
        or_dash(pipeline.pid.map(|pid| pid.to_string())),
        or_dash(pipeline.uptime_seconds.map(|seconds| span(i64::try_from(seconds).unwrap_or(0) * 1_000))),
        pipeline.restarts.to_string(),
        scraped,
        reason.map(|reason| one_line(reason)).unwrap_or_default(),
    ]
}

/// Reasons hold what processes and servers say, which must not steer a terminal.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A span of time in its two largest units.
fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis.max(0) % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"now":1790000100000,
        "agent":{"version":"0.1.0","pid":7,"startedAt":1789999000000,"runningAs":"root","dataDir":"/d","configFile":"/c","ready":true},
        "node":null,
        "collector":{"url":"http://c:1/","state":"away","lastAcknowledgedAt":1790000000000,"intervalMs":5000},
        "health":{"spoolReports":12,"spoolBytes":34000,"lostReports":0,"lostLogLines":9,"clockSkewMs":-4200,
                  "lastSendError":"refused\u001b[2J","lastSendErrorAt":1790000099500},
        "pipelines":[
          {"id":"orders","name":null,"status":"RUNNING","reason":null,"pid":42,"startedAt":1,"uptimeSeconds":3661,"restarts":1,
           "hasMetrics":true,"lastScrapedAt":1790000098000,"scrapeError":null},
          {"id":"x","name":null,"status":"CRASH_LOOP","reason":"exit code 1","pid":null,"startedAt":null,"uptimeSeconds":null,
           "restarts":10,"hasMetrics":false,"lastScrapedAt":null,"scrapeError":null}]}"#;

    #[test]
    fn status_table_shows_collector_spool_losses_and_pipelines() {
        let expected = "\
agent      0.1.0, process 7 of root, up 18 min 20 s
node       its id is unknown until the next enrolment
collector  http://c:1/, NOT REACHABLE, answered 1 min 40 s ago; reports wait
           last error 0.5 s ago: refused [2J
spool      12 reports, 33 KiB wait; lost 0 reports and 9 log lines, 0 items refused
clock      4.2 s behind the collector's
config     /c, data in /d

PIPELINE  STATUS      PID  UPTIME     RESTARTS  SCRAPED    REASON
orders    RUNNING     42   1 h 1 min  1         2.0 s ago
x         CRASH_LOOP  -    -          10        -          exit code 1
";
        assert_eq!(show(&serde_json::from_str(ANSWER).unwrap()), expected);
        let among = |url, switches| {
            let mut status: Status = serde_json::from_str(ANSWER).unwrap();
            status.collector.urls = vec!["http://a:1/".to_owned(), url, "http://b:1/".to_owned()];
            status.collector.switches = switches;
            show(&status).lines().nth(3).unwrap().trim().to_owned()
        };
        assert_eq!(
            among("http://c:1/".to_owned(), 1),
            "choice 2 of 3 addresses; the first is http://a:1/; switched once"
        );
    }
}
