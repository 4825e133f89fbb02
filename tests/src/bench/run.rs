//! One run: enrol, send, measure, report.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::args::{Args, Command, Loop};
use super::bodies::{self, Bodies};
use super::fleet::{Schedule, enroll};
use super::outcome::{CollectorCost, Course, Outcome, PushCount};
use super::push::PushStreams;
use super::tally::Tally;
use super::{metrics, process};
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
        Some(Command::Return(outage)) => super::agent_return::run(outage).await,
        Some(Command::Query(query)) => super::query::run(query).await,
        Some(Command::Feed(feed)) => super::feed::run(feed).await,
        Some(Command::Soak(soak)) => super::soak::run(soak).await,
        Some(Command::Cluster(cluster)) => super::cluster::run(cluster).await,
        Some(Command::Attack(attack)) => super::attack::run(attack).await,
        Some(Command::Rollout(rollout)) => super::rollout::run(rollout).await,
        Some(Command::Report(report)) => super::report::run(report),
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
    raise_open_files();
    let outcome = if args.spawn { with_own_collector(&args).await? } else { with_running_collector(&args).await? };
    print(&args, &outcome)?;
    if outcome.collector.as_ref().is_some_and(|cost| !cost.sums_are_exact) {
        bail!("the minutes do not sum up to what was acknowledged");
    }
    Ok(())
}

async fn with_running_collector(args: &Args) -> anyhow::Result<Outcome> {
    let (Some(url), Some(token)) = (&args.url, &args.enroll_token) else {
        bail!("--url and --enroll-token, or --spawn")
    };
    let host = url.trim_end_matches('/').strip_prefix("http://").context("--url is http://host:port")?;
    let address = tokio::net::lookup_host(host).await.context(host.to_owned())?.next().context("no such host")?;
    let (tally, course) = load(address, token, args, async || ()).await?;
    Ok(Outcome::of(args, &tally, course))
}

async fn with_own_collector(args: &Args) -> anyhow::Result<Outcome> {
    let mut collector = match args.postgres {
        true => TestCollector::start_without_limits(Some(&Arc::new(TestPostgres::alone_with(&[DURABLE])))).await,
        false => TestCollector::start_without_limits(None).await,
    };
    let token = collector.create_token("enroll", None).await;
    let (pid, viewer) = (collector.pid(), collector.viewer().await);
    let mut before = (0.0, BTreeMap::new());
    let address = collector.address();
    let (tally, course) = load(address, token.token.reveal(), args, async || {
        before = (process::cpu_seconds(pid), metrics::counters(&viewer).await);
    })
    .await?;
    let cpu_seconds = process::cpu_seconds(pid) - before.0;
    let metrics = metrics::growth(&before.1, metrics::counters(&viewer).await);
    let mut cost = CollectorCost {
        cpu_seconds,
        memory_bytes: process::memory_bytes(pid),
        peak_memory_bytes: process::peak_memory_bytes(pid),
        database_bytes: Database::bytes(&collector.database()),
        bytes_per_pipeline_minute: 0.0,
        bytes_per_component_minute: 0.0,
        sums_are_exact: false,
        metrics,
    };
    let mut events_in = 0;
    for number in 0..args.pipelines {
        events_in += collector.minute_sums(&bodies::pipeline_id(number)).await.events_in;
    }
    cost.sums_are_exact = events_in == tally.events_in;
    let mut database = collector.stop_and_open_database().await;
    let mut per_row = |table| database.table_bytes(table) as f64 / database.rows(table).max(1) as f64;
    cost.bytes_per_pipeline_minute = per_row("pipeline_minutes");
    cost.bytes_per_component_minute = per_row("component_minutes");
    Ok(Outcome { collector: Some(cost), ..Outcome::of(args, &tally, course) })
}

/// Enrols the fleet and has it report; `begins` is called when the measurement does.
async fn load(
    address: SocketAddr,
    token: &str,
    args: &Args,
    mut begins: impl AsyncFnMut(),
) -> anyhow::Result<(Tally, Course)> {
    let bar = progress_bar(args.nodes as u64, "nodes", args.quiet)?;
    let enrolling = Instant::now();
    let nodes = enroll(address, token, args, &bar).await?;
    bar.finish_and_clear();
    let enrolment = enrolling.elapsed();

    let push_bar = progress_bar(args.nodes as u64, "push streams", args.quiet)?;
    let streams = match args.push {
        true => {
            let tokens = nodes.iter().map(|node| node.token().to_owned()).collect();
            Some(PushStreams::open(address, tokens, &push_bar).await?)
        }
        false => None,
    };
    push_bar.finish_and_clear();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let packed = Arc::new(Bodies::new(args));
    let pace = Duration::from_millis(args.interval_ms);
    let start = Instant::now();
    let begin = start + Duration::from_secs(args.warm_up);
    let end = begin + Duration::from_secs(args.seconds);
    let mut fleet = JoinSet::new();
    for (number, mut node) in nodes.into_iter().enumerate() {
        node.is_flapping = number < args.flapping;
        // Spread evenly over the interval.
        let first = match args.mode {
            Loop::Open => start + pace.mul_f64(number as f64 / args.nodes as f64),
            Loop::Closed => start,
        };
        let schedule = Schedule { first, begin, end };
        fleet.spawn(node.drive(Arc::clone(&packed), args.mode, pace, schedule, Arc::clone(&acknowledged)));
    }
    let bar = progress_bar(args.warm_up + args.seconds, "s", args.quiet)?;
    let mut tick = interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::new();
    let mut cpu_before = None;
    let mut last = (start, 0);
    loop {
        tokio::select! {
            () = sleep_until(begin), if cpu_before.is_none() => {
                begins().await;
                cpu_before = Some(process::cpu_seconds(std::process::id()));
            }
            finished = fleet.join_next() => match finished {
                Some(node) => tally.add(&node.context("a node of the fleet")?),
                None => break,
            },
            _ = tick.tick() => {
                let (now, count) = (Instant::now(), acknowledged.load(Ordering::Relaxed));
                bar.set_position((now - start).as_secs().min(args.warm_up + args.seconds));
                let rate = (count - last.1) as f64 / (now - last.0).as_secs_f64().max(0.001);
                bar.set_message(format!("{rate:.0} reports/s"));
                last = (now, count);
            }
        }
    }
    bar.finish_and_clear();
    let generator_cpu_seconds = process::cpu_seconds(std::process::id()) - cpu_before.unwrap_or_default();
    let push = streams.map(|streams| PushCount {
        open: streams.tally.open.load(Ordering::Relaxed),
        ended: streams.tally.ended.load(Ordering::Relaxed),
        bytes: streams.tally.bytes.load(Ordering::Relaxed),
    });
    Ok((tally, Course { enrolment, elapsed: begin.elapsed(), generator_cpu_seconds, push }))
}

/// A connection per node needs more files than the usual limit of a shell.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        let _ = writeln!(std::io::stderr(), "systole-bench: the limit of open files stays as it is: {error}");
    }
}

/// A progress bar up to `length`.
pub(super) fn progress_bar(length: u64, unit: &str, quiet: bool) -> anyhow::Result<ProgressBar> {
    if quiet {
        return Ok(ProgressBar::hidden());
    }
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{msg}}");
    let style = ProgressStyle::with_template(&template).context("the bar's template")?;
    Ok(ProgressBar::new(length).with_style(style))
}

fn print(args: &Args, outcome: &Outcome) -> anyhow::Result<()> {
    let table = if args.markdown { outcome.markdown() } else { outcome.table() };
    write_outcome(args.json.as_deref(), outcome, &table)
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
