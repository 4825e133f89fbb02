//! Reads the output and log files of all pipelines, a few times a second.
//!
//! Not inotify: network file systems do not have it, and a busy log would wake the agent with every
//! line. Asking hundreds of files for their length costs less than a line does. Off the agent's one
//! thread, because a mount may be dead: what hangs is passed over by the next round, and holds one
//! thread per pipeline that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::PipelineLogs;
use super::registry::LogRegistry;
use crate::model::pipeline::PipelineConfig;

/// Between two rounds.
const ROUND_EVERY: Duration = Duration::from_millis(250);

/// How long a round may take before the next one begins without what hangs.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two rounds of a flood, as a multiple of what a round took: the agent leaves most of a core
/// to others.
const FLOOD_PAUSE_SHARE: u32 = 3;

/// The shortest of these pauses: what comes in that time is worth a round.
const LEAST_FLOOD_PAUSE: Duration = Duration::from_millis(10);

/// The longest: what comes in that time takes space on the disk.
const LONGEST_FLOOD_PAUSE: Duration = Duration::from_millis(50);

/// Between two looks for what pipelines left that are not there any more.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Rounds that may hang at a time.
const MAX_HANGING: usize = 64;

/// Reads what pipelines write.
pub(crate) struct LogReader {
    logs: Arc<LogRegistry>,
    outputs: Arc<AtomicUsize>,
    files: Arc<AtomicUsize>,
}

/// A pipeline's lines and what the configuration says of them.
type Job = (Arc<PipelineLogs>, Arc<PipelineConfig>);

impl LogReader {
    /// Of the pipelines that the registry has.
    pub(crate) fn new(logs: Arc<LogRegistry>) -> Self {
        LogReader { logs, outputs: Arc::default(), files: Arc::default() }
    }

    /// Reads, round after round, until `finish`.
    pub(crate) async fn run(self: Arc<Self>, finish: CancellationToken) {
        let mut ticks = interval(ROUND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = finish.cancelled() => return,
                _ = sweeps.tick() => self.sweep(),
                _ = ticks.tick() => {}
            }
            // A flood is read on soon, or it would fill the disk.
            let mut began = Instant::now();
            while self.round().await {
                tokio::select! {
                    () = finish.cancelled() => return,
                    () = sleep(flood_pause(began.elapsed())) => began = Instant::now(),
                }
            }
        }
    }

    fn sweep(&self) {
        let logs = self.logs.clone();
        let wanted: Vec<_> = self.logs.current().iter().map(|pipeline| pipeline.config().id.clone()).collect();
        tokio::task::spawn_blocking(move || logs.sweep(&wanted));
    }

    /// Reads what there is now, as far as the budget goes. Whether there is more at once.
    pub(crate) async fn round(&self) -> bool {
        let all: Vec<Job> =
            self.logs.current().iter().map(|pipeline| (pipeline.logs().clone(), pipeline.config())).collect();
        let with_files: Vec<Job> =
            all.iter().filter(|(_, config)| !config.log_files.patterns.is_empty()).cloned().collect();
        let mut unwanted = self.logs.with_open_files();
        unwanted.retain(|logs| !with_files.iter().any(|(with_files, _)| Arc::ptr_eq(with_files, logs)));
        let with_output = all.into_iter().filter(|(_, config)| config.is_supervised()).collect();
        // One after the other, and output first: it is on the agent's own disk.
        let outputs = one_round(&self.outputs, with_output, 1, |(logs, config), scratch| {
            let has_more = logs.poll_output(config.multiline.as_ref(), scratch);
            log_estimate(logs, config);
            has_more
        });
        let has_more = outputs.await;
        let files = one_round(&self.files, with_files, MAX_HANGING, |(logs, config), scratch| {
            let has_more = logs.poll_files(&config.log_files, config.multiline.as_ref(), scratch);
            log_estimate(logs, config);
            has_more
        });
        let has_more = files.await || has_more;
        // Patterns or whole pipelines that a new configuration does not have.
        let let_go = one_round(&self.files, unwanted, MAX_HANGING, |logs, _| {
            logs.let_go_of_files();
            false
        });
        let_go.await || has_more
    }
}

fn flood_pause(took: Duration) -> Duration {
    (took * FLOOD_PAUSE_SHARE).clamp(LEAST_FLOOD_PAUSE, LONGEST_FLOOD_PAUSE)
}

/// Counts as running for as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Running(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_estimate(logs: &PipelineLogs, config: &PipelineConfig) {
    if let Some(lines) = logs.with_buffer(|buffer| buffer.take_estimated(Instant::now())) {
        tracing::warn!(
            pipeline = %config.id,
            lines,
            "more lines come than can be read; the oldest are dropped unread, and their count is an estimate"
        );
    }
}

/// Does one round off this thread. Whether any pipeline has more at once.
async fn one_round<J: Send + 'static>(
    running: &Arc<AtomicUsize>,
    jobs: Vec<J>,
    max_running: usize,
    poll: fn(&J, &mut Vec<u8>) -> bool,
) -> bool {
    if jobs.is_empty() || running.load(Ordering::Relaxed) >= max_running {
        return false;
    }
    let running = Running::begin(running.clone());
    let round = tokio::task::spawn_blocking(move || {
        let _running = running;
        let mut scratch = Vec::new();
        let have_more = jobs.iter().filter(|job| poll(job, &mut scratch));
        have_more.count() > 0
    });
    matches!(timeout(ROUND_TIMEOUT, round).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use systole_shared::PipelineId;

    use super::*;
    use crate::model::pattern::Pattern;
    use crate::model::pipeline::LogFilesConfig;

    #[tokio::test]
    async fn log_files_of_a_pipeline_that_is_not_there_any_more_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.log"), "line\n").unwrap();
        let registry = Arc::new(LogRegistry::new(dir.path()));
        let logs = registry.of(&PipelineId::parse("removed").unwrap());
        let patterns = vec![Pattern::parse(&dir.path().join("*.log").display().to_string()).unwrap()];
        logs.poll_files(&LogFilesConfig { patterns, ..Default::default() }, None, &mut Vec::new());
        assert!(logs.has_open_files());
        LogReader::new(registry).round().await;
        assert!(!logs.has_open_files());
    }

    #[test]
    fn the_agent_rests_between_two_looks_at_a_flood() {
        assert_eq!(flood_pause(Duration::ZERO), LEAST_FLOOD_PAUSE);
        assert_eq!(flood_pause(Duration::from_millis(10)), Duration::from_millis(30));
        assert_eq!(flood_pause(Duration::from_secs(1)), LONGEST_FLOOD_PAUSE);
    }
}
