//! The oracle of a cluster, long, and how long a cluster is away when its leader fails.

use std::io::Write;

use super::args::ClusterArgs;
use super::run::progress_bar;
use crate::harness::{Cluster, Network};
use crate::oracle::cluster::{self, ClusterPlan, Ordeal, recovery};

/// Runs it and reports the outcome; panics at the first loss or repetition.
pub async fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if let Some(fault) = args.recovery {
        let mut cluster = Cluster::start(args.members).await;
        let recoveries = recovery::measure(&mut cluster, fault, args.rounds).await;
        writeln!(out, "{fault:?} of the leader of {} collectors: {recoveries}", args.members)?;
        return Ok(());
    }
    let ordeal = match &args.previous {
        Some(program) => Ordeal::Upgrade(program.clone()),
        None => Ordeal::Faults(args.rounds),
    };
    if let Some(obstacle) = Network::obstacle().filter(|_| args.on_hosts) {
        anyhow::bail!("--on-hosts: {obstacle}");
    }
    let what = match &ordeal {
        Ordeal::Upgrade(program) => format!("upgrade of {} collectors from {}", args.members, program.display()),
        Ordeal::Faults(rounds) => format!("{rounds} faults of {} collectors", args.members),
    };
    let mut plan = ClusterPlan::new(ordeal, args.subscribers);
    plan.members = args.members;
    plan.on_hosts = args.on_hosts;
    plan.seed = args.seed.unwrap_or(plan.seed);
    writeln!(out, "{what}, seed {}", plan.seed)?;
    let bar = progress_bar(args.rounds as u64, "faults", args.quiet)?;
    let outcome = cluster::run(plan, &bar).await;
    bar.finish_and_clear();
    writeln!(out, "nothing lost, nothing doubled, the same on every collector: {outcome}")?;
    Ok(())
}
