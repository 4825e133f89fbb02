//! What the tests of log files have in common.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use systole_tests::harness::{SOON, TestCollector, eventually_true};

/// The one pipeline of these tests.
pub(crate) const PIPELINE: &str = "orders";

/// Reports are made every second, so that lives of an agent can be short.
pub(crate) const QUICK: [&str; 2] = ["--interval", "1s"];

/// All lines that the collector has, oldest first.
pub(crate) async fn stored(collector: &mut TestCollector) -> Vec<String> {
    let viewer = collector.viewer().await;
    let path = format!("/api/v1/logs?pipeline={PIPELINE}&limit=1000");
    let mut items = viewer.list_if_known(&path).await;
    items.sort_by_key(|item| item["seq"].as_i64());
    items.into_iter().map(|item| item["line"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until the collector has a line.
pub(crate) async fn wait_for(collector: &mut TestCollector, line: &str) {
    eventually_true(line, SOON, async || stored(collector).await.iter().any(|stored| stored == line)).await;
}

/// Waits until the agent has looked for files once: later ones are read from their beginning.
pub(crate) async fn wait_for_look(collector: &mut TestCollector) {
    eventually_true("the agent has looked", SOON, async || collector.minute_sums(PIPELINE).await.events_in > 0).await;
}

/// Writes to the end of a log file.
pub(crate) fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).create(true).open(path).expect("the log file can be opened");
    file.write_all(text.as_bytes()).expect("the log file can be written to");
}
