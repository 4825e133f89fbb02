//! A handle on a stub that an agent, or the test itself, runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::process::Command;

use super::binaries::binary;
use super::client::ApiClient;
use super::ports::free_address;
use super::process::{Process, pid};
use super::wait::eventually;
use crate::stub::totals::{Life, Scrape, Totals};

/// Longest time until the stub does what it is told.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is needed to start a stub, to steer it, and to know what it counted.
#[derive(Debug)]
pub struct StubVector {
    address: SocketAddr,
    totals: PathBuf,
    flags: Vec<String>,
    process: Option<Process>,
}

impl StubVector {
    /// A stub on a free port with its totals in `directory`, not started yet.
    pub fn new(directory: &Path, name: &str, flags: &[&str]) -> Self {
        StubVector {
            address: free_address(),
            totals: directory.join(format!("{name}-totals.json")),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            process: None,
        }
    }

    /// The command that starts it, for an agent's configuration.
    pub fn command(&self) -> Vec<String> {
        let program = binary("stub-vector").display().to_string();
        let own = ["--metrics-address".to_owned(), self.address.to_string(), "--totals".to_owned()];
        let totals = self.totals.display().to_string();
        [program].into_iter().chain(own).chain([totals]).chain(self.flags.iter().cloned()).collect()
    }

    /// Where its metrics are.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Starts it as the test's own child, for pipelines that are only watched.
    pub async fn start(&mut self) {
        let lives = self.try_totals().map_or(0, |totals| totals.lives.len());
        let command = self.command();
        let log = self.totals.with_extension("log");
        self.process = Some(Process::start("stub-vector", Command::new(&command[0]).args(&command[1..]), &log));
        self.wait_for("the stub listens", |totals| {
            let life = totals.current().filter(|_| totals.lives.len() > lives)?;
            life.address
        })
        .await;
    }

    /// SIGKILL to the test's own child.
    pub async fn kill(&mut self) {
        self.process.take().expect("the stub was started by the test").kill().await;
    }

    /// The exit code of the test's own child, when it ends in time.
    pub async fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        self.process.as_mut().expect("the stub was started by the test").wait(limit).await.code()
    }

    /// What it counted; panics before its first start.
    pub fn totals(&self) -> Totals {
        self.try_totals().expect("the stub has written its totals")
    }

    fn try_totals(&self) -> Option<Totals> {
        Totals::read(&self.totals).expect("the totals can be read")
    }

    /// What each scrape was shown, oldest first.
    pub fn scrapes(&self) -> Vec<Scrape> {
        Scrape::read(&self.totals).expect("the scrapes can be read")
    }

    /// The present life of the process.
    pub fn life(&self) -> Life {
        self.totals().current().expect("the stub has written its totals").clone()
    }

    /// Waits until something can be made of the totals.
    pub async fn wait_for<T>(&self, what: &str, look: impl Fn(&Totals) -> Option<T>) -> T {
        eventually(what, TIMEOUT, async || look(&self.try_totals()?)).await
    }

    /// `POST /control/<what>`; see [`crate::stub::control::Command`].
    pub async fn control(&self, what: &str) {
        let client = ApiClient::new(&format!("http://{}", self.address));
        let request = client.request(reqwest::Method::POST, &format!("/control/{what}"));
        let answer = super::client::Answer::of(request).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }

    /// Stops the counters and waits until somebody has scraped their last value.
    pub async fn pause_and_let_scrape(&self) -> Totals {
        self.control("pause").await;
        let before = self.life().scrapes;
        // The first scrape after the pause sees everything.
        let scraped = eventually("a scrape after the pause", Duration::from_secs(20), async || {
            let totals = self.try_totals()?;
            (totals.current()?.scrapes > before).then_some(totals)
        })
        .await;
        let life = scraped.current().expect("it was there before");
        assert_eq!(life.exposed, life.total, "a scrape shows everything");
        scraped
    }

    /// Sends a signal to the present process, whoever started it.
    pub fn signal(&self, signal: Signal) {
        kill(pid(self.life().pid), signal).unwrap_or_else(|error| panic!("{signal} to the stub: {error}"));
    }
}

impl Drop for StubVector {
    /// Ends a stub that nobody else ends: its agent may have been killed by the test.
    fn drop(&mut self) {
        let Some(life) = self.try_totals().and_then(|totals| totals.lives.into_iter().next_back()) else { return };
        // The id may belong to somebody else by now.
        let command = std::fs::read(format!("/proc/{}/cmdline", life.pid)).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(self.totals.to_string_lossy().as_ref()) {
            let _ = kill(pid(life.pid), Signal::SIGKILL);
        }
    }
}
