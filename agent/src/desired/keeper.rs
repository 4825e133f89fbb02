//! Fetches the desired state when there is another one, and keeps it on disk.
//!
//! A node starts from its disk: what the collector wanted last runs, whether the collector can be reached or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::desired::DesiredState;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::state_file::{StateFile, StoredState};
use crate::model::node::node_token;
use crate::uplink::{CollectorClient, DesiredAnswer};

/// How long a node waits before it fetches, at most: the nodes of one change must not come at one moment.
const SPREAD: Duration = Duration::from_millis(200);

/// The waits after a fetch that failed.
const POLICY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(600),
    jitter: Jitter::Full,
};

/// What the rest of the agent sees of the desired state.
#[derive(Debug)]
pub(crate) struct DesiredFeed {
    state: watch::Sender<Arc<DesiredState>>,
    accepts: AtomicBool,
    /// The state must be fetched again, though its generation is known.
    stale: Notify,
}

impl DesiredFeed {
    /// The state as it is, and each later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.state.subscribe()
    }

    /// The node's file says whether pipelines are accepted. An agent that accepts none has no secrets of them, so
    /// that it must fetch the state when it does.
    pub(crate) fn set_accepts(&self, accepts: bool) {
        if self.accepts.swap(accepts, Ordering::Relaxed) != accepts {
            self.stale.notify_one();
        }
    }
}

/// Keeps the desired state.
#[derive(Debug)]
pub(crate) struct DesiredKeeper {
    client: Arc<CollectorClient>,
    data_dir: PathBuf,
    file: StateFile,
    /// The generation that the collector named last.
    generation: watch::Receiver<Option<u64>>,
    feed: Arc<DesiredFeed>,
    etag: Option<String>,
    /// Whether a state was fetched or read.
    is_known: bool,
}

impl DesiredKeeper {
    /// With what is on disk, if the agent accepts pipelines.
    pub(crate) fn new(
        client: Arc<CollectorClient>,
        data_dir: &Path,
        dir: &Path,
        generation: watch::Receiver<Option<u64>>,
        accepts: bool,
    ) -> Self {
        let file = StateFile::in_dir(dir);
        let stored = if accepts {
            file.read()
        } else {
            file.remove();
            None
        };
        let is_known = stored.is_some();
        let StoredState { desired, etag, .. } = stored.unwrap_or_default();
        let feed = Arc::new(DesiredFeed {
            state: watch::Sender::new(Arc::new(desired)),
            accepts: AtomicBool::new(accepts),
            stale: Notify::new(),
        });
        DesiredKeeper { client, data_dir: data_dir.to_owned(), file, generation, feed, etag, is_known }
    }

    /// What the rest of the agent sees.
    pub(crate) fn feed(&self) -> Arc<DesiredFeed> {
        self.feed.clone()
    }

    /// Fetches whenever the collector names another generation than the one that is known. Never ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(POLICY);
        let feed = self.feed.clone();
        loop {
            let mut is_due = self.is_due();
            while !is_due {
                tokio::select! {
                    changed = self.generation.changed() => {
                        if changed.is_err() {
                            // The agent ends.
                            return std::future::pending().await;
                        }
                        is_due = self.is_due();
                    }
                    () = feed.stale.notified() => {
                        self.etag = None;
                        is_due = self.is_known;
                        if !feed.accepts.load(Ordering::Relaxed) {
                            self.file.remove();
                        }
                    }
                }
            }
            sleep(SPREAD.mul_f64(rand::random())).await;
            let asked = match self.fetch().await {
                Ok(()) if !self.is_due() => {
                    backoff.reset();
                    continue;
                }
                // An answer with another generation than the one that was named: the next one comes soon.
                Ok(()) => None,
                Err((error, asked)) => {
                    tracing::warn!(error, "cannot fetch what the collector wants this node to run; trying again");
                    asked
                }
            };
            sleep(backoff.next(rand::random(), asked)).await;
        }
    }

    /// Whether the collector has named another generation than the known one.
    fn is_due(&mut self) -> bool {
        let wanted = *self.generation.borrow_and_update();
        wanted.is_some_and(|wanted| !self.is_known || wanted != self.feed.state.borrow().generation)
    }

    async fn fetch(&mut self) -> Result<(), (String, Option<Duration>)> {
        let Some(token) = node_token::read(&self.data_dir) else {
            return Err(("this node has no token yet".to_owned(), None));
        };
        let answer = self.client.desired(&token, self.etag.as_deref()).await;
        match answer.map_err(|error| (error.to_string(), error.retry_after()))? {
            DesiredAnswer::Same => self.is_known = true,
            DesiredAnswer::Other { desired, etag } => self.take(desired, etag),
        }
        Ok(())
    }

    fn take(&mut self, mut desired: DesiredState, etag: Option<String>) {
        tracing::info!(
            generation = desired.generation,
            pipelines = desired.pipelines.len(),
            "the collector wants something else of this node"
        );
        if self.feed.accepts.load(Ordering::Relaxed) {
            let stored = StoredState::new(desired, etag.clone());
            if let Err(error) = self.file.write(&stored) {
                tracing::error!(%error, "cannot save what the collector wants; the next start of the agent needs the collector for it");
            }
            desired = stored.desired;
        } else {
            // All of them are rejected, which needs no secrets and no configurations.
            for pipeline in &mut desired.pipelines {
                pipeline.env.clear();
                pipeline.config.clear();
            }
        }
        self.etag = etag;
        self.is_known = true;
        self.feed.state.send_replace(Arc::new(desired));
    }
}
