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
use systole_tests::harness::{NodeClient, TestCollector, eventually};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Longest wait for anything that is said at once.
const SOON: Duration = Duration::from_secs(20);

/// Longest wait for a stream that was cut: a collector asks for up to 8 s, and a try may come too early.
const AGAIN: Duration = Duration::from_secs(60);

/// A running `tail`, what it prints in one file and what it tells in another.
struct Tail {
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
    async fn on(collector: &TestCollector, args: &[&str]) -> Self {
        let data = collector.data_dir().display().to_string();
        Self::following(&[args, &["--data-dir", &data]].concat()).await
    }

    /// Starts one and waits until it follows.
    async fn following(args: &[&str]) -> Self {
        let mut tail = Self::start(args);
        tail.wait_until("it follows", SOON, |tail| tail.told().contains("following http")).await;
        tail
    }

    fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str| std::fs::File::create(directory.path().join(name)).expect("a file");
        let child = command(args).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts");
        Tail { child, directory }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).expect("it prints text")
    }

    fn printed(&self) -> String {
        self.read("out")
    }

    fn told(&self) -> String {
        self.read("err")
    }

    async fn wait_until(&mut self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) {
        eventually(what, limit, async || {
            let holds = holds(self);
            assert!(
                holds || self.child.try_wait().expect("a child can be waited for").is_none(),
                "it has ended: {}{}",
                self.printed(),
                self.told()
            );
            holds.then_some(())
        })
        .await;
    }

    async fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        self.wait_until(text, limit, |tail| tail.printed().lines().any(|line| line.contains(text))).await;
        self.printed().lines().find(|line| line.contains(text)).expect("it was there").to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(pid(self.child.id().expect("it runs")), signal).expect("a signal can be sent");
    }

    async fn end(&mut self) -> ExitStatus {
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
async fn what_happens_is_told_in_lines_with_names_and_without_colours_where_no_terminal_is() {
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
async fn only_what_is_asked_for_is_told() {
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
    let told = |tail: &Tail, text: &str| tail.printed().contains(text);
    assert!(told(&by_node, "web orders") && told(&by_node, "db other") && !told(&by_node, "red "));
    assert!(!told(&by_node, "STATUS"), "types are obeyed");
    assert!(told(&by_pipeline, "db orders") && told(&by_pipeline, "red orders") && !told(&by_pipeline, "other"));
    assert!(told(&by_environment, "red other") && !told(&by_environment, "web") && !told(&by_environment, "db"));
    assert!(told(&by_level, "STATUS") && !told(&by_level, "INFO"), "{}", by_level.printed());
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_over_kills_of_the_collector() {
    let mut collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut tail = Tail::on(&collector, &["--json", "--types", "log_entry"]).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        // Every kill is one of a collector that is followed.
        let is_followed = |tail: &Tail| tail.told().matches("following").count() > round;
        tail.wait_until("it follows again", AGAIN, is_followed).await;
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
    tail.wait_for_line("the end", AGAIN).await;
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
    assert!(tail.told().contains("following again"), "{}", tail.told());

    // Whoever comes later begins where they are told to.
    let after = format!("{}-{}", ids[0].0, ids[0].1);
    let mut later = Tail::on(&collector, &["--json", "--types", "log_entry", "--after", &after]).await;
    later.wait_for_line("the end", SOON).await;
    assert_eq!(later.printed().lines().count(), tail.printed().lines().count() - 1);
}

#[tokio::test]
async fn a_database_that_was_replaced_is_told() {
    let collector = TestCollector::start().await;
    let mut tail = Tail::on(&collector, &["--json", "--after", "elsewhere-7"]).await;
    let line = tail.wait_for_line("reset", SOON).await;
    let reset: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&reset["id"], &reset["type"], &reset["reason"]), (&Value::Null, &"reset".into(), &"epoch".into()));
    assert!(tail.told().contains("reset: the id is of another database"), "{}", tail.told());
}

#[tokio::test]
async fn a_revoked_token_ends_it_and_says_so() {
    let collector = TestCollector::start().await;
    let token = collector.create_token("viewer", None).await;
    let mut tail = Tail::following(&["--url", &collector.url(), "--token", token.token.reveal()]).await;
    collector.revoke_token(&token.id).await;
    assert_eq!(tail.end().await.code(), Some(1), "{}", tail.told());
    assert!(tail.told().contains("the token was revoked or has expired"), "{}", tail.told());
}

#[tokio::test]
async fn what_cannot_work_ends_at_once_with_its_reason() {
    let collector = TestCollector::start().await;
    collector.create_environment("red").await;
    let red = collector.create_token("viewer", Some("red")).await;
    let enroll = collector.create_token("enroll", None).await;
    let (url, data) = (collector.url(), collector.data_dir().display().to_string());
    for (args, code, reason) in [
        (vec!["--url", &url, "--token", "nonsense"], 1, "401"),
        (vec!["--url", &url, "--token", enroll.token.reveal()], 1, "kind enroll can not read"),
        (vec!["--url", &url, "--token", red.token.reveal(), "--environment", "default"], 1, "403"),
        (vec!["--data-dir", &data, "--environment", "blue"], 1, "there are: default, red"),
        (vec!["--data-dir", &data, "--node", "nobody"], 1, "there is no node \"nobody\""),
        (vec!["--data-dir", "/nonexistent/systole"], 1, "no collector runs on /nonexistent/systole"),
        (vec!["--url", "http://127.0.0.1:1", "--token", "x"], 1, "refused"),
        (vec!["--url", "127.0.0.1"], 1, "--url"),
        (vec!["--types", "gossip"], 78, "metric_update"),
        (vec!["--after", "yesterday"], 78, "<epoch>-<seq>"),
        (vec!["--level", "loud"], 78, "warn"),
    ] {
        let mut tail = Tail::start(&args);
        assert_eq!(tail.end().await.code(), Some(code), "{args:?}: {}", tail.told());
        assert!(tail.told().contains(reason), "{args:?}: {}", tail.told());
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
async fn an_interrupt_ends_it_well_and_takes_its_token_back() {
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
    assert_eq!(tail.end().await.code(), Some(0), "{}", tail.told());
    let left = sessions().await;
    assert!(left.iter().all(|token| token["revokedAt"].is_i64()), "{left:?}");
}

#[tokio::test]
async fn a_reader_that_has_read_enough_ends_it_quietly() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let data = collector.data_dir().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("err");
    let mut child = command(&["--data-dir", &data])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let told = || std::fs::read_to_string(&told).unwrap();
    eventually("it follows", SOON, async || told().contains("following").then_some(())).await;
    web.report(said("first")).await;
    let mut out = child.stdout.take().unwrap();
    assert_ne!(out.read(&mut [0; 16]).await.unwrap(), 0);
    drop(out);
    // Nothing happens any more; it is noticed with a ping.
    let status = tokio::time::timeout(AGAIN, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "{}", told());
    assert_eq!(told().lines().count(), 1, "{}", told());
}
