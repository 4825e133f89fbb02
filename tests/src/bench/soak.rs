//! The oracle, long: a collector killed a hundred times.

use std::io::Write;
use std::sync::Arc;

use super::args::SoakArgs;
use super::run::progress_bar;
use crate::harness::TestPostgres;
use crate::oracle::feed::{self, FeedPlan};
use crate::oracle::{self, Plan};

/// The disk is full for a while after this many kills.
const KILLS_PER_FULL_DISK: usize = 12;

/// Runs it and reports the outcome; panics at the first loss or repetition.
pub async fn run(args: &SoakArgs) -> anyhow::Result<()> {
    let server = args.postgres.then(|| Arc::new(TestPostgres::alone()));
    if let Some(subscribers) = args.feed {
        return run_feed(args, subscribers, server).await;
    }
    let full_disks = if args.postgres { 0 } else { args.kills.div_ceil(KILLS_PER_FULL_DISK) };
    let mut plan = Plan::new(args.kills, full_disks, server);
    plan.seed = args.seed.unwrap_or(plan.seed);
    let mut out = std::io::stdout();
    writeln!(out, "{} kills on {}, seed {}", args.kills, database(args), plan.seed)?;
    let bar = progress_bar(args.kills as u64, "kills", args.quiet)?;
    let outcome = oracle::run(plan, &bar).await;
    bar.finish_and_clear();
    writeln!(out, "nothing lost, nothing doubled: {outcome}")?;
    if full_disks > 0 && !outcome.disk_was_full {
        writeln!(out, "the disk was NOT filled: a process can have no disk of its own here")?;
    }
    Ok(())
}

async fn run_feed(args: &SoakArgs, subscribers: usize, server: Option<Arc<TestPostgres>>) -> anyhow::Result<()> {
    let mut plan = FeedPlan::new(args.kills, subscribers, server);
    plan.seed = args.seed.unwrap_or(plan.seed);
    let mut out = std::io::stdout();
    writeln!(out, "{} kills under {subscribers} subscribers on {}, seed {}", args.kills, database(args), plan.seed)?;
    let bar = progress_bar(args.kills as u64, "kills", args.quiet)?;
    let outcome = feed::run(plan, &bar).await;
    bar.finish_and_clear();
    writeln!(out, "nothing lost, nothing doubled: {outcome}")?;
    Ok(())
}

fn database(args: &SoakArgs) -> &'static str {
    if args.postgres { "PostgreSQL" } else { "SQLite" }
}
