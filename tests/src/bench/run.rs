//! One run: enrol, send, measure, tell.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::args::{Args, Command};
use super::fleet::{drive, enroll};
use super::outcome::{CollectorCost, Outcome, Tally};
use super::process;
use crate::harness::database::Database;
use crate::harness::{TestCollector, TestPostgres};

/// What the tests' servers do without.
const DURABLE: (&str, &str) = ("postgresql.conf", "fsync = on\nfull_page_writes = on\n");

/// How often the progress bar moves.
const PROGRESS: Duration = Duration::from_millis(200);

/// Runs the program.
pub async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::Agent(agent)) => super::agent::run(agent).await,
        None => run(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "systole-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let outcome = if args.spawn { with_own_collector(&args).await? } else { with_running_collector(&args).await? };
    tell(&args, &outcome)?;
    if outcome.collector.is_some_and(|cost| !cost.sums_are_exact) {
        bail!("the minutes do not sum up to what was acknowledged");
    }
    Ok(())
}

async fn with_running_collector(args: &Args) -> anyhow::Result<Outcome> {
    let (Some(url), Some(token)) = (&args.url, &args.enroll_token) else {
        bail!("--url and --enroll-token, or --spawn")
    };
    let (tally, elapsed) = load(url.trim_end_matches('/'), token, args).await?;
    Ok(Outcome::of(args, &tally, elapsed))
}

async fn with_own_collector(args: &Args) -> anyhow::Result<Outcome> {
    let mut collector = match args.postgres {
        true => TestCollector::start_on_postgres(&Arc::new(TestPostgres::alone_with(&[DURABLE]))).await,
        false => TestCollector::start().await,
    };
    let token = collector.create_token("enroll", None).await;
    let before = process::cpu_seconds(collector.pid());
    let (tally, elapsed) = load(&collector.url(), token.token.reveal(), args).await?;
    let pid = collector.pid();
    let cpu_seconds = process::cpu_seconds(pid) - before;
    let peak_memory_bytes = process::peak_memory_bytes(pid);
    let database_bytes = Database::bytes(&collector.database());
    let sums_are_exact = collector.stop_and_open_database().await.events_in() == tally.events_in;
    let cost = CollectorCost { cpu_seconds, peak_memory_bytes, database_bytes, sums_are_exact };
    Ok(Outcome { collector: Some(cost), ..Outcome::of(args, &tally, elapsed) })
}

async fn load(url: &str, token: &str, args: &Args) -> anyhow::Result<(Tally, Duration)> {
    let nodes = enroll(url, token, args).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(args.seconds);
    let mut fleet = JoinSet::new();
    for node in nodes {
        fleet.spawn(drive(node, args.clone(), end, Arc::clone(&acknowledged)));
    }
    let bar = progress_bar(args.seconds, args.quiet)?;
    let mut tick = interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::new();
    loop {
        tokio::select! {
            finished = fleet.join_next() => match finished {
                Some(node) => tally.add(&node.context("a node of the fleet")?),
                None => break,
            },
            _ = tick.tick() => {
                let elapsed = start.elapsed();
                bar.set_position(elapsed.as_secs().min(args.seconds));
                let rate = acknowledged.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64().max(0.001);
                bar.set_message(format!("{rate:.0} reports/s"));
            }
        }
    }
    bar.finish_and_clear();
    Ok((tally, start.elapsed()))
}

/// A bar of seconds.
pub(super) fn progress_bar(seconds: u64, quiet: bool) -> anyhow::Result<ProgressBar> {
    if quiet {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s  {msg}").context("the bar's template")?;
    Ok(ProgressBar::new(seconds).with_style(style))
}

fn tell(args: &Args, outcome: &Outcome) -> anyhow::Result<()> {
    write_outcome(args.json.as_deref(), outcome, &outcome.table())
}

/// JSON into the file, where one is named, and the table for people unless JSON has its place.
pub(super) fn write_outcome(json: Option<&Path>, outcome: &impl Serialize, table: &str) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(outcome)?;
    match json {
        Some(path) if path.as_os_str() == "-" => writeln!(std::io::stdout(), "{text}")?,
        Some(path) => {
            std::fs::write(path, format!("{text}\n")).with_context(|| path.display().to_string())?;
            write!(std::io::stdout(), "{table}")?;
        }
        None => write!(std::io::stdout(), "{table}")?,
    }
    Ok(())
}
