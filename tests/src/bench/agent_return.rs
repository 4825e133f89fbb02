//! How fast a fleet is back after an outage: a collector is killed and started again under it.
//!
//! Each imagined node keeps what it could not send, as the spool of an agent does, and waits between two tries by
//! the agent's rule: exponential up to two intervals, all of it random. After the outage it sends its backlog in
//! one request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hdrhistogram::Histogram;
use serde::Serialize;
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::limits::MAX_REPORTS_PER_REQUEST;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::args::{Args, ReturnArgs};
use super::bodies::Bodies;
use super::fleet::{Node, enroll};
use super::run::{progress_bar, raise_open_files, write_outcome};
use crate::clock;
use crate::harness::TestCollector;

/// Longest latency that is distinguished.
const MAX_LATENCY_MS: u64 = 600_000;
/// Intervals of the longest wait, as in the agent's uplink.
const LONGEST_INTERVALS: u32 = 2;
/// Reports that a node keeps; more than an outage of minutes makes.
const MAX_BACKLOG: usize = 10_000;

/// What was measured.
#[derive(Debug, Serialize)]
struct Outcome {
    nodes: usize,
    outage_seconds: u64,
    /// Nodes whose backlog was acknowledged before the end.
    returned: usize,
    /// From the start of the new collector process to a node's first acknowledgement.
    return_p50_ms: u64,
    return_p99_ms: u64,
    return_max_ms: u64,
    /// From a request to its acknowledgement, after the outage.
    answer_p50_ms: u64,
    answer_p99_ms: u64,
    answer_max_ms: u64,
    requests_failed_after: u64,
}

/// What one node saw after the outage.
#[derive(Default)]
struct Seen {
    first_ack: Option<Instant>,
    answers: Vec<Duration>,
    failed: u64,
}

/// Runs it and prints the outcome.
pub(super) async fn run(args: &ReturnArgs) -> anyhow::Result<()> {
    raise_open_files();
    let mut collector = TestCollector::start_without_limits(None).await;
    let token = collector.create_token("enroll", None).await;
    let (pipelines, components) = (args.pipelines.to_string(), args.components.to_string());
    let flags = ["systole-bench", "--spawn", "--pipelines", &pipelines, "--components", &components];
    let fleet = Args { nodes: args.nodes, ..Args::try_parse_from(flags)? };
    let bar = progress_bar(args.nodes as u64, "nodes", args.quiet)?;
    let nodes = enroll(collector.address(), token.token.reveal(), &fleet, &bar).await?;
    bar.finish_and_clear();
    let bodies = Arc::new(Bodies::new(&fleet));
    let interval = Duration::from_millis(args.interval_ms);
    let (back, is_back) = watch::channel(None);
    let start = Instant::now();
    let outage = Duration::from_secs(args.outage);
    let end = start + Duration::from_secs(args.warm_up) + outage + Duration::from_secs(args.seconds);
    let mut running = JoinSet::new();
    for (number, node) in nodes.into_iter().enumerate() {
        // Spread evenly over the interval.
        let first = start + interval.mul_f64(number as f64 / args.nodes as f64);
        running.spawn(drive(node, Arc::clone(&bodies), interval, first, end, is_back.clone()));
    }
    sleep(Duration::from_secs(args.warm_up)).await;
    collector.kill().await;
    sleep(outage).await;
    let returned_at = Instant::now();
    back.send_replace(Some(returned_at));
    collector.run().await;
    let mut seen = Vec::with_capacity(args.nodes);
    while let Some(one) = running.join_next().await {
        seen.push(one.context("a node of the fleet")?);
    }
    let outcome = Outcome::of(args, returned_at, &seen)?;
    write_outcome(args.json.as_deref(), &outcome, &outcome.text())
}

async fn drive(
    mut node: Node,
    bodies: Arc<Bodies>,
    interval: Duration,
    first: Instant,
    end: Instant,
    is_back: watch::Receiver<Option<Instant>>,
) -> Seen {
    let longest = interval * LONGEST_INTERVALS;
    let mut backoff = Backoff::new(BackoffPolicy {
        first: Duration::from_secs(1),
        longest,
        longest_asked: Duration::from_secs(600),
        jitter: Jitter::Full,
    });
    let mut seen = Seen::default();
    let mut backlog: VecDeque<(u64, i64)> = VecDeque::new();
    let (mut due, mut seq) = (first, 0);
    while Instant::now() < end {
        while due <= Instant::now() && backlog.len() < MAX_BACKLOG {
            seq += 1;
            let late = Instant::now() - due;
            backlog.push_back((seq, clock::now_ms() - i64::try_from(late.as_millis()).unwrap_or(0)));
            due += interval;
        }
        if backlog.is_empty() {
            sleep_until(due).await;
            continue;
        }
        let batch: Vec<_> = backlog.iter().take(MAX_REPORTS_PER_REQUEST).copied().collect();
        let answer = node.post_backlog(&bodies, &batch).await;
        let is_after = is_back.borrow().is_some();
        match answer {
            Ok(latency) => {
                backlog.drain(..batch.len());
                backoff.reset();
                if is_after {
                    seen.first_ack.get_or_insert_with(Instant::now);
                    seen.answers.push(latency);
                }
            }
            Err(asked) => {
                seen.failed += u64::from(is_after);
                sleep(backoff.next(rand::random(), asked)).await;
            }
        }
    }
    seen
}

impl Outcome {
    fn of(args: &ReturnArgs, returned_at: Instant, seen: &[Seen]) -> anyhow::Result<Self> {
        let mut returns = Histogram::<u64>::new_with_bounds(1, MAX_LATENCY_MS, 3)?;
        let mut answers = Histogram::<u64>::new_with_bounds(1, MAX_LATENCY_MS, 3)?;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(MAX_LATENCY_MS).max(1);
        for one in seen {
            let first = one.first_ack.map(|at| at.saturating_duration_since(returned_at));
            // A node that never returned counts as the longest wait, so a percentile cannot hide it.
            returns.saturating_record(first.map_or(MAX_LATENCY_MS, ms));
            one.answers.iter().for_each(|latency| answers.saturating_record(ms(*latency)));
        }
        Ok(Outcome {
            nodes: args.nodes,
            outage_seconds: args.outage,
            returned: seen.iter().filter(|one| one.first_ack.is_some()).count(),
            return_p50_ms: returns.value_at_quantile(0.5),
            return_p99_ms: returns.value_at_quantile(0.99),
            return_max_ms: returns.max(),
            answer_p50_ms: answers.value_at_quantile(0.5),
            answer_p99_ms: answers.value_at_quantile(0.99),
            answer_max_ms: answers.max(),
            requests_failed_after: seen.iter().map(|one| one.failed).sum(),
        })
    }

    fn text(&self) -> String {
        format!(
            "{} of {} nodes are back after an outage of {} s\n\
             first acknowledgement after: p50 {} ms, p99 {} ms, at most {} ms\n\
             answers: p50 {} ms, p99 {} ms, at most {} ms; {} requests failed\n",
            self.returned,
            self.nodes,
            self.outage_seconds,
            self.return_p50_ms,
            self.return_p99_ms,
            self.return_max_ms,
            self.answer_p50_ms,
            self.answer_p99_ms,
            self.answer_max_ms,
            self.requests_failed_after,
        )
    }
}
