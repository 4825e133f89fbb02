//! One loop for every background task.
//!
//! A task is a name and an idempotent `activate`, which does one small piece of work. The driver owns the
//! timer, the wake-up, the jitter, the back-off, the last result and the metrics. So a new task cannot forget
//! one of them. A task that panics ends the collector: a loop that is gone without a trace is worse than a
//! restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::store::StoreError;
use crate::telemetry::logging::chain;
use crate::telemetry::{TaskLabel, Telemetry};

/// Part by which a pause varies in production, so that tasks that began together do not work together.
pub(crate) const JITTER: f64 = 0.1;

/// The result of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// There is more to do, after a pause that leaves the database to reports.
    MoreToDo,
    /// There is nothing to do for this long.
    IdleFor(Duration),
}

/// Pauses of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// Before the first activation.
    pub first: Duration,
    /// Between two activations while there is more to do.
    pub between: Duration,
    /// After a failure; it doubles with each further one.
    pub retry: Duration,
    /// The longest pause after a failure.
    pub max_retry: Duration,
}

/// An error of an activation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    #[error("cannot measure the disk")]
    Disk(#[source] std::io::Error),
    #[error("the certificate could not be read again; the one before stays in use")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot keep the sizes of the database")]
    Sizes(#[source] std::io::Error),
    #[error("the committer has ended")]
    Committer,
}

/// Periodic work.
#[async_trait]
pub(crate) trait Task: Send + Sync {
    /// For log lines and metrics.
    fn name(&self) -> &'static str;

    fn pacing(&self) -> Pacing;

    /// Does one piece of work. It may be called at any time, and is not cut off.
    async fn activate(&mut self) -> Result<Activation, TaskError>;

    /// Returns when there is work before the pause is over.
    async fn woken(&self) {
        std::future::pending::<()>().await;
    }

    /// Work that is left when the collector stops. It must be short.
    async fn finish(&mut self) {}
}

/// The last result of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastResult {
    /// Activations that failed since the last success.
    pub failures: u32,
    /// The time of the first of these failures.
    pub failing_since: Option<Instant>,
}

/// Last results of all tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskStatuses(Arc<Mutex<Vec<ListedTask>>>);

