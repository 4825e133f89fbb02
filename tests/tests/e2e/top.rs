//! `systole-collector top` on a terminal of its own.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use systole_shared::{PipelineReport, Text};
use systole_tests::clock;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::pid;
use systole_tests::harness::reports::{distinct_counts, pipeline, running, with_lines};
use systole_tests::harness::{NodeClient, SOON, TestCollector, eventually};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

const COLUMNS: usize = 80;
const LINES: usize = 24;

/// What leaves the screen and shows the cursor again.
const RESTORED: [&str; 2] = ["\u{1b}[?1049l", "\u{1b}[?25h"];

/// A running `top`; `script` (util-linux) is its terminal.
struct Top {
    script: Child,
    keys: ChildStdin,
    directory: TempDir,
}

impl Top {
    fn start(collector: &TestCollector) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let out = File::create(directory.path().join("out")).expect("a file");
        let (program, data) = (binary("systole-collector"), collector.data_dir());
        let line = format!(
            "stty cols {COLUMNS} rows {LINES}; exec '{}' top --data-dir '{}' --color never",
            program.display(),
            data.display()
        );
        let mut command = Command::new("script");
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SYSTOLE_")) {
            command.env_remove(key);
        }
        let mut script = command
            .args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("`script` of util-linux starts");
        let keys = script.stdin.take().expect("it is piped");
        Top { script, keys, directory }
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("the terminal takes keys");
        self.keys.flush().await.expect("the terminal takes keys");
    }

    /// Everything that was written to the terminal.
    fn written(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("out")).expect("a file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn screen(&self) -> Vec<String> {
        screen(&self.written())
    }

    /// Waits until the screen has a line with all of these texts.
    async fn wait_for_line(&self, texts: &[&str]) -> usize {
        let what = format!("{texts:?}");
        let found = eventually(&what, SOON, async || {
            self.screen().iter().position(|line| texts.iter().all(|text| line.contains(text)))
        });
        tokio::select! {
            found = found => found,
            // Shows what is there instead, before the wait ends without a word about it.
            () = tokio::time::sleep(SOON - Duration::from_secs(2)) => {
                panic!("no line with {texts:?} on\n{}", self.screen().join("\n"))
            }
        }
    }

    async fn end(&mut self) -> ExitStatus {
        tokio::time::timeout(SOON, self.script.wait()).await.expect("it ends").expect("a child can be waited for")
    }

    fn signal(&self, signal: Signal) {
        let id = self.script.id().expect("it runs");
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("Linux");
        let child = children.split_whitespace().next().expect("script runs a program");
        kill(pid(child.parse().expect("a number")), signal).expect("a signal can be sent");
    }

    fn assert_restored(&self) {
        let written = self.written();
        assert!(RESTORED.iter().all(|sequence| written.contains(sequence)), "{:?}", &written[written.len() - 100..]);
    }
}

/// The screen after these bytes: what a terminal shows of cursor moves, clears and text.
fn screen(written: &str) -> Vec<String> {
    let mut cells = vec![vec![' '; COLUMNS]; LINES];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next() == Some('[') => {
                let mut parameters = String::new();
                let end = loop {
                    match chars.next() {
                        Some(c) if ('@'..='~').contains(&c) => break c,
                        Some(c) => parameters.push(c),
                        None => break ' ',
                    }
                };
                match end {
                    'H' => {
                        let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1));
                        row = numbers.next().unwrap_or(1_usize) - 1;
                        column = numbers.next().unwrap_or(1_usize) - 1;
                    }
                    'J' => cells.iter_mut().for_each(|line| line.fill(' ')),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            c if c.is_control() => {}
            c => {
                if let Some(cell) = cells.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *cell = c;
                }
                column += 1;
            }
        }
    }
    cells.into_iter().map(|line| line.into_iter().collect::<String>()).collect()
}

fn healthy() -> Vec<PipelineReport<'static>> {
    let line = with_lines(running("orders", distinct_counts(1)), clock::now_ms(), ["all is well".to_owned()]);
    vec![PipelineReport { name: Some(Text::from("Orders")), ..line }]
}

#[tokio::test]
async fn top_shows_the_fleet_a_crash_and_survives_a_restart() {
    let mut collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut db = NodeClient::enroll(&collector, None, "db-1").await;
    web.report(healthy()).await;
    db.report(healthy()).await;
    let mut top = Top::start(&collector);
    top.wait_for_line(&["● live"]).await;
    top.wait_for_line(&["2 nodes", "2 pipelines"]).await;
    let first = top.wait_for_line(&["db-1", "● HEALTHY", "●1"]).await;
    assert!(first < top.wait_for_line(&["web-1", "● HEALTHY"]).await, "by name");

    let crashed = PipelineReport { reason: Some(Text::from("exit code 78")), ..pipeline("orders", "CRASHED") };
    web.report(vec![crashed]).await;
    let row = top.wait_for_line(&["web-1", "▲ DEGRADED", "✖1"]).await;
    assert!(row < top.wait_for_line(&["db-1"]).await, "the worst is first: {:#?}", top.screen());

    // Into the pipelines of the node, back, and its lines.
    top.press("\r").await;
    top.wait_for_line(&["✖ CRASHED", "0/1"]).await;
    top.wait_for_line(&["CRASHED on web-1: exit code 78"]).await;
    top.press("4").await;
    top.wait_for_line(&["INFO", "all is well"]).await;
    top.press("1").await;
    top.wait_for_line(&["web-1", "DEGRADED"]).await;

    collector.kill().await;
    top.wait_for_line(&["stale", "reconnecting"]).await;
    assert!(top.screen().iter().any(|line| line.contains("web-1")), "it keeps what it knows");
    collector.run().await;
    top.wait_for_line(&["● live"]).await;
    eventually("what happens after the restart is shown", SOON, async || {
        web.report(healthy()).await;
        top.screen().iter().any(|line| line.contains("web-1") && line.contains("● HEALTHY")).then_some(())
    })
    .await;
    assert!(top.screen().iter().all(|line| line.chars().count() == COLUMNS));

    top.press("q").await;
    assert_eq!(top.end().await.code(), Some(0));
    top.assert_restored();
}

#[tokio::test]
async fn top_restores_the_terminal_on_sigterm() {
    let collector = TestCollector::start().await;
    let mut top = Top::start(&collector);
    top.wait_for_line(&["● live"]).await;
    top.wait_for_line(&["no nodes yet"]).await;
    top.signal(Signal::SIGTERM);
    assert_eq!(top.end().await.code(), Some(0));
    top.assert_restored();
    let tokens: Value = serde_json::from_str(&collector.cli(&["token", "list", "--all", "--json"]).await).unwrap();
    let is_left = |token: &&Value| token["kind"] == "session" && token["revokedAt"].is_null();
    assert_eq!(tokens["items"].as_array().unwrap().iter().find(is_left), None, "its token is revoked");
}

#[tokio::test]
async fn top_without_a_terminal_is_an_error() {
    let collector = TestCollector::start().await;
    let output = collector.try_cli(&["top"]).await;
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("top needs a terminal"), "{message}");
}
