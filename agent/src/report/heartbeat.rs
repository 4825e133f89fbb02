//! The heartbeat: a report every few seconds, and at once when a pipeline changed its state.
//!
//! A separate task that never waits for long: scrapes and values of the host have a moment before each
//! report, and later ones are in the next report. The uplink sends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, CheckpointFiles};
use super::reporter::Reporter;
use crate::clock;
use crate::host::Host;
use crate::logs::reader::LogReader;
use crate::logs::registry::LogRegistry;
use crate::metrics::AgentCounters;
use crate::scrape::fetch::Scraper;
use crate::spool::outbox::Outbox;
use crate::status::health;
use crate::status::liveness::Liveness;
use crate::status::systemd::Watchdog;
use crate::supervise::set::PipelineSet;
use crate::upgrade::handover::{HandoverError, Order, Successor};
use crate::uplink::ConnectionStatus;

/// Least time between two reports that changes of state ask for.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Changes that come together (all pipelines starting) go out together.
const COALESCE_WINDOW: Duration = Duration::from_millis(50);

/// Scrapes that begin together. Each needs some 60 KB while it is under way, and more of them at a
/// time would not be faster on the agent's one thread.
const SCRAPES_AT_ONCE: usize = 4;

/// A scrape that takes longer releases its slot: endpoints that do not answer must not block the
/// others.
const SCRAPE_SLOT: Duration = Duration::from_millis(10);

/// How long a report waits for the scrapes that it began.
const SCRAPE_GRACE: Duration = Duration::from_millis(500);

/// How long a report waits for the lines that are there.
const LOGS_GRACE: Duration = Duration::from_millis(300);

/// The first report is made within this time: the operator waits for it.
const FIRST_WITHIN: Duration = Duration::from_millis(500);

/// Makes the reports.
pub(crate) struct Heartbeat {
    /// Every pipeline of the node.
    pub(crate) pipelines: Arc<PipelineSet>,
    /// Puts reports together.
    pub(crate) reporter: Reporter,
    /// Asks the pipelines' endpoints.
    pub(crate) scraper: Arc<Scraper>,
    /// Asks the host.
    pub(crate) host: Host,
    /// Where reports go.
    pub(crate) outbox: Arc<Outbox>,
    /// The pipelines' lines.
    pub(crate) logs: Arc<LogRegistry>,
    /// Reads them.
    pub(crate) reader: Arc<LogReader>,
    /// Where is kept what a restart continues from.
    pub(crate) checkpoint: CheckpointFiles,
    /// Notified of changes of state.
    pub(crate) changed: Arc<Notify>,
    /// Notified of every report.
    pub(crate) report_made: Arc<Notify>,
    /// How often to report.
    pub(crate) interval: watch::Receiver<Duration>,
    /// How long lines wait for a report at most; none for the interval.
    pub(crate) log_flush_interval: Option<Duration>,
    /// What the agent counts of itself.
    pub(crate) counters: Arc<AgentCounters>,
    /// How the connection to the collector does.
    pub(crate) connection: Arc<ConnectionStatus>,
    /// Where others see that reports are made.
    pub(crate) liveness: Arc<Liveness>,
    /// Reports to systemd that this task is alive.
    pub(crate) watchdog: Watchdog,
    /// Start of the agent.
    pub(crate) started: Instant,
    /// From 0 to 1: the random part of waits.
    pub(crate) random: fn() -> f64,
    /// Lets the process become another program.
    pub(crate) successor: Successor,
    /// When it is to.
    pub(crate) orders: mpsc::Receiver<Order>,
}

