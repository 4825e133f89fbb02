//! Reads values in a way that may block: on a separate thread, with a time-out, and never twice at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

/// A reading and what it keeps from one time to the next.
pub(super) struct Reading<S> {
    /// For operators.
    name: &'static str,
    /// Locked while a reading runs: as long as one blocks, no second one blocks beside it.
    state: Arc<Mutex<S>>,
    is_late: AtomicBool,
    is_logged: AtomicBool,
}

impl<S: Send + 'static> Reading<S> {
    /// With its first state.
    pub(super) fn new(name: &'static str, state: S) -> Self {
        Reading {
            name,
            state: Arc::new(Mutex::new(state)),
            is_late: AtomicBool::new(false),
            is_logged: AtomicBool::new(false),
        }
    }

    /// Reads; `None` when that takes longer than `time`, or when the reading before still runs.
    pub(super) async fn read<R: Send + 'static>(&self, read: fn(&mut S) -> R, time: Duration) -> Option<R> {
        let state = self.state.clone();
        let reading = tokio::task::spawn_blocking(move || match state.try_lock() {
            Ok(mut state) => Some(read(&mut state)),
            Err(TryLockError::Poisoned(poisoned)) => Some(read(&mut poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        });
        let result = tokio::time::timeout(time, reading).await.ok().and_then(Result::ok).flatten();
        let was_late = self.is_late.swap(result.is_none(), Ordering::Relaxed);
        // The first time may be a busy machine; the second time it is worth a line, once.
        match (was_late, result.is_none()) {
            (true, true) if !self.is_logged.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    reading = self.name,
                    "reading values of the host blocks; they are missing until it ends"
                );
            }
            (_, false) if self.is_logged.swap(false, Ordering::Relaxed) => {
                tracing::info!(reading = self.name, "reading values of the host works again");
            }
            _ => {}
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    #[tokio::test]
    async fn reading_that_blocks_is_absent_and_runs_once_and_comes_back() {
        let (release, blocked) = sync_channel::<()>(0);
        let reading = Reading::new("test", (blocked, 0));
        let read = |(blocked, runs): &mut (Receiver<()>, u32)| {
            *runs += 1;
            let _ = blocked.recv();
            *runs
        };
        for _ in 0..3 {
            assert_eq!(reading.read(read, Duration::from_millis(10)).await, None);
        }
        // From here on nothing blocks.
        drop(release);
        let runs = loop {
            if let Some(runs) = reading.read(read, Duration::from_secs(5)).await {
                break runs;
            }
        };
        assert_eq!(runs, 2, "no second one began beside the one that blocked");
    }
}
