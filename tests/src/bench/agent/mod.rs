//! What an agent costs: a real one, supervising stub pipelines and reporting to a stand-in for the
//! collector that counts what arrives.
//!
//! The pipelines' own processes are not counted, and they move their counters once a second only, so
//! that a hundred of them leave the machine to the agent.

pub mod outcome;
pub mod receiver;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::outcome::{AgentOutcome, Course};
use self::receiver::Receiver;
use super::args::AgentArgs;
use super::process;
use super::run::{progress_bar, write_outcome};
use crate::harness::binaries::binary;
use crate::harness::ports::free_address;
use crate::harness::process::Process;
use crate::harness::{AgentPipeline, TestAgent, eventually};

/// Longest time until all pipelines run, on a machine that starts a hundred processes.
const START: Duration = Duration::from_secs(60);

/// How often memory is measured.
const LOOK: Duration = Duration::from_secs(1);

/// Measures and reports.
pub async fn run(args: &AgentArgs) -> anyhow::Result<()> {
    if args.components < 3 || args.pipelines == 0 || args.seconds == 0 {
        bail!("at least one pipeline of three components, and a second of time");
    }
    let program = args.agent.clone().unwrap_or_else(|| binary("systole-agent"));
    let outcome = measure(args, &program).await?;
    let table = if args.markdown { outcome.markdown() } else { outcome.table() };
    write_outcome(args.json.as_deref(), &outcome, &table)
}

async fn measure(args: &AgentArgs, program: &Path) -> anyhow::Result<AgentOutcome> {
    let receiver = Receiver::start(args.interval_ms).await?;
    // With its own endpoint, which an agent has by default.
    // The receiver answers no question for the protocol.
    let settings = [("metrics_listen", free_address().to_string().into()), ("protocol", "native".into())];
    let agent = TestAgent::of(&receiver.url(), receiver::ENROLL_TOKEN, &settings, &pipelines(args));
    let log = agent.config_path().with_extension("log");
    let mut command = Command::new(program);
    let process = Process::start("agent", command.arg("--config").arg(agent.config_path()), &log);
    let pid = process.pid();

    eventually("every pipeline is in a report with a sample", START, async || {
        let reports = receiver.reports();
        reports.last().is_some_and(|report| report.samples == args.pipelines).then_some(())
    })
    .await;
    let bar = progress_bar(args.warm_up + args.seconds, "s", args.quiet)?;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let born = Instant::now();
    let passed = |seconds: u64| born.elapsed() >= Duration::from_secs(seconds);
    while !passed(args.warm_up) {
        looks.tick().await;
        bar.set_position(born.elapsed().as_secs());
    }

    let (begin, cpu, wire, reports) =
        (Instant::now(), process::cpu_seconds(pid), receiver.wire_bytes(), receiver.reports().len());
    let mut memory = vec![process::memory_bytes(pid)];
    while !passed(args.warm_up + args.seconds) {
        looks.tick().await;
        memory.push(process::memory_bytes(pid));
        bar.set_position(born.elapsed().as_secs());
        bar.set_message(format!("{:.2} MB", memory[memory.len() - 1] as f64 / 1e6));
    }
    bar.finish_and_clear();
    let course = Course {
        seconds: begin.elapsed().as_secs_f64(),
        cpu_seconds: process::cpu_seconds(pid) - cpu,
        memory,
        peak_memory_bytes: process::peak_memory_bytes(pid),
        wire_bytes: receiver.wire_bytes() - wire,
        reports: receiver.reports().split_off(reports),
        binary_bytes: std::fs::metadata(program).with_context(|| program.display().to_string())?.len(),
    };
    Ok(AgentOutcome::of(args, &course))
}

/// Stubs that the agent starts, each with its share of the lines.
fn pipelines(args: &AgentArgs) -> Vec<AgentPipeline> {
    let mut addresses = BTreeSet::new();
    while addresses.len() < args.pipelines {
        addresses.insert(free_address());
    }
    let program: PathBuf = binary("stub-vector");
    let line_rate = (args.lines / args.pipelines as f64).to_string();
    let pipeline = |(number, address): (usize, std::net::SocketAddr)| {
        let address_text = address.to_string();
        let components = args.components.to_string();
        let flags = [
            "--metrics-address",
            &address_text,
            "--components",
            &components,
            "--log-rate",
            &line_rate,
            "--tick-ms",
            "1000",
        ];
        let command = std::iter::once(program.display().to_string()).chain(flags.map(str::to_owned)).collect();
        AgentPipeline {
            id: format!("pipeline-{number}"),
            name: None,
            command: Some(command),
            metrics_url: Some(format!("http://{address}/metrics")),
            settings: Vec::new(),
        }
    };
    addresses.into_iter().enumerate().map(pipeline).collect()
}
