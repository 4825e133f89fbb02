//! What a supervisor needs of its process's metrics endpoint: is it free before the start, does it
//! answer after it, what does it count until the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use systole_shared::PipelineStatus;
use tokio::time::{Instant, sleep, timeout};

use super::{Pipeline, port};
use crate::scrape::fetch::Scraper;

/// How long a process without metrics must live to count as running.
const READY_WITHOUT_METRICS: Duration = Duration::from_secs(2);

/// Between two questions whether a starting process answers.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A process that runs but does not answer for this long is shown as DEGRADED.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a taken port is waited for: what holds it may be the last agent's process, which has
/// [`super::process::run::STOP_TIMEOUT`] to end.
const PORT_TIMEOUT: Duration = Duration::from_secs(35);

/// Between two checks at a port.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the last scrape may delay a stop.
const LAST_SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics endpoint of one pipeline, if it has one.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) scraper: Arc<Scraper>,
}

impl Endpoint {
    fn is_there(&self) -> bool {
        self.pipeline.config().metrics.is_some()
    }

    /// Waits until nothing answers there; false if something still does.
    pub(super) async fn wait_until_free(&self) -> bool {
        let config = self.pipeline.config();
        let Some(metrics) = &config.metrics else { return true };
        let begin = Instant::now();
        while port::is_taken(&metrics.url).await {
            if begin.elapsed() > PORT_TIMEOUT {
                tracing::warn!(pipeline = %self.pipeline.id(), url = %metrics.url,
                    "another process answers at the metrics endpoint; the pipeline starts, and its first values are not counted");
                return false;
            }
            self.pipeline.record_missing_process("the process is not started yet");
            self.pipeline.runtime.change(|state| {
                state.status = PipelineStatus::Starting;
                state.reason = Some("waiting: another process answers at the metrics endpoint".to_owned());
            });
            sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// Waits for the process to be ready and says so. Never ends otherwise; the process does.
    pub(super) async fn become_ready(&self) {
        if self.is_there() {
            let begin = Instant::now();
            while let Err(error) = self.pipeline.scrape(&self.scraper).await {
                if begin.elapsed() > READY_TIMEOUT {
                    self.pipeline.runtime.change(|state| {
                        state.status = PipelineStatus::Degraded;
                        state.reason = Some(format!("the process runs, but its metrics cannot be read: {error}"));
                    });
                }
                sleep(PROBE_EVERY).await;
            }
        } else {
            sleep(READY_WITHOUT_METRICS).await;
        }
        self.pipeline.runtime.mark_running();
    }

    /// Scrapes once more before SIGTERM.
    pub(super) async fn scrape_before_the_end(&self) {
        if self.is_there() {
            let _ = timeout(LAST_SCRAPE_TIMEOUT, self.pipeline.scrape(&self.scraper)).await;
        }
    }

    /// A process may still empty its buffers after SIGTERM: counts that, until it does not answer or `has_ended`.
    pub(super) async fn count_to_the_end(&self, has_ended: &AtomicBool) {
        while self.is_there() && !has_ended.load(Ordering::Relaxed) && self.pipeline.scrape(&self.scraper).await.is_ok()
        {
            sleep(PROBE_EVERY).await;
        }
    }
}
