//! `systole-collector tail`, as people and their scripts run it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use systole_shared::PipelineReport;
use systole_tests::clock;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::pid;
use systole_tests::harness::reports::{distinct_counts, pipeline, running, with_lines};
use systole_tests::harness::{NodeClient, SOON, TestCollector, eventually};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// A running `tail`, its output in one file and its messages in another.
pub(super) struct Tail {
    child: Child,
    directory: TempDir,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary("systole-collector"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SYSTOLE_") || key == "NO_COLOR") {
        command.env_remove(key);
    }
    command.arg("tail").args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Tail {
    /// Starts one that needs nothing but the collector's data, and waits until it follows.
    pub(super) async fn on(collector: &TestCollector, args: &[&str]) -> Self {
        let data = collector.data_dir().display().to_string();
        Self::following(&[args, &["--data-dir", &data]].concat()).await
    }

    /// Starts one and waits until it follows.
    pub(super) async fn following(args: &[&str]) -> Self {
        let mut tail = Self::start(args);
        tail.wait_until("it follows", SOON, |tail| tail.messages().contains("following http")).await;
        tail
    }

    pub(super) fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str| std::fs::File::create(directory.path().join(name)).expect("a file");
        let child = command(args).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts");
        Tail { child, directory }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).expect("it prints text")
    }

    pub(super) fn printed(&self) -> String {
        self.read("out")
    }

    pub(super) fn messages(&self) -> String {
        self.read("err")
    }

    async fn wait_until(&mut self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) {
        eventually(what, limit, async || {
            let holds = holds(self);
            assert!(
                holds || self.child.try_wait().expect("a child can be waited for").is_none(),
                "it has ended: {}{}",
                self.printed(),
                self.messages()
            );
            holds.then_some(())
        })
        .await;
    }

    pub(super) async fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        self.wait_until(text, limit, |tail| tail.printed().lines().any(|line| line.contains(text))).await;
        self.printed().lines().find(|line| line.contains(text)).expect("it was there").to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(pid(self.child.id().expect("it runs")), signal).expect("a signal can be sent");
    }

    pub(super) async fn end(&mut self) -> ExitStatus {
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").expect("a child can be waited for")
    }
}

fn lines(pipeline: PipelineReport<'static>, texts: &[String]) -> PipelineReport<'static> {
    with_lines(pipeline, clock::now_ms(), texts.iter().cloned())
}

fn said(text: &str) -> Vec<PipelineReport<'static>> {
    vec![lines(pipeline("orders", "RUNNING"), &[text.to_owned()])]
}

#[tokio::test]
async fn tail_prints_lines_with_names_and_no_colours_without_terminal() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut tail = Tail::on(&collector, &[]).await;
    let mut rates = Tail::on(&collector, &["--types", "metric_update,fleet_status", "--color", "always"]).await;
    let named = PipelineReport {
        name: Some("Orders".to_owned().into()),
        ..lines(running("orders", distinct_counts(1)), &["a line \u{1b}[31mred\u{1b}[0m\u{7}".to_owned()])
    };
    web.report(vec![named]).await;
    let line = tail.wait_for_line("a line", SOON).await;
    assert!(line.ends_with(" INFO   web-1/Orders: a line red\u{fffd}"), "{line:?}");
    let line = tail.wait_for_line("→ RUNNING", SOON).await;
    assert!(line.contains(" STATUS web-1/Orders: UNKNOWN → RUNNING"), "{line:?}");
    let line = rates.wait_for_line("RATES", SOON).await;
    assert!(line.contains("in 100/s (10.2 kB/s), out 98/s (10 kB/s), errors 0.6/s, discarded 1.4/s"), "{line:?}");
    let line = rates.wait_for_line("NODE", SOON).await;
    assert!(line.contains("\u{1b}[32mHEALTHY\u{1b}[0m, 1 pipeline running"), "{line:?}");
    let printed = tail.printed();
    assert!(!printed.contains("RATES") && !printed.contains('\u{1b}'), "{printed}");
}