impl Heartbeat {
    /// Reports until `finish`, and once more then.
    pub(crate) async fn run(mut self, finish: CancellationToken) {
        sleep(FIRST_WITHIN.mul_f64((self.random)())).await;
        self.make_report().await;
        let mut reported = Instant::now();
        'interval: loop {
            let period = *self.interval.borrow_and_update();
            // Nodes that start together, or receive a new interval together, must not report together
            // for ever.
            let mut ticks = interval_at(Instant::now() + period.mul_f64((self.random)()), period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = finish.cancelled() => break 'interval,
                    Ok(()) = self.interval.changed() => continue 'interval,
                    () = self.watchdog.next_ping() => {
                        self.watchdog.ping();
                        continue;
                    }
                    Some(order) = self.orders.recv() => {
                        self.hand_over(order).await;
                        reported = Instant::now();
                        continue;
                    }
                    _ = ticks.tick() => {}
                    () = state_change_due(&self.pipelines, &self.changed, reported) => {}
                    () = lines_due(&self.pipelines, self.log_flush_interval, reported) => {}
                }
                self.make_report().await;
                reported = Instant::now();
            }
        }
        self.send_final_report().await;
    }

    async fn make_report(&mut self) {
        let begin = Instant::now();
        let ((), host, ()) = tokio::join!(self.scrape(), self.host.read(), self.read_logs());
        self.report(host);
        self.counters.reports.observe(begin.elapsed());
        self.liveness.record_report();
    }

    /// Makes a report and becomes another program right after it. Returns when that is not possible.
    async fn hand_over(&mut self, order: Order) {
        let ((), host, ()) = tokio::join!(self.scrape(), self.host.read(), self.read_logs());
        // No wait from here on: what the report does not have is handed over as it is at this moment.
        self.report(host);
        while has_unreported_states(&self.pipelines) {
            self.report(host);
        }
        self.liveness.record_report();
        let error = if self.outbox.waits_in_memory() {
            HandoverError::ReportsInMemory
        } else {
            let Err(error) = self.successor.become_next(&self.pipelines.all(), &order);
            error
        };
        order.answer(error);
    }

    /// Scrapes all pipelines, a few at a time. Those that are late go on by themselves.
    async fn scrape(&self) {
        let mut scrapes = JoinSet::new();
        let slots = Arc::new(Semaphore::new(SCRAPES_AT_ONCE));
        for pipeline in self.pipelines.all().iter().filter(|pipeline| pipeline.is_scraped()) {
            let (pipeline, scraper, slots) = (pipeline.clone(), self.scraper.clone(), slots.clone());
            scrapes.spawn(async move {
                let slot = slots.acquire_owned().await;
                let mut scrape = pin!(pipeline.scrape_if_idle(&scraper));
                if timeout(SCRAPE_SLOT, &mut scrape).await.is_err() {
                    drop(slot);
                    scrape.await;
                }
            });
        }
        let all = async { while scrapes.join_next().await.is_some() {} };
        if timeout(SCRAPE_GRACE, all).await.is_err() {
            scrapes.detach_all();
        }
    }

    /// Reads the lines that there are now. A disk that takes long is not waited for.
    async fn read_logs(&self) {
        let _ = timeout(LOGS_GRACE, self.reader.round()).await;
    }

    /// At the end nothing is scraped any more, and every state that waits is shown.
    async fn send_final_report(&mut self) {
        let (host, (), is_host_stopping) =
            tokio::join!(self.host.read(), self.read_logs(), self.host.is_shutting_down());
        self.reporter.stop(if is_host_stopping { "host is shutting down" } else { "agent stopped" });
        self.report(host);
        while has_unreported_states(&self.pipelines) {
            self.report(host);
        }
    }

    fn report(&mut self, host: Option<systole_shared::HostMetrics>) {
        self.post(host);
        self.report_made.notify_one();
    }

    /// If no report can be lost with the agent any more, it need not go back after them.
    fn commit(&mut self) {
        if !self.outbox.waits_in_memory() {
            self.checkpoint.commit();
            self.logs.commit();
        }
    }

    fn post(&mut self, host: Option<systole_shared::HostMetrics>) {
        // What waited in memory may have reached the collector meanwhile.
        self.commit();
        let health = health::health_of(&self.counters, &self.outbox, &self.connection, self.started);
        let refused_before = health.refused_items;
        let pipelines = self.pipelines.all();
        let report = self.reporter.make(&pipelines, clock::unix_millis(), host, health);
        let refused = report.agent.as_ref().map_or(0, |agent| agent.health.refused_items - refused_before);
        if refused > 0 && refused_before == 0 {
            tracing::warn!(
                refused,
                "the pipelines have too many components for a report, or ids that are too long; the surplus is not reported"
            );
        }
        self.counters.refused_items.add(refused);
        let dropped = report.pipelines.iter().map(|pipeline| pipeline.logs_dropped).sum();
        self.counters.lost_log_lines.add(dropped);
        // No scrape can come between: it would run on this very thread.
        let trackers = pipelines.iter().filter_map(|pipeline| Some((pipeline.id().clone(), pipeline.save_tracker()?)));
        let checkpoint = Checkpoint { trackers: trackers.collect(), logs: self.logs.saved() };
        self.checkpoint.prepare(report.seq, checkpoint);
        self.outbox.post(&report);
        self.commit();
    }
}

