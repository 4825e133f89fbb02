//! The feed under load: how long an event takes from its report to every subscriber, whether each
//! gets all of them once and in order, and what subscribers cost.
//!
//! Nodes report lines through the usual route ([`sources`]); each line contains its node,
//! its number and its time. The subscribers run on a separate thread ([`load`]) and
//! read these three numbers only ([`scan`]), so that the generator stays cheaper than what it
//! measures; its own cost is part of the outcome.

pub mod load;
pub mod outcome;
pub mod scan;
pub mod sources;
pub mod subscriber;
pub mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};

use self::load::{Finish, Load, Order, Plan, Status, Verdict};
use self::outcome::{FeedOutcome, Part, Storm};
use self::sources::{Shared, Sources};
use self::tally::LoadTally;
use super::args::FeedArgs;
use super::process;
use super::run::{progress_bar, raise_open_files, write_outcome};
use crate::harness::{ApiClient, TestCollector, TestPostgres};

/// Orders that wait; there is one at a time.
const ORDERS: usize = 4;
/// Until everyone is connected, at the start and after a cut.
const CONNECTED: Duration = Duration::from_secs(180);
/// After connecting, until memory is measured.
const SETTLING: Duration = Duration::from_secs(5);
/// Until stalled subscribers are closed, or all have received what they missed.
const CLOSED: Duration = Duration::from_secs(90);
/// Until everyone has everything, at the end.
const DRAINED: Duration = Duration::from_secs(90);
/// How often a condition is polled.
const LOOK: Duration = Duration::from_millis(50);

/// Measures and reports.
pub async fn run(args: &FeedArgs) -> anyhow::Result<()> {
    let outcome = measure(args).await?;
    write_outcome(args.json.as_deref(), &outcome, &outcome.table())?;
    ensure!(outcome.is_whole(), "subscribers did not get every line once and in order");
    Ok(())
}

/// Measures.
pub async fn measure(args: &FeedArgs) -> anyhow::Result<FeedOutcome> {
    if args.subscribers == 0 || args.nodes == 0 || args.nodes > 9_999 || args.seconds == 0 {
        bail!("at least one subscriber, 1 to 9999 nodes, and a second of time");
    }
    if args.stalled + args.slow > args.subscribers || args.subscribers_per_token == 0 {
        bail!("more stalled and slow readers than subscribers, or tokens without a subscriber");
    }
    raise_open_files();
    Run::begin(args).await?.finish().await
}

/// A run that is under way.
struct Run<'a> {
    args: &'a FeedArgs,
    collector: TestCollector,
    viewer: ApiClient,
    sources: Sources,
    shared: Arc<Shared>,
    status: Arc<Status>,
    orders: SyncSender<Order>,
    load: std::thread::JoinHandle<std::io::Result<()>>,
    zero: Instant,
    outcome: FeedOutcome,
}

impl<'a> Run<'a> {
    /// Starts a collector and the nodes, and connects everyone.
    async fn begin(args: &'a FeedArgs) -> anyhow::Result<Self> {
        let config = args.config.as_ref().map(|path| path.display().to_string());
        let options: Vec<&str> = config.iter().flat_map(|path| ["--config", path]).collect();
        let mut collector = match args.postgres {
            true => TestCollector::start_on_postgres_with(&Arc::new(TestPostgres::alone()), &options).await,
            false => TestCollector::start_with(&options).await,
        };
        let token = collector.create_token("enroll", None).await;
        let sources = Sources::enroll(collector.address(), token.token.reveal(), args).await?;
        let viewer = collector.viewer().await;
        let zero = Instant::now();
        let plan = Plan {
            address: collector.address(),
            subscribers: args.subscribers,
            heads: heads(&collector, args).await?,
            sources: if args.types.contains("log_entry") { args.nodes } else { 0 },
            slow_bytes_per_second: args.slow_bytes_per_second,
            zero,
        };
        sleep(SETTLING).await;
        let mut outcome = FeedOutcome::new(args);
        outcome.memory_before_bytes = process::memory_bytes(collector.pid());

        let status = Arc::new(Status::default());
        let (orders, taken) = sync_channel(ORDERS);
        let load = Load::new(plan, Arc::clone(&status)).context("the subscribers' epoll")?;
        let connecting = Instant::now();
        let load = std::thread::Builder::new().name("subscribers".to_owned()).spawn(move || load.run(&taken))?;
        let shared = Arc::clone(&sources.shared);
        let mut run = Run { args, collector, viewer, sources, shared, status, orders, load, zero, outcome };
        let bar = progress_bar(args.subscribers as u64, "subscribers", args.quiet)?;
        run.outcome.connect_seconds = run.wait_for_all(&run.status.placed, connecting, &bar).await?;
        sleep(SETTLING).await;
        let memory = process::memory_bytes(run.collector.pid());
        let grown = memory.saturating_sub(run.outcome.memory_before_bytes);
        run.outcome.memory_per_subscriber_bytes = grown as f64 / args.subscribers as f64;
        run.counts().await?;
        Ok(run)
    }

