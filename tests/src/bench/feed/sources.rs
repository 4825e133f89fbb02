//! Nodes that write lines; each line is a separate event with its time in it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::scan::Stamp;
use crate::bench::args::{Args, FeedArgs, Packing};
use crate::bench::fleet::{Node, enroll};
use crate::bench::run::progress_bar;
use crate::bench::tally::Tally;
use crate::clock;
use crate::harness::reports::{distinct_counts, running, with_lines};

/// A report that is not durable after this time is dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts of the nodes, and whether they continue.
#[derive(Debug)]
pub struct Shared {
    tally: Mutex<Tally>,
    lines: Vec<AtomicU32>,
    stops: AtomicBool,
}

/// The nodes.
pub struct Sources {
    nodes: Vec<Node>,
    /// For the threads that watch the run.
    pub shared: Arc<Shared>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts since the last call.
    pub fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.tally())
    }

    /// By node: lines in reports so far.
    pub fn lines(&self) -> Vec<u32> {
        self.lines.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Has every node end after the report that it is at.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }
}

impl Sources {
    /// Enrols them, and sends a first report of each without lines, so that they are known.
    pub async fn enroll(address: SocketAddr, token: &str, args: &FeedArgs) -> anyhow::Result<Self> {
        let line = ["systole-bench", "--spawn", "--nodes", &args.nodes.to_string()].map(str::to_owned);
        let fleet = Args::try_parse_from(line).context("the fleet's settings")?;
        let mut nodes = enroll(address, token, &fleet, &progress_bar(0, "nodes", true)?).await?;
        let deadline = Instant::now() + PATIENCE;
        for node in &mut nodes {
            let pipelines = (0..pipelines(args)).map(|number| running(&id(number), distinct_counts(1))).collect();
            let taken = node.report(pipelines, Packing::Zstd, deadline, &mut Tally::new()).await;
            taken.context("a first report was not taken")?;
        }
        let lines = nodes.iter().map(|_| AtomicU32::new(0)).collect();
        let shared = Shared { tally: Mutex::default(), lines, stops: AtomicBool::new(false) };
        Ok(Sources { nodes, shared: Arc::new(shared) })
    }

    /// Has them report until they are to stop. Each in its turn, spread evenly over time.
    pub fn start(&mut self, args: &FeedArgs, zero: Instant) -> JoinSet<()> {
        let begin = Instant::now();
        let between = Duration::from_secs_f64(1.0 / reports_per_second(args) as f64);
        let mut running = JoinSet::new();
        for (number, node) in self.nodes.drain(..).enumerate() {
            let source = Source {
                number,
                node,
                pipelines: pipelines(args),
                line_bytes: args.line_bytes,
                first: begin + between * u32::try_from(number).unwrap_or(u32::MAX),
                interval: between * u32::try_from(args.nodes).unwrap_or(u32::MAX),
                zero,
                shared: Arc::clone(&self.shared),
            };
            running.spawn(source.run());
        }
        running
    }
}

fn reports_per_second(args: &FeedArgs) -> usize {
    args.reports_per_second.clamp(1, args.events_per_second.max(1))
}

/// Pipelines of each node, one line of each in a report.
fn pipelines(args: &FeedArgs) -> usize {
    args.events_per_second.div_ceil(reports_per_second(args)).max(1)
}

fn id(number: usize) -> String {
    format!("pipeline-{number}")
}

struct Source {
    number: usize,
    node: Node,
    pipelines: usize,
    line_bytes: usize,
    first: Instant,
    interval: Duration,
    zero: Instant,
    shared: Arc<Shared>,
}

impl Source {
    async fn run(mut self) {
        let (mut due, mut lines) = (self.first, 0);
        loop {
            sleep_until(due).await;
            if self.shared.stops.load(Ordering::Relaxed) {
                return;
            }
            let sent_us = u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX);
            let now = clock::now_ms();
            let pipelines = (0..self.pipelines).map(|number| {
                let stamp = Stamp { source: self.number, number: lines, sent_us };
                lines += 1;
                with_lines(running(&id(number), distinct_counts(1)), now, [stamp.line(self.line_bytes)])
            });
            let pipelines = pipelines.collect();
            self.shared.lines[self.number].store(lines, Ordering::Relaxed);
            let mut tally = Tally::new();
            let deadline = Instant::now() + PATIENCE;
            let took = self.node.report(pipelines, Packing::Zstd, deadline, &mut tally).await;
            match took {
                Some(took) => tally.record(took),
                None => tally.given_up += 1,
            }
            self.shared.tally().add(&tally);
            if took.is_none() {
                return;
            }
            due += self.interval;
        }
    }
}