/// A task by its name.
type ListedTask = (&'static str, watch::Receiver<LastResult>);

impl TaskStatuses {
    /// Tasks whose last activation failed, and for how long they have been failing.
    pub(crate) fn failing(&self) -> Vec<(&'static str, Duration)> {
        let failing = |(name, last): &ListedTask| Some((*name, last.borrow().failing_since?.elapsed()));
        self.lock().iter().filter_map(failing).collect()
    }

    /// Lists a task, and lists those no more that have ended.
    fn add(&self, name: &'static str, last: watch::Receiver<LastResult>) {
        let mut listed = self.lock();
        listed.retain(|(_, last)| last.has_changed().is_ok());
        listed.push((name, last));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ListedTask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that panicked, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("the background task {0} panicked")]
pub(crate) struct TaskPanicked(pub &'static str);

/// Runs tasks until they are stopped.
pub(crate) struct Driver {
    stop: CancellationToken,
    telemetry: Arc<Telemetry>,
    jitter: f64,
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    statuses: TaskStatuses,
    /// The task that is to panic at its first activation.
    #[cfg(test)]
    panic_in: Option<&'static str>,
}

impl Driver {
    /// Without a task yet. `jitter` is the part by which pauses vary; tests use 0.
    pub(crate) fn new(telemetry: Arc<Telemetry>, jitter: f64) -> Self {
        Self::listed_in(&TaskStatuses::default(), telemetry, jitter)
    }

    /// The same with its tasks in the list of another driver.
    pub(crate) fn listed_in(statuses: &TaskStatuses, telemetry: Arc<Telemetry>, jitter: f64) -> Self {
        Driver {
            stop: CancellationToken::new(),
            telemetry,
            jitter,
            tasks: JoinSet::new(),
            names: HashMap::new(),
            statuses: statuses.clone(),
            #[cfg(test)]
            panic_in: tests::panic_in(),
        }
    }

    /// Starts a task.
    pub(crate) fn spawn(&mut self, task: impl Task + 'static) {
        let task: Box<dyn Task> = Box::new(task);
        #[cfg(test)]
        let task: Box<dyn Task> =
            if self.panic_in == Some(task.name()) { Box::new(tests::Panics(task.name())) } else { task };
        let name = task.name();
        let last = watch::Sender::new(LastResult::default());
        self.statuses.add(name, last.subscribe());
        let run = Run {
            name,
            pacing: task.pacing(),
            task,
            telemetry: Arc::clone(&self.telemetry),
            last,
            stop: self.stop.clone(),
            jitter: self.jitter,
        };
        let handle = self.tasks.spawn(run.run());
        self.names.insert(handle.id(), name);
    }

    /// Cancelled when the tasks are to stop.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Last results.
    pub(crate) fn statuses(&self) -> TaskStatuses {
        self.statuses.clone()
    }

    /// Waits until a task panics. A task ends in no other way before it is stopped.
    pub(crate) async fn panicked(&mut self) -> TaskPanicked {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        let name = self.names.get(&id).copied().unwrap_or("?");
        tracing::error!(task = name, "a background task panicked, stopping the collector");
        TaskPanicked(name)
    }

    /// Stops all tasks, and waits for them up to `timeout`.
    pub(crate) async fn stop(mut self, timeout: Duration) {
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                self.names.remove(&id);
            }
        };
        if tokio::time::timeout(timeout, ended).await.is_err() {
            for name in self.names.values() {
                tracing::warn!(task = name, "a background task did not stop in time");
            }
        }
        // What still runs has its own way to end; cut off, it could leave a connection half-used.
        self.tasks.detach_all();
    }
}

/// One task with everything around it.
struct Run {
    name: &'static str,
    task: Box<dyn Task>,
    pacing: Pacing,
    telemetry: Arc<Telemetry>,
    last: watch::Sender<LastResult>,
    stop: CancellationToken,
    jitter: f64,
}

impl Run {
    async fn run(mut self) {
        let mut pause = self.pacing.first;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(self.varied(pause)) => {}
                () = self.task.woken() => {}
            }
            pause = match self.task.activate().await {
                Ok(activation) => {
                    self.note_success();
                    match activation {
                        Activation::MoreToDo => self.pacing.between,
                        Activation::IdleFor(pause) => pause,
                    }
                }
                Err(error) => self.note_failure(&error),
            };
        }
        self.task.finish().await;
    }

    fn note_success(&self) {
        let now = clock::now_ms() as f64 / 1_000.0;
        self.telemetry.task_last_success.get_or_create(&TaskLabel { task: self.name }).set(now);
        let recovered = self.last.send_if_modified(|last| std::mem::take(last) != LastResult::default());
        if recovered {
            tracing::info!(task = self.name, "a background task works again");
        }
    }

    /// Returns the pause before the next attempt.
    fn note_failure(&self, error: &TaskError) -> Duration {
        self.telemetry.task_failures.get_or_create(&TaskLabel { task: self.name }).inc();
        let mut failures = 0;
        self.last.send_modify(|last| {
            failures = last.failures;
            last.failures = failures.saturating_add(1);
            last.failing_since.get_or_insert_with(Instant::now);
        });
        let pause = self.pacing.retry.saturating_mul(1 << failures.min(16)).min(self.pacing.max_retry);
        // A failure that lasts is reported less and less often; `/metrics` counts them all.
        if failures.saturating_add(1).is_power_of_two() {
            tracing::error!(task = self.name, error = chain(error), retry_in = ?pause, "a background task failed");
        }
        pause
    }

    fn varied(&self, pause: Duration) -> Duration {
        if self.jitter > 0.0 { pause.mul_f64(1.0 + rand::rng().random_range(0.0..self.jitter)) } else { pause }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
pub(crate) mod tests;
