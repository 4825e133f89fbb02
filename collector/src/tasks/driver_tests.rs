//! The driver over tasks that fail. `server` has the tests of tasks that panic.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::*;

/// The task that the next collector of this process lets panic. Each test is a process of its own.
static PANIC_IN: Mutex<Option<&str>> = Mutex::new(None);

/// Has a task of the next collector panic.
pub(crate) fn inject_panic(task: &'static str) {
    *PANIC_IN.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
}

pub(super) fn panic_in() -> Option<&'static str> {
    *PANIC_IN.lock().unwrap_or_else(PoisonError::into_inner)
}

const PACING: Pacing = Pacing {
    first: Duration::ZERO,
    between: Duration::from_secs(1),
    retry: Duration::from_secs(10),
    max_retry: Duration::from_secs(25),
};

/// Takes a task's place and panics.
pub(super) struct Panics(pub &'static str);

#[async_trait]
impl Task for Panics {
    fn name(&self) -> &'static str {
        self.0
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        panic!("injected")
    }
}

/// Fails until it has been activated so often, then has one more piece of work, then none.
struct Flaky {
    failures: u32,
    activations: Arc<AtomicU32>,
    finished: Arc<AtomicU32>,
}

#[async_trait]
impl Task for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        match self.activations.fetch_add(1, Ordering::Relaxed) {
            past if past < self.failures => Err(TaskError::Committer),
            past if past == self.failures => Ok(Activation::MoreToDo),
            _ => Ok(Activation::IdleFor(Duration::from_secs(3_600))),
        }
    }

    async fn finish(&mut self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn driver_backs_off_after_failures_and_reports_them_until_a_success() {
    let telemetry = Arc::new(Telemetry::new());
    let mut driver = Driver::new(Arc::clone(&telemetry), 0.0);
    let (activations, finished) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    driver.spawn(Flaky { failures: 3, activations: Arc::clone(&activations), finished: Arc::clone(&finished) });
    let statuses = driver.statuses();
    let begin = Instant::now();
    // It fails after 0, 10 and 30 s and succeeds after 55 s, when there is more to do 1 s later.
    for (at, expected, is_failing) in
        [(5, 1, true), (15, 2, true), (31, 3, true), (54, 3, true), (57, 5, false), (3_600, 5, false)]
    {
        tokio::time::sleep_until(begin + Duration::from_secs(at)).await;
        assert_eq!(activations.load(Ordering::Relaxed), expected, "after {at} s");
        assert_eq!(!statuses.failing().is_empty(), is_failing, "after {at} s");
    }
    let label = TaskLabel { task: "flaky" };
    assert_eq!(telemetry.task_failures.get_or_create(&label).get(), 3);
    assert!(telemetry.task_last_success.get_or_create(&label).get() > 0.0);
    driver.stop(Duration::from_secs(1)).await;
    assert_eq!(finished.load(Ordering::Relaxed), 1);
}