/// Waits until there is a change to report, and until it may be.
async fn state_change_due(pipelines: &PipelineSet, changed: &Notify, reported: Instant) {
    while !has_unreported_states(pipelines) {
        changed.notified().await;
    }
    sleep(COALESCE_WINDOW).await;
    sleep_until(reported + DEBOUNCE).await;
}

/// Waits until lines have waited for as long as they may.
async fn lines_due(pipelines: &PipelineSet, flush_interval: Option<Duration>, reported: Instant) {
    let Some(flush_interval) = flush_interval else { return std::future::pending().await };
    let mut due = reported + flush_interval;
    loop {
        sleep_until(due).await;
        if pipelines.all().iter().any(|pipeline| pipeline.with_logs(|logs| logs.first().is_some())) {
            return;
        }
        due = Instant::now() + flush_interval.min(DEBOUNCE);
    }
}

fn has_unreported_states(pipelines: &PipelineSet) -> bool {
    pipelines.all().iter().any(|pipeline| pipeline.runtime.has_unreported_states())
}

#[cfg(test)]
mod tests {
    use systole_shared::{PipelineId, PipelineStatus};

    use super::*;
    use crate::logs::PipelineLogs;
    use crate::model::pipeline::PipelineConfig;
    use crate::supervise::Pipeline;

    fn set_of_one(changed: &Arc<Notify>) -> PipelineSet {
        let id = PipelineId::parse("p").unwrap();
        let config = PipelineConfig {
            id,
            name: None,
            labels: [].into(),
            command: None,
            metrics: None,
            process: None,
            log_files: Default::default(),
            multiline: None,
            api_url: None,
            centre: None,
        };
        let set = PipelineSet::default();
        let logs = Arc::new(PipelineLogs::new(Instant::now(), None, Arc::new(Semaphore::new(1))));
        set.replace(vec![Arc::new(Pipeline::new(config, logs, changed.clone(), Arc::default()))]);
        set
    }

    #[tokio::test(start_paused = true)]
    async fn state_changes_are_reported_at_once_then_coalesced() {
        let changed = Arc::new(Notify::new());
        let pipelines = set_of_one(&changed);
        let begin = Instant::now();
        let mut reported = begin;
        sleep(Duration::from_secs(3)).await;
        for (status, expected) in [(PipelineStatus::Crashed, 3_050), (PipelineStatus::Running, 4_050)] {
            pipelines.all()[0].runtime.change(|state| state.status = status);
            state_change_due(&pipelines, &changed, reported).await;
            reported = Instant::now();
            assert_eq!((reported - begin).as_millis(), expected);
            assert_eq!(pipelines.all()[0].runtime.take_next_state().status, status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unchanged_state_triggers_no_report() {
        let changed = Arc::new(Notify::new());
        let pipelines = set_of_one(&changed);
        changed.notify_one();
        assert!(
            timeout(Duration::from_secs(60), state_change_due(&pipelines, &changed, Instant::now())).await.is_err()
        );
    }
}
