//! Threads that own SQLite connections and run jobs on them.
//!
//! diesel is synchronous and SQLite has one writer, so a pool of async connections would only hide
//! a lock. Here the writer is one thread with one connection, and readers are a few threads with
//! `query_only` ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use diesel::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;

type Job = Box<dyn FnOnce(&mut SqliteConnection) + Send>;

/// Jobs that may wait for a thread. The committer has one under way at a time; the rest are
/// queries, which wait here rather than fail while a slow one runs.
const QUEUE_LEN: usize = 256;

/// Runs jobs in order of arrival, on one thread per connection.
pub(super) struct Executor {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Executor {
    /// Starts a thread per connection.
    pub(super) fn start(name: &str, connections: Vec<SqliteConnection>) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel::<Job>(QUEUE_LEN);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::new();
        for mut connection in connections {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                loop {
                    // The lock is held while waiting: one idle thread waits for the job, the others
                    // for the lock.
                    let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    match job {
                        Some(job) => job(&mut connection),
                        None => break,
                    }
                }
            })?;
            threads.push(thread);
        }
        Ok(Executor { jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }

    /// Runs a job and waits for its answer.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)?;
        let (answer, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A cancelled request has no receiver: its job is skipped, or its result dropped.
            if answer.is_closed() {
                return;
            }
            let _ = answer.send(job(connection));
        });
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no more jobs, finishes those that wait, and ends the threads.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}
