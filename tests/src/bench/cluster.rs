//! The oracle of a cluster, long, and how long a cluster is away when its leader fails.

use std::io::Write;

use super::args::ClusterArgs;
use super::run::progress_bar;
use crate::harness::Cluster;
use crate::oracle::cluster::{self, ClusterPlan, recovery};

/// Runs it and reports the outcome; panics at the first loss or repetition.
pub async fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if let Some(fault) = args.recovery {
        let mut cluster = Cluster::start(args.members).await;
        let recoveries = recovery::measure(&mut cluster, fault, args.rounds).await;
        writeln!(out, "{fault:?} of the leader of {} collectors: {recoveries}", args.members)?;
        return Ok(());
    }
    let mut plan = ClusterPlan::new(args.rounds, args.subscribers);
    plan.members = args.members;
    plan.seed = args.seed.unwrap_or(plan.seed);
    writeln!(out, "{} faults of {} collectors, seed {}", args.rounds, args.members, plan.seed)?;
    let bar = progress_bar(args.rounds as u64, "faults", args.quiet)?;
    let outcome = cluster::run(plan, &bar).await;
    bar.finish_and_clear();
    writeln!(out, "nothing lost, nothing doubled, the same on every collector: {outcome}")?;
    Ok(())
}
