//! A handle on a stub that an agent, or the test itself, runs.
//!
//! It is run as every operator runs Vector: by a program called `vector`, with a configuration file
//! that it must read. A stub without one hid that an agent could not restart a Vector with one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::process::Command;

use super::binaries::binary;
use super::client::ApiClient;
use super::ports::free_address;
use super::process::{Process, pid};
use super::wait::{SOON, eventually};
use crate::stub::totals::{Life, Scrape, Totals};

/// Configuration of a stub, of which it takes only the comments that begin with `# stub:`.
const CONFIG: &str = "sources:\n  demo_in:\n    type: demo_logs\n    format: json\nsinks:\n  out:\n    type: blackhole\n    inputs: [demo_in]\n";

/// A handle to start a stub, to steer it, and to read its counts.
#[derive(Debug)]
pub struct StubVector {
    address: SocketAddr,
    totals: PathBuf,
    program: PathBuf,
    config: PathBuf,
    flags: Vec<String>,
    process: Option<Process>,
}

impl StubVector {
    /// A stub on a free port with its totals in `directory`, not started yet.
    pub fn new(directory: &Path, name: &str, flags: &[&str]) -> Self {
        // An agent knows a Vector by the name of its program.
        let program = directory.join("vector");
        if !program.exists() {
            std::os::unix::fs::symlink(binary("stub-vector"), &program).expect("the program gets its name");
        }
        let config = directory.join(format!("{name}.yaml"));
        std::fs::write(&config, CONFIG).expect("the configuration is written");
        StubVector {
            address: free_address(),
            totals: directory.join(format!("{name}-totals.json")),
            program,
            config,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            process: None,
        }
    }

    /// The command that starts it, for an agent's configuration.
    pub fn command(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let own = [text(&self.program), "--config".to_owned(), text(&self.config)];
        let metrics = ["--metrics-address".to_owned(), self.address.to_string()];
        let totals = ["--totals".to_owned(), text(&self.totals)];
        own.into_iter().chain(metrics).chain(totals).chain(self.flags.iter().cloned()).collect()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Puts another configuration in the place of the present one, in one step: the usual one with
    /// these lines before it.
    pub fn write_config(&self, lines: &str) {
        let unfinished = self.config.with_extension("unfinished");
        std::fs::write(&unfinished, format!("{lines}\n{CONFIG}")).expect("the configuration is written");
        std::fs::rename(unfinished, &self.config).expect("the configuration takes its place");
    }

    /// The configuration that the present process has read, from where it has read it.
    pub fn running_config(&self) -> String {
        let command = std::fs::read(format!("/proc/{}/cmdline", self.life().pid)).expect("the stub runs");
        let command = String::from_utf8(command).expect("its arguments are text");
        let path = command.split('\0').skip_while(|&arg| arg != "--config").nth(1).expect("it has a configuration");
        std::fs::read_to_string(path).expect("its configuration is there")
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

    /// Its counts; panics before its first start.
    pub fn totals(&self) -> Totals {
        self.try_totals().expect("the stub has written its totals")
    }

    fn try_totals(&self) -> Option<Totals> {
        Totals::read(&self.totals).expect("the totals can be read")
    }

    /// The content of each scrape, oldest first.
    pub fn scrapes(&self) -> Vec<Scrape> {
        Scrape::read(&self.totals).expect("the scrapes can be read")
    }

    /// The present life of the process.
    pub fn life(&self) -> Life {
        self.totals().current().expect("the stub has written its totals").clone()
    }

    /// Waits until something can be made of the totals.
    pub async fn wait_for<T>(&self, what: &str, look: impl Fn(&Totals) -> Option<T>) -> T {
        eventually(what, SOON, async || look(&self.try_totals()?)).await
    }

    /// `POST /control/<what>`; see [`crate::stub::control::Command`].
    pub async fn control(&self, what: &str) {
        let client = ApiClient::new(&format!("http://{}", self.address));
        let request = client.request(reqwest::Method::POST, &format!("/control/{what}"));
        let answer = super::client::Answer::of(request).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }

    /// Stops the counters and waits until a scrape has read their last value.
    pub async fn pause_and_let_scrape(&self) -> Totals {
        self.control("pause").await;
        let before = self.life().scrapes;
        // The first scrape after the pause sees everything.
        let scraped = eventually("a scrape after the pause", SOON, async || {
            let totals = self.try_totals()?;
            (totals.current()?.scrapes > before).then_some(totals)
        })
        .await;
        let life = scraped.current().expect("it was there before");
        assert_eq!(life.exposed, life.total, "a scrape shows everything");
        scraped
    }

    /// Sends a signal to the current process, also if the test did not start it.
    pub fn signal(&self, signal: Signal) {
        kill(pid(self.life().pid), signal).unwrap_or_else(|error| panic!("{signal} to the stub: {error}"));
    }
}

impl Drop for StubVector {
    /// Ends a stub that is left over: the test may have killed its agent.
    fn drop(&mut self) {
        let Some(life) = self.try_totals().and_then(|totals| totals.lives.into_iter().next_back()) else { return };
        // The id may belong to another process by now.
        let command = std::fs::read(format!("/proc/{}/cmdline", life.pid)).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(self.totals.to_string_lossy().as_ref()) {
            let _ = kill(pid(life.pid), Signal::SIGKILL);
        }
    }
}