    /// Everything that is measured.
    async fn finish(mut self) -> anyhow::Result<FeedOutcome> {
        let seconds = Duration::from_secs(self.args.seconds);
        if self.args.idle {
            let part = self.measure("idle", seconds, async |_| false).await?;
            self.outcome.parts.push(part);
        } else {
            let reporting = self.sources.start(self.args, self.zero);
            self.measure("warm-up", Duration::from_secs(self.args.warm_up), async |_| false).await?;
            let part = self.measure("steady", seconds, async |_| false).await?;
            self.outcome.parts.push(part);
            if self.args.storm {
                self.storm().await?;
            }
            if self.args.stalled + self.args.slow > 0 {
                self.stall().await?;
            }
            self.shared.stop();
            reporting.join_all().await;
        }
        let (verdict, given) = sync_channel(1);
        let lines = if self.args.types.contains("log_entry") { self.shared.lines() } else { Vec::new() };
        self.outcome.lines = lines.iter().map(|&count| u64::from(count)).sum();
        self.order(Order::Finish(Finish { lines, deadline: Instant::now() + DRAINED, verdict }))?;
        let verdict: Verdict = tokio::task::spawn_blocking(move || given.recv()).await?.context("no verdict")?;
        self.outcome.judge(&verdict);
        drop(self.orders);
        let ended = tokio::task::spawn_blocking(|| self.load.join()).await?;
        ended.map_err(|_| anyhow::anyhow!("the subscribers' thread panicked"))?.context("the subscribers' thread")?;
        self.collector.stop().await;
        Ok(self.outcome)
    }

    /// Cuts all at once, and waits until all have had something new.
    async fn storm(&mut self) -> anyhow::Result<()> {
        let bar = progress_bar(self.args.subscribers as u64, "subscribers live again", self.args.quiet)?;
        let cut = Instant::now();
        self.order(Order::Cut)?;
        // The order has taken effect when no subscriber is live.
        while self.status.live.load(Ordering::Relaxed) == self.args.subscribers && cut.elapsed() < CONNECTED {
            sleep(LOOK).await;
        }
        let all_live_seconds = self.wait_for_all(&self.status.live, cut, &bar).await?;
        let during = self.counts().await?;
        let ingest = self.shared.take_tally();
        let after = self.measure("after the storm", Duration::from_secs(self.args.seconds), async |_| false).await?;
        self.outcome.storm = Some(Storm { all_live_seconds, ingest_ms: outcome::of_ingest(&ingest) });
        self.outcome.absorb(&during, &ingest);
        self.outcome.parts.push(after);
        Ok(())
    }

    /// Has some read nothing until the collector has closed them, and then read on.
    async fn stall(&mut self) -> anyhow::Result<()> {
        self.order(Order::Stall(self.args.stalled, self.args.slow))?;
        let begin = Instant::now();
        let (seconds, stalled, all) =
            (Duration::from_secs(self.args.seconds), self.args.stalled, self.args.subscribers);
        let mut closed_after = None;
        let part = self
            .measure("with stalled or slow readers", seconds, async |viewer| {
                let open = gauge(viewer, "systole_feed_subscribers").await;
                if stalled > 0 && closed_after.is_none() && open.is_some_and(|open| open <= (all - stalled) as f64) {
                    closed_after = Some(begin.elapsed().as_secs_f64());
                }
                stalled > 0 && closed_after.is_none() && begin.elapsed() < CLOSED
            })
            .await?;
        self.outcome.parts.push(part);
        self.outcome.stalled_closed_seconds = closed_after;
        let closed = gauge(&self.viewer, "systole_feed_streams_closed_total{reason=\"slow\"}").await;
        self.outcome.closed_as_slow = closed.unwrap_or(0.0) as u64;
        self.order(Order::ReadOn)
    }

