//! Lines of a systemd unit, read from the journal through a program called journalctl.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::{AgentPipeline, TestAgent, TestCollector, eventually, eventually_true};

const PIPELINE: &str = "orders";
/// A start, a connection and a report.
const SOON: Duration = systole_tests::harness::SOON;

/// A journal in a file, and programs that read it as journalctl does.
struct Journal {
    programs: PathBuf,
    entries: u64,
}

impl Journal {
    fn new(directory: &Path) -> Self {
        let programs = directory.join("programs");
        std::fs::create_dir(&programs).unwrap();
        std::fs::write(programs.join("journal"), "").unwrap();
        let journal = Journal { programs, entries: 0 };
        journal.program(
            "systemctl",
            "echo LoadState=loaded; echo ActiveState=inactive; echo SubState=dead; echo MainPID=0",
        );
        journal
    }

    /// journalctl with the options that the agent uses.
    fn install(&self) {
        let at = self.programs.display();
        self.program(
            "journalctl",
            &format!(
                "echo \"$@\" >> {at}/asked\nfrom=1\nfor arg in \"$@\"; do case $arg in --after-cursor=*)\n\
                 line=$(/usr/bin/grep -nF \"\\\"${{arg#--after-cursor=}}\\\"\" {at}/journal | /usr/bin/cut -d: -f1)\n\
                 from=$((line + 1)) ;; esac; done\nexec /usr/bin/tail -s 0.1 -n +$from -f {at}/journal"
            ),
        );
    }

    fn program(&self, name: &str, script: &str) {
        let (path, unfinished) = (self.programs.join(name), self.programs.join("unfinished"));
        std::fs::write(&unfinished, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(unfinished, path).unwrap();
    }

    /// Adds an entry; `message` is what JSON has for it.
    fn add(&mut self, priority: &str, message: &Value) {
        self.entries += 1;
        let entry = json!({
            "__CURSOR": format!("s=1;i={}", self.entries),
            "__REALTIME_TIMESTAMP": (1_790_000_000_000_000_u64 + self.entries * 1_000_000).to_string(),
            "PRIORITY": priority,
            "MESSAGE": message,
        });
        let mut file = std::fs::File::options().append(true).open(self.programs.join("journal")).unwrap();
        file.write_all(format!("{entry}\n").as_bytes()).unwrap();
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.programs.join("asked")).unwrap_or_default()
    }
}

async fn agent(collector: &TestCollector, journal: &Journal) -> TestAgent {
    let pipeline = AgentPipeline {
        id: PIPELINE.to_owned(),
        name: None,
        command: None,
        metrics_url: None,
        settings: vec![("systemd_unit", "orders".into()), ("journal", true.into())],
    };
    let setup = AgentSetup { programs: Some(journal.programs.clone()), ..AgentSetup::default() };
    TestAgent::start_with(collector, setup, &[pipeline]).await
}

async fn stored(collector: &mut TestCollector, query: &str) -> Vec<Value> {
    let viewer = collector.viewer().await;
    let mut items = viewer.list_if_known(&format!("/api/v1/logs?pipeline={PIPELINE}&limit=1000{query}")).await;
    items.sort_by_key(|item| item["seq"].as_i64());
    items
}

fn lines(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["line"].as_str()).collect()
}

#[tokio::test]
async fn journal_lines_are_stored_once_over_killed_agents() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut journal = Journal::new(collector.directory());
    journal.install();
    let mut agent = agent(&collector, &journal).await;
    let mut number = 0;
    for life in 0..4 {
        for _ in 0..40 {
            number += 1;
            journal.add("6", &json!(format!("line {number:04}")));
        }
        if life % 2 == 0 {
            // Some of the lines are reported, others are only read.
            let first = format!("line {:04}", number - 39);
            eventually_true("the first lines", SOON, async || {
                lines(&stored(&mut collector, "").await).contains(&first.as_str())
            })
            .await;
        }
        agent.kill().await;
        for _ in 0..10 {
            number += 1;
            journal.add("6", &json!(format!("line {number:04}")));
        }
        agent.run();
    }
    let expected: Vec<String> = (1..=number).map(|number| format!("line {number:04}")).collect();
    eventually_true("every line", SOON, async || stored(&mut collector, "").await.len() >= expected.len()).await;
    agent.stop().await;
    assert_eq!(lines(&stored(&mut collector, "").await), expected);
    let asked = journal.asked();
    assert!(asked.contains("--unit orders.service") && asked.contains("--since=@"), "{asked}");
    assert!(asked.contains("--after-cursor=s=1;i="), "{asked}");
}

#[tokio::test]
async fn entries_have_levels_bytes_and_any_length() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut journal = Journal::new(collector.directory());
    journal.install();
    let _agent = agent(&collector, &journal).await;
    journal.add("3", &json!("broken"));
    journal.add("4", &json!("careful"));
    journal.add("6", &json!("2026-11-29T10:00:00Z ERROR vector: says so itself"));
    journal.add("7", &json!([104, 105, 255]));
    journal.add("6", &json!("x".repeat(200_000)));
    journal.add("6", &json!("last"));
    let items = eventually("all entries", SOON, async || {
        let items = stored(&mut collector, "").await;
        (items.len() == 6).then_some(items)
    })
    .await;
    let levels: Vec<&str> = items.iter().filter_map(|item| item["level"].as_str()).collect();
    assert_eq!(
        levels.iter().map(|level| level.to_lowercase()).collect::<Vec<_>>(),
        ["error", "warn", "error", "debug", "info", "info"]
    );
    assert_eq!(items[3]["line"], "hi\u{fffd}");
    assert!(items[4]["line"].as_str().unwrap().len() <= 64 * 1024);
}

#[tokio::test]
async fn missing_journalctl_is_a_clear_reason_and_no_end() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut journal = Journal::new(collector.directory());
    let _agent = agent(&collector, &journal).await;
    eventually_true("the reason is a line of the pipeline", SOON, async || {
        let items = stored(&mut collector, "&level=warn").await;
        lines(&items)
            .iter()
            .any(|line| line.contains("cannot read the journal of orders.service") && line.contains("journalctl"))
    })
    .await;
    journal.add("6", &json!("here"));
    journal.install();
    eventually_true("lines, once it is there", SOON, async || {
        lines(&stored(&mut collector, "").await).contains(&"here")
    })
    .await;
}
