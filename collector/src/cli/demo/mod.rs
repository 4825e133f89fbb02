//! `demo`: runs the whole system on this host and prints its feed.
//!
//! A collector on SQLite, and an agent that supervises one pipeline (`vector` when it is on the
//! PATH, else the stand-in of the tests) and watches the collector itself as a second one, through
//! its /metrics and a mapping of its own. Beside them three simulated nodes in this process show what happens in a
//! fleet. What is printed comes from the feed over HTTP, as any dashboard would read it.

#![expect(clippy::print_stdout, reason = "this is what people read")]

mod output;
mod pipeline;
mod simulated;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole_shared::TokenKind;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::open_shared;
use crate::auth;
use crate::clock::now_ms;
use crate::config::{Config, Database, LogConfig, LogFormat};
use crate::server;
use crate::store::{DEFAULT_ENVIRONMENT, NewToken};
use crate::telemetry::logging;

/// Longest time for the agent to stop its pipelines, which have 30 s themselves.
const AGENT_TIMEOUT: Duration = Duration::from_secs(35);

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Address of the collector; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// Runs the demo until Ctrl-C. Without --data-dir all data is removed at the end.
pub(super) async fn run(args: DemoArgs, mut config: Config, keep_data: bool) -> anyhow::Result<()> {
    let agent_binary = find_program("systole-agent").context(
        "cannot find systole-agent beside this program or on the PATH; build it with `cargo build --workspace`",
    )?;
    let temporary = if keep_data { None } else { Some(tempfile::Builder::new().prefix("systole-demo-").tempdir()?) };
    if let Some(dir) = &temporary {
        config.data_dir = dir.path().to_owned();
        config.database = Database::Sqlite(dir.path().join("collector.db"));
    }
    config.listen = args.listen;
    // The demo prints its own lines; the collector logs only warnings and errors.
    logging::init(LogConfig { level: tracing::Level::WARN, format: LogFormat::Text });

    let stop = CancellationToken::new();
    let (ready, address) = oneshot::channel();
    let collector = tokio::spawn(server::run(config.clone(), stop.clone(), Arc::default(), |address| {
        let _ = ready.send(address);
    }));
    let Ok(address) = address.await else { return collector.await.context("the collector failed")? };
    let url = format!("http://{address}");
    let result = with_collector(&config, &url, &agent_binary, args.seconds).await;
    stop.cancel();
    let stopped = collector.await.context("the collector failed")?;
    match &temporary {
        Some(_) => println!("Stopped. Nothing of it is left."),
        None => println!("Stopped. The data is in {}.", config.data_dir.display()),
    }
    result.and(stopped)
}

async fn with_collector(config: &Config, url: &str, agent_binary: &Path, seconds: Option<u64>) -> anyhow::Result<()> {
    let viewer = new_token(config, TokenKind::Viewer).await?;
    let enroll = new_token(config, TokenKind::Enroll).await?;
    let admin = new_token(config, TokenKind::Admin).await?;
    let dir = config.data_dir.join("agent");
    std::fs::create_dir_all(&dir)?;
    let pipeline = pipeline::prepare(&dir)?;
    let file = dir.join("agent.toml");
    std::fs::write(&file, pipeline.agent_file(url, &dir, &viewer))?;
    let mut agent = start_agent(agent_binary, &file, &enroll)?;

    println!("Systole demo: one collector, one agent, two pipelines on this host, and three simulated nodes.");
    println!();
    println!("  Collector  {url}   (database in {})", config.data_dir.display());
    println!("  Agent      supervises \"demo\": {}", pipeline.description);
    println!("             watches \"collector\": this collector, through its own /metrics");
    println!("             {} status --data-dir {}", agent_binary.display(), dir.display());
    println!("  Its log    {}", agent_log(&file).display());
    println!("  Simulated  {}: what they report is made up,", simulated::names().join(", "));
    println!("             with an hour of history; their label is {}", simulated::MARK);
    println!();
    println!("  The dashboard, in a browser on this host:");
    println!("    {url}/#token={viewer}");
    println!("  The feed, for another terminal:");
    println!("    curl -N -H 'Authorization: Bearer {viewer}' '{url}/api/v1/events?snapshot=1'");
    println!("  What is stored:");
    println!("    curl -H 'Authorization: Bearer {viewer}' '{url}/api/v1/pipelines/demo/minutes'");
    println!("  The fleet in another terminal:");
    println!("    SYSTOLE_TOKEN={viewer} {} top --url {url}", own_program());
    println!();
    println!("  Ctrl-C ends all of it. Meanwhile try: pkill -9 -x {}", pipeline.program);
    println!();

    let ended = tokio::select! {
        () = ended(seconds) => Ok(()),
        result = simulated::run(url, &enroll, &admin) => result,
        result = output::narrate(url, &viewer) => result,
        status = agent.wait() => {
            let log = std::fs::read_to_string(agent_log(&file)).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(5).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            bail!("the agent exited ({}); its last lines:\n{}", status?, last.join("\n"));
        }
    };
    println!();
    println!("Stopping the agent and its pipelines …");
    stop_agent(&mut agent).await?;
    ended
}

async fn new_token(config: &Config, kind: TokenKind) -> anyhow::Result<String> {
    let store = open_shared(config).await?;
    let secret = auth::new_token(kind);
    let access = store.load_access(None).await?.context("the database has no environments")?;
    let default = access.environments.iter().find(|environment| environment.name == DEFAULT_ENVIRONMENT);
    let token = NewToken {
        kind,
        environment: default.filter(|_| kind != TokenKind::Viewer).map(|environment| environment.key),
        parent: None,
        label: crate::store::TokenLabel::default(),
        hash: secret.hash(),
        hint: secret.hint(),
        created_at: now_ms(),
        expires_at: None,
    };
    store.create_token(token).await?;
    store.close().await;
    Ok(secret.reveal().to_owned())
}

/// A client for plain HTTP to this host.
fn http_client() -> anyhow::Result<reqwest::Client> {
    // The provider must be there all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .build()
        .context("cannot create an HTTP client")
}

/// This program, as another terminal can start it.
fn own_program() -> String {
    std::env::current_exe().map_or_else(|_| "systole-collector".to_owned(), |path| path.display().to_string())
}

/// A program beside this one, else on the PATH.
fn find_program(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|file| file.is_file())
}

fn agent_log(file: &Path) -> PathBuf {
    file.with_extension("log")
}

fn start_agent(binary: &Path, file: &Path, enroll: &str) -> anyhow::Result<Child> {
    let log = std::fs::File::create(agent_log(file))?;
    let mut command = Command::new(binary);
    // The demo's file is to be the agent's only source: a variable would win over it.
    let foreign = |name: &str| name.starts_with("SYSTOLE_") || name.starts_with("VF_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    command
        .arg("--config")
        .arg(file)
        .env("SYSTOLE_TOKEN", enroll)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C goes to this process alone, which then stops the agent in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

async fn stop_agent(agent: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = agent.id().and_then(|pid| i32::try_from(pid).ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot stop the agent")?;
    }
    if tokio::time::timeout(AGENT_TIMEOUT, agent.wait()).await.is_err() {
        agent.kill().await.context("cannot kill the agent")?;
        bail!("the agent did not stop within {} s and was killed", AGENT_TIMEOUT.as_secs());
    }
    Ok(())
}

/// Ctrl-C, SIGTERM, a closed terminal, or the time that was asked for.
async fn ended(seconds: Option<u64>) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds else { return };
    let time = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        () = time => {}
    }
}