#[tokio::test]
async fn tail_prints_matching_events_only() {
    let collector = TestCollector::start().await;
    collector.create_environment("red").await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut db = NodeClient::enroll(&collector, None, "db-1").await;
    let mut red = NodeClient::enroll(&collector, Some("red"), "red-1").await;
    let mut by_node =
        Tail::on(&collector, &["--node", "web-1", "--node", &db.id.to_string(), "--types", "log_entry"]).await;
    let mut by_pipeline = Tail::on(&collector, &["--pipeline", "orders"]).await;
    let mut by_environment = Tail::on(&collector, &["--environment", "red"]).await;
    let mut by_level = Tail::on(&collector, &["--level", "warn"]).await;
    let line = |text: &str| lines(pipeline("orders", "RUNNING"), &[format!("{text} orders")]);
    let other = |text: &str| lines(pipeline("other", "RUNNING"), &[format!("{text} other")]);
    for (node, name) in [(&mut red, "red"), (&mut web, "web"), (&mut db, "db")] {
        node.report(vec![line(name), other(name)]).await;
    }
    // The last word is for every one of them, so what is not there by then does not come.
    let mut request = web.next_request(said("the end"));
    request.reports[0].pipelines[0].logs[0].level = Some(systole_shared::LogLevel::Error);
    web.post(&request).await;
    red.report(said("the end")).await;
    for tail in [&mut by_node, &mut by_pipeline, &mut by_environment, &mut by_level] {
        tail.wait_for_line("the end", SOON).await;
    }
    let prints = |tail: &Tail, text: &str| tail.printed().contains(text);
    assert!(prints(&by_node, "web orders") && prints(&by_node, "db other") && !prints(&by_node, "red "));
    assert!(!prints(&by_node, "STATUS"), "types are obeyed");
    assert!(prints(&by_pipeline, "db orders") && prints(&by_pipeline, "red orders") && !prints(&by_pipeline, "other"));
    assert!(prints(&by_environment, "red other") && !prints(&by_environment, "web") && !prints(&by_environment, "db"));
    assert!(prints(&by_level, "STATUS") && !prints(&by_level, "INFO"), "{}", by_level.printed());
}

#[tokio::test]
async fn tail_prints_stored_and_live_events_of_labelled_nodes_only() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut db = NodeClient::enroll(&collector, None, "db-1").await;
    collector.cli(&["node", "label", "web-1", "site=lab"]).await;
    let line = |text: &str| vec![lines(pipeline("orders", "RUNNING"), &[text.to_owned()])];
    db.report(line("db stored")).await;
    web.report(line("web stored")).await;
    let mut tail = Tail::on(&collector, &["--label", "site:lab", "-n", "10"]).await;
    tail.wait_for_line("web stored", SOON).await;
    db.report(line("db live")).await;
    web.report(line("web live")).await;
    tail.wait_for_line("web live", SOON).await;
    let printed = tail.printed();
    assert!(!printed.contains("db "), "{printed}");
}

#[tokio::test]
async fn tail_prints_every_line_once_over_sigkills() {
    let mut collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut tail = Tail::on(&collector, &["--json", "--types", "log_entry"]).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        // Every kill is one of a collector that is followed.
        let is_followed = |tail: &Tail| tail.messages().matches("following").count() > round;
        tail.wait_until("it follows again", SOON, is_followed).await;
        for part in 0..5 {
            let texts: Vec<String> = (0..7).map(|line| format!("{round}-{part}-{line}")).collect();
            web.report(vec![lines(pipeline("orders", "RUNNING"), &texts)]).await;
            expected.extend(texts);
        }
        // Killed right after the answer: some of it is printed, and some is not yet.
        collector.kill().await;
        collector.run().await;
    }
    web.report(said("the end")).await;
    expected.push("the end".to_owned());
    tail.wait_for_line("the end", SOON).await;
    let mut ids = Vec::new();
    let mut texts = Vec::new();
    for line in tail.printed().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "log_entry", "{event}");
        let (epoch, seq) = event["id"].as_str().unwrap().split_once('-').unwrap();
        ids.push((epoch.to_owned(), seq.parse::<u64>().unwrap()));
        let entries = event["entries"].as_array().unwrap();
        texts.extend(entries.iter().map(|entry| entry["line"].as_str().unwrap().to_owned()));
    }
    assert_eq!(texts, expected);
    assert!(ids.is_sorted_by(|one, next| one.0 == next.0 && one.1 < next.1), "{ids:?}");
    assert!(tail.messages().contains("following again"), "{}", tail.messages());

    // A later `tail` starts where `--after` says.
    let after = format!("{}-{}", ids[0].0, ids[0].1);
    let mut later = Tail::on(&collector, &["--json", "--types", "log_entry", "--after", &after]).await;
    later.wait_for_line("the end", SOON).await;
    assert_eq!(later.printed().lines().count(), tail.printed().lines().count() - 1);
}

