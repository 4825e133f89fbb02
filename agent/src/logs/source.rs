//! Everything that has to do with the lines of one pipeline.
//!
//! The waiting lines are behind a lock of their own that is held for moments; files are read under
//! other locks, off the agent's thread, because a disk may not answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;
use std::{fmt, io};

use systole_shared::limits::LOG_LINES_PER_SECOND;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::budget::LogBuffer;
use super::capture::{Capture, Writers};
use super::files::LogFiles;
use super::lock;
use super::tail::{Amount, Round};
use crate::clock;
use crate::model::multiline::MultilineRule;
use crate::model::pipeline::LogFilesConfig;

/// Lines that output leaves to log files when both have some waiting: half of what the budget gains
/// between two rounds.
const SPARED_LINES: usize = LOG_LINES_PER_SECOND as usize / 8;

/// What a pipeline's output, or its log files, may take of a round: one that floods must not make the
/// lines of others late.
const MAX_ROUND_TIME: Duration = Duration::from_millis(50);

/// The lines of one pipeline and where they come from.
pub(crate) struct PipelineLogs {
    gate: Arc<Semaphore>,
    buffer: Mutex<LogBuffer>,
    /// None where output goes through pipes.
    capture: Mutex<Option<Capture>>,
    files: Mutex<LogFiles>,
    /// Log files have lines that the budget had no room for.
    files_wait: AtomicBool,
    files_open: AtomicBool,
    /// Output goes through pipes, which was logged.
    pipes_logged: AtomicBool,
}

impl fmt::Debug for PipelineLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineLogs").finish_non_exhaustive()
    }
}

impl PipelineLogs {
    /// Output goes into files of `output_dir`, or through pipes when there is none.
    /// Files are made and finished when `gate` lets it through.
    pub(crate) fn new(now: Instant, output_dir: Option<PathBuf>, gate: Arc<Semaphore>) -> Self {
        PipelineLogs {
            gate,
            buffer: Mutex::new(LogBuffer::new(now)),
            capture: Mutex::new(output_dir.map(Capture::new)),
            files: Mutex::default(),
            files_wait: AtomicBool::new(false),
            files_open: AtomicBool::new(false),
            pipes_logged: AtomicBool::new(false),
        }
    }

    /// Works on the waiting lines.
    pub(crate) fn with_buffer<T>(&self, work: impl FnOnce(&mut LogBuffer) -> T) -> T {
        work(&mut lock(&self.buffer))
    }

    /// Makes the files for a process that is about to start.
    pub(crate) async fn begin_output(self: &Arc<Self>) -> io::Result<Writers> {
        self.off_thread(Self::make_output).await.and_then(|made| made)
    }

    /// Finds the files of a process that runs already.
    pub(crate) async fn resume_output(self: &Arc<Self>) {
        let resume = |logs: &Self| {
            if let Some(capture) = lock(&logs.capture).as_mut() {
                capture.resume(&logs.buffer);
            }
        };
        drop(self.off_thread(resume).await);
    }

    /// Reads all that a process has written. Whether no process writes to it any more.
    pub(crate) async fn finish_output(self: &Arc<Self>, rule: Option<Arc<MultilineRule>>) -> bool {
        // A reader that broke down has no more to give.
        self.off_thread(move |logs| logs.read_output_to_its_end(rule.as_ref())).await.unwrap_or(true)
    }

    /// Works on a thread that may block, when it is this pipeline's turn.
    async fn off_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.gate.clone().acquire_owned().await;
        let logs = self.clone();
        let done = spawn_blocking(move || {
            let _turn = turn;
            work(&logs)
        });
        done.await.map_err(io::Error::other)
    }

    fn make_output(&self) -> io::Result<Writers> {
        let mut capture = lock(&self.capture);
        let capture = capture.as_mut().ok_or(io::ErrorKind::NotFound)?;
        capture.begin(&self.buffer, clock::unix_millis())
    }

    /// Output goes through pipes, or does not any more. Whether that is to be logged.
    pub(crate) fn set_through_pipes(&self, through_pipes: bool) -> bool {
        !self.pipes_logged.swap(through_pipes, Ordering::Relaxed) && through_pipes
    }

    /// Whether output goes through pipes.
    pub(crate) fn is_through_pipes(&self) -> bool {
        self.pipes_logged.load(Ordering::Relaxed)
    }

    fn read_output_to_its_end(&self, rule: Option<&Arc<MultilineRule>>) -> bool {
        let mut capture = lock(&self.capture);
        let Some(capture) = capture.as_mut() else { return true };
        capture.finish(&self.buffer, &mut round(rule, Amount::Everything, &mut Vec::new()))
    }

    /// Continues to read output, unless another thread does. Whether there is more at once. Blocks.
    pub(crate) fn poll_output(&self, rule: Option<&Arc<MultilineRule>>, scratch: &mut Vec<u8>) -> bool {
        let spared = if self.files_wait.load(Ordering::Relaxed) { SPARED_LINES } else { 0 };
        let mut capture = try_lock(&self.capture);
        let Some(Some(capture)) = capture.as_deref_mut() else { return false };
        capture.poll(&self.buffer, &mut round(rule, Amount::WithinBudget { spared }, scratch))
    }

    /// The same for log files.
    pub(crate) fn poll_files(
        &self,
        config: &LogFilesConfig,
        rule: Option<&Arc<MultilineRule>>,
        scratch: &mut Vec<u8>,
    ) -> bool {
        let Some(mut files) = try_lock(&self.files) else { return false };
        let polled = files.poll(config, &self.buffer, &mut round(rule, Amount::WithinBudget { spared: 0 }, scratch));
        self.files_wait.store(polled.is_out_of_budget, Ordering::Relaxed);
        self.files_open.store(files.are_open(), Ordering::Relaxed);
        polled.has_more
    }

    /// Whether log files are open.
    pub(crate) fn has_open_files(&self) -> bool {
        self.files_open.load(Ordering::Relaxed)
    }

    /// Closes the log files, for no configuration means them any more. Blocks.
    pub(crate) fn let_go_of_files(&self) {
        let Some(mut files) = try_lock(&self.files) else { return };
        files.let_go(&self.buffer, clock::unix_millis(), Instant::now());
        self.files_wait.store(false, Ordering::Relaxed);
        self.files_open.store(false, Ordering::Relaxed);
    }
}

fn round<'r>(rule: Option<&'r Arc<MultilineRule>>, amount: Amount, scratch: &'r mut Vec<u8>) -> Round<'r> {
    let now = Instant::now();
    let until = (amount != Amount::Everything).then(|| now + MAX_ROUND_TIME);
    Round { rule, amount, at: clock::unix_millis(), now, until, scratch }
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
