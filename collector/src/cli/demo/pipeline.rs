//! The pipeline that the demo supervises, and the agent's file for it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::find_program;

/// A pipeline that is ready to be started by the agent.
pub(super) struct DemoPipeline {
    /// A description for people.
    pub description: String,
    /// The name of its process.
    pub program: &'static str,
    command: Vec<String>,
    metrics_port: u16,
}

/// Looks for `vector`, takes the stand-in of the tests otherwise, and writes its configuration.
pub(super) fn prepare(dir: &Path) -> anyhow::Result<DemoPipeline> {
    let metrics_port = free_port()?;
    let config = dir.join("demo.yaml");
    std::fs::write(&config, vector_config(metrics_port, dir))?;
    let text = |path: &Path| path.display().to_string();
    if let Some(vector) = find_program("vector") {
        return Ok(DemoPipeline {
            program: "vector",
            description: format!("{} with a demo configuration", vector.display()),
            command: vec![text(&vector), "--config".into(), text(&config)],
            metrics_port,
        });
    }
    let stub = find_program("stub-vector").context(
        "there is neither vector on the PATH nor stub-vector beside this program; \
         build the latter with `cargo build --workspace`",
    )?;
    let command = [
        text(&stub),
        "--metrics-address".into(),
        format!("127.0.0.1:{metrics_port}"),
        "--totals".into(),
        text(&dir.join("totals.json")),
        "--rate".into(),
        "50".into(),
        "--log-rate".into(),
        "0.5".into(),
        "--errors-every".into(),
        "200".into(),
        "--discard-every".into(),
        "25".into(),
    ];
    Ok(DemoPipeline {
        program: "stub-vector",
        description: "stub-vector, used because there is no vector on the PATH".into(),
        command: command.into(),
        metrics_port,
    })
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn vector_config(metrics_port: u16, dir: &Path) -> String {
    let data_dir: PathBuf = dir.join("vector");
    // Vector wants its directory to exist; it says so itself if this fails.
    let _ = std::fs::create_dir_all(&data_dir);
    format!(
        r#"data_dir: "{}"
sources:
  demo_in:
    type: demo_logs
    format: json
    interval: 0.02
  own_metrics:
    type: internal_metrics
transforms:
  shape:
    type: remap
    inputs: [demo_in]
    source: |
      . = parse_json!(string!(.message))
sinks:
  hole:
    type: blackhole
    inputs: [shape]
    print_interval_secs: 5
  vf_metrics_exporter:
    type: prometheus_exporter
    inputs: [own_metrics]
    address: "127.0.0.1:{metrics_port}"
"#,
        data_dir.display()
    )
}

impl DemoPipeline {
    /// The agent's configuration: this pipeline, and the collector as a second one.
    pub(super) fn agent_file(&self, url: &str, dir: &Path, viewer: &str) -> String {
        let quoted: Vec<_> = self.command.iter().map(|word| format!("{word:?}")).collect();
        format!(
            r#"url = "{url}"
data_dir = "{data_dir}"
machine_id = "systole-demo"
metrics_listen = "127.0.0.1:0"

[[pipeline]]
id = "demo"
name = "Demo"
command = [{command}]
metrics_url = "http://127.0.0.1:{port}/metrics"

[[pipeline]]
id = "collector"
name = "The collector itself"
metrics_url = "{url}/metrics"
metrics = "collector"
metrics_bearer_token = "{viewer}"

# What the collector counts of itself: reports in, rows and events out.
[metrics.collector]
start_time = "process_start_time_seconds"

[[metrics.collector.component]]
id = "reports"
kind = "source"
received_events = "systole_reports_applied_total"
received_bytes = "systole_report_body_bytes_total"
errors = "systole_items_refused_total"

[[metrics.collector.component]]
id = "rows"
kind = "sink"
sent_events = "systole_rows_written_total"
errors = "systole_commit_failures_total"

[[metrics.collector.component]]
id = "events"
kind = "sink"
sent_events = "systole_events_published_total"
sent_bytes = "systole_feed_sent_bytes_total"
"#,
            data_dir = dir.join("data").display(),
            command = quoted.join(", "),
            port = self.metrics_port,
        )
    }
}