    /// Measures for a while, and on as long as `goes_on` says, which is asked every second.
    async fn measure(
        &mut self,
        name: &str,
        time: Duration,
        mut goes_on: impl AsyncFnMut(&ApiClient) -> bool,
    ) -> anyhow::Result<Part> {
        let before = self.counts().await?;
        let ingest_before = self.shared.take_tally();
        self.outcome.absorb(&before, &ingest_before);
        let (pid, own) = (self.collector.pid(), std::process::id());
        let cpu_before = [pid, own].map(process::cpu_seconds);
        let memory_before = process::memory_bytes(pid);
        let mut peak = memory_before;
        let begin = Instant::now();
        let bar = progress_bar(time.as_secs(), "s", self.args.quiet)?;
        bar.set_message(name.to_owned());
        loop {
            sleep(Duration::from_secs(1).min((begin + time).duration_since(Instant::now()).max(LOOK))).await;
            peak = peak.max(process::memory_bytes(pid));
            bar.set_position(begin.elapsed().as_secs().min(time.as_secs()));
            if !goes_on(&self.viewer).await && begin.elapsed() >= time {
                break;
            }
        }
        bar.finish_and_clear();
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = [pid, own].map(process::cpu_seconds);
        let tally = self.counts().await?;
        let ingest = self.shared.take_tally();
        self.outcome.absorb(&tally, &ingest);
        Ok(Part {
            collector_cpu: (cpu[0] - cpu_before[0]) / seconds,
            generator_cpu: (cpu[1] - cpu_before[1]) / seconds,
            memory_before_bytes: memory_before,
            memory_peak_bytes: peak,
            ..Part::of(name, seconds, &tally, &ingest)
        })
    }

    fn order(&self, order: Order) -> anyhow::Result<()> {
        self.orders.try_send(order).ok().context("the subscribers' thread takes no orders")
    }

    /// What the subscribers have counted since this was last asked for.
    async fn counts(&self) -> anyhow::Result<LoadTally> {
        let (to, notices) = sync_channel(1);
        self.order(Order::Count(to))?;
        tokio::task::spawn_blocking(move || notices.recv()).await?.context("the subscribers' thread has ended")
    }

    /// Seconds since `begin` until a count is that of all subscribers.
    async fn wait_for_all(&self, count: &AtomicUsize, begin: Instant, bar: &ProgressBar) -> anyhow::Result<f64> {
        loop {
            let now = count.load(Ordering::Relaxed);
            bar.set_position(now as u64);
            if now == self.args.subscribers {
                bar.finish_and_clear();
                return Ok(begin.elapsed().as_secs_f64());
            }
            ensure!(
                begin.elapsed() < CONNECTED,
                "only {now} of {} subscribers were there in time",
                self.args.subscribers
            );
            ensure!(!self.load.is_finished(), "the subscribers' thread has ended");
            sleep(LOOK).await;
        }
    }
}

/// The requests, one of each token.
async fn heads(collector: &TestCollector, args: &FeedArgs) -> anyhow::Result<Vec<String>> {
    let tokens = args.subscribers.div_ceil(args.subscribers_per_token);
    let bar = progress_bar(tokens as u64, "tokens", args.quiet)?;
    let mut heads = Vec::with_capacity(tokens);
    for number in 0..tokens {
        let token = collector.create_token("viewer", None).await;
        heads.push(format!(
            "GET /api/v1/events?types={}&every={} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\
             X-Systole-Client: bench\r\nAuthorization: Bearer {}\r\n",
            args.types,
            args.every_ms,
            collector.address(),
            token.token.reveal()
        ));
        bar.set_position(number as u64);
    }
    bar.finish_and_clear();
    Ok(heads)
}

/// A metric, by its name and labels, now.
async fn gauge(viewer: &ApiClient, name: &str) -> Option<f64> {
    let page = viewer.get("/metrics").await.body;
    let page = String::from_utf8_lossy(&page).into_owned();
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
