//! Versions on their way to a fleet of real agents: how long that takes ([`pace`]), and what a version that crashes
//! does to the fleet ([`crash`]).
//!
//! Files of the stubs are the truth: which version ran on which node, from when, in which process. The feed and the
//! API of rollouts say what the centre knows of it.

pub mod centre;
pub mod crash;
mod outcome;
mod pace;

use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

pub use self::centre::Centre;
pub use self::crash::{CrashOutcome, Trouble};
use self::outcome::{CrashOutcomes, PaceOutcome};
use super::args::RolloutArgs;
use super::run::{progress_bar, raise_open_files, write_outcome};
use crate::harness::{AgentFleet, TestCollector, eventually};

/// Longest time for a fleet to start, on a machine that does other work as well.
const START: Duration = Duration::from_secs(300);

/// A canary for each twenty agents, and at least three: one may be away, and two must fail to halt.
fn canaries(agents: usize) -> usize {
    agents.div_ceil(20).max(3)
}

/// Runs it and prints the outcome.
///
/// # Errors
///
/// When a signal ends it, or the outcome cannot be written. What is not as promised panics.
pub(super) async fn run(args: &RolloutArgs) -> anyhow::Result<()> {
    if args.agents <= canaries(args.agents) + 1 {
        bail!("--agents {}: at least {} are needed beside the canaries", args.agents, 2);
    }
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    // An end of this process ends the agents with it only when the handles are dropped.
    tokio::select! {
        done = measure(args) => done,
        _ = tokio::signal::ctrl_c() => bail!("ended by {}", Signal::SIGINT),
        _ = terminated.recv() => bail!("ended by {}", Signal::SIGTERM),
    }
}

async fn measure(args: &RolloutArgs) -> anyhow::Result<()> {
    raise_open_files();
    let mut collector = TestCollector::start_without_limits(None).await;
    let centre = Centre::of(&collector).await;
    let canaries = if args.crash { canaries(args.agents) } else { 0 };
    let bar = progress_bar(args.agents as u64, "agents", args.quiet)?;
    let mut fleet = AgentFleet::start(&collector, args.agents, canaries, !args.no_push).await;
    wait_for_fleet(&centre, &fleet, &bar).await;
    bar.finish_and_clear();
    if args.crash {
        let mut runs = Vec::new();
        for trouble in Trouble::ALL {
            runs.push(crash::run(&mut collector, &centre, &mut fleet, trouble).await);
        }
        let outcome = CrashOutcomes { agents: args.agents, canaries, push: !args.no_push, runs };
        return write_outcome(args.json.as_deref(), &outcome, &outcome.text());
    }
    let outcome: PaceOutcome = pace::run(&mut collector, &centre, &fleet, !args.no_push).await?;
    write_outcome(args.json.as_deref(), &outcome, &outcome.text())
}

/// Waits until the collector knows every node, and what each can run.
async fn wait_for_fleet(centre: &Centre, fleet: &AgentFleet, bar: &ProgressBar) {
    eventually("every agent reports", START, async || {
        let nodes = centre.nodes_up().await;
        bar.set_position(nodes as u64);
        (nodes == fleet.agents.len()).then_some(())
    })
    .await;
}