#[tokio::test]
async fn tail_reports_a_replaced_database() {
    let collector = TestCollector::start().await;
    let mut tail = Tail::on(&collector, &["--json", "--after", "elsewhere-7"]).await;
    let line = tail.wait_for_line("reset", SOON).await;
    let reset: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&reset["id"], &reset["type"], &reset["reason"]), (&Value::Null, &"reset".into(), &"epoch".into()));
    assert!(tail.messages().contains("reset: the id belongs to another database"), "{}", tail.messages());
}

#[tokio::test]
async fn tail_ends_when_its_token_is_revoked() {
    let collector = TestCollector::start().await;
    let token = collector.create_token("viewer", None).await;
    let mut tail = Tail::following(&["--url", &collector.url(), "--token", token.token.reveal()]).await;
    collector.revoke_token(&token.id).await;
    assert_eq!(tail.end().await.code(), Some(1), "{}", tail.messages());
    assert!(tail.messages().contains("the token was revoked or has expired"), "{}", tail.messages());
}

#[tokio::test]
async fn tail_ends_at_once_on_permanent_errors() {
    let collector = TestCollector::start().await;
    collector.create_environment("red").await;
    let red = collector.create_token("viewer", Some("red")).await;
    let enroll = collector.create_token("enroll", None).await;
    let (url, data) = (collector.url(), collector.data_dir().display().to_string());
    for (args, code, reason) in [
        (vec!["--url", &url, "--token", "nonsense"], 1, "401"),
        (vec!["--url", &url, "--token", enroll.token.reveal()], 1, "kind enroll cannot read"),
        (vec!["--url", &url, "--token", red.token.reveal(), "--environment", "default"], 1, "403"),
        (vec!["--data-dir", &data, "--environment", "blue"], 1, "expected one of default, red"),
        (vec!["--data-dir", &data, "--node", "missing"], 1, "unknown node \"missing\""),
        (vec!["--data-dir", "/nonexistent/systole"], 1, "no collector is running on /nonexistent/systole"),
        (vec!["--url", "http://127.0.0.1:1", "--token", "x"], 1, "refused"),
        (vec!["--url", "127.0.0.1"], 1, "--url"),
        (vec!["--types", "gossip"], 78, "metric_update"),
        (vec!["--after", "yesterday"], 78, "<epoch>-<seq>"),
        (vec!["--level", "loud"], 78, "warn"),
    ] {
        let mut tail = Tail::start(&args);
        assert_eq!(tail.end().await.code(), Some(code), "{args:?}: {}", tail.messages());
        assert!(tail.messages().contains(reason), "{args:?}: {}", tail.messages());
        assert_eq!(tail.printed(), "", "{args:?}");
    }
    let tokens: Value = serde_json::from_str(&collector.cli(&["token", "list", "--all", "--json"]).await).unwrap();
    let left = tokens["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["kind"] == "session" && item["revokedAt"].is_null());
    assert_eq!(left, None, "a token that was made for a command is left");
}

#[tokio::test]
async fn tail_revokes_its_token_on_interrupt() {
    let collector = TestCollector::start().await;
    let mut tail = Tail::on(&collector, &[]).await;
    let sessions = async || {
        let tokens: Value = serde_json::from_str(&collector.cli(&["token", "list", "--all", "--json"]).await).unwrap();
        let tokens = tokens["items"].as_array().unwrap().clone();
        tokens.into_iter().filter(|item| item["kind"] == "session").collect::<Vec<_>>()
    };
    let made = sessions().await;
    assert_eq!(made.len(), 1);
    assert!(made[0]["revokedAt"].is_null() && made[0]["expiresAt"].is_i64(), "{made:?}");
    tail.signal(Signal::SIGINT);
    assert_eq!(tail.end().await.code(), Some(0), "{}", tail.messages());
    let left = sessions().await;
    assert!(left.iter().all(|token| token["revokedAt"].is_i64()), "{left:?}");
}

#[tokio::test]
async fn tail_ends_quietly_when_its_pipe_closes() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let data = collector.data_dir().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let messages = directory.path().join("err");
    let mut child = command(&["--data-dir", &data])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&messages).unwrap())
        .spawn()
        .unwrap();
    let messages = || std::fs::read_to_string(&messages).unwrap();
    eventually("it follows", SOON, async || messages().contains("following").then_some(())).await;
    web.report(said("first")).await;
    let mut out = child.stdout.take().unwrap();
    assert_ne!(out.read(&mut [0; 16]).await.unwrap(), 0);
    drop(out);
    // No more events come; the next ping notices it.
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "{}", messages());
    assert_eq!(messages().lines().count(), 1, "{}", messages());
}
