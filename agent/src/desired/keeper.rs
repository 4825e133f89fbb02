//! Fetches the desired state when there is another one, and keeps it on disk.
//!
//! A node starts from its disk: what the collector wanted last runs, whether the collector can be reached or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::feed::DesiredFeed;
use super::state_file::{StateFile, StoredState};
use super::takeover;
use crate::model::centre::{CentreConfig, CentreTerms};
use crate::model::node::node_token;
use crate::model::pipeline::PipelineConfig;
use crate::model::wanted::{WantedPipeline, WantedState};
use crate::uplink::{Cadence, CollectorClient, DesiredAnswer, Instructions};

/// How long a node waits before it fetches, at most: the nodes of one change must not come at one moment.
const SPREAD: Duration = Duration::from_millis(200);

/// The waits after a fetch that failed.
const POLICY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(600),
    jitter: Jitter::Full,
};

/// How long the pipelines that another agent left wait for the server's first answer. It has what is not on the disk,
/// and without it they would be started twice.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two checks whether the node has a token.
const NO_TOKEN_WAIT: Duration = Duration::from_secs(1);

/// Of an interval between two questions, the random part: the nodes of a fleet must not ask in step for ever.
const POLL_JITTER: f64 = 0.1;

/// What a keeper is made of.
pub(crate) struct KeeperParts<'c> {
    /// Asks the centre.
    pub(crate) client: Arc<CollectorClient>,
    /// Where the node's token is.
    pub(crate) data_dir: &'c Path,
    /// What the node's file says.
    pub(crate) centre: &'c CentreConfig,
    /// The pipelines of the agent's own file.
    pub(crate) own: &'c [PipelineConfig],
    /// The generation that the collector named last. Each change is a wish that the node asks.
    pub(crate) generation: watch::Receiver<Option<u64>>,
    /// Where what else the centre wants goes, and how often the node asks a centre that names no generations.
    pub(crate) instructions: Instructions,
}

/// Keeps the desired state.
#[derive(Debug)]
pub(crate) struct DesiredKeeper {
    client: Arc<CollectorClient>,
    data_dir: PathBuf,
    file: StateFile,
    generation: watch::Receiver<Option<u64>>,
    interval: watch::Receiver<Duration>,
    instructions: Instructions,
    feed: Arc<DesiredFeed>,
    etag: Option<String>,
    /// Whether a state was fetched or read.
    is_known: bool,
    /// What another agent left, until the centre has answered or is known not to.
    left: Option<WantedState>,
}

/// Why a fetch failed, and how long the centre asks to wait.
type Failure = (String, Option<Duration>);

impl DesiredKeeper {
    /// With what is on disk, if the agent accepts pipelines.
    pub(crate) fn new(parts: KeeperParts<'_>) -> Self {
        let KeeperParts { client, data_dir, centre, own, generation, instructions } = parts;
        let file = StateFile::in_dir(&centre.dir);
        let stored = file.read().filter(|stored| centre.accepts(stored.wanted.terms));
        if stored.is_none() {
            file.remove();
        }
        let is_shared = client.likely_terms() == Some(CentreTerms::Dedicated);
        let left = (is_shared && centre.accepts(CentreTerms::Dedicated))
            .then(|| {
                let own = own.iter().map(|pipeline| pipeline.id.clone()).collect();
                let places = takeover::Places { data_dir, centre_dir: &centre.dir, own: &own };
                takeover::read(places, stored.as_ref().map(|stored| &stored.wanted))
            })
            .flatten();
        let is_known = stored.is_some();
        let StoredState { wanted, etag, .. } = stored.unwrap_or_default();
        let state = left.clone().map_or(wanted, takeover::on_hold);
        let feed = Arc::new(DesiredFeed::new(state, centre));
        DesiredKeeper {
            client,
            data_dir: data_dir.to_owned(),
            file,
            generation,
            interval: instructions.watch_interval(),
            instructions,
            feed,
            etag,
            is_known,
            left,
        }
    }

    /// What the rest of the agent sees.
    pub(crate) fn feed(&self) -> Arc<DesiredFeed> {
        self.feed.clone()
    }

    /// Fetches whenever there may be another state. Never ends.
    pub(crate) async fn run(mut self) {
        if self.left.is_some() {
            self.fetch_or_use_what_was_left().await;
        }
        match self.client.cadence().await {
            Cadence::WhenNamed => self.follow_generations().await,
            Cadence::Polled => self.poll().await,
        }
    }

    /// Gives the centre a moment, and then runs what another agent left.
    async fn fetch_or_use_what_was_left(&mut self) {
        let answer = timeout(FIRST_ANSWER_TIMEOUT, self.fetch()).await;
        let Some(left) = self.left.take().filter(|_| !matches!(answer, Ok(Ok(())))) else { return };
        tracing::info!(
            pipelines = left.pipelines.len(),
            "the server does not answer; the pipelines that another agent left in the data directory run meanwhile"
        );
        self.feed.publish(left);
    }

    /// Fetches whenever the collector names another generation than the one that is known.
    async fn follow_generations(mut self) {
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
                    () = feed.stale() => {
                        self.forget();
                        is_due = self.is_known;
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

    /// Fetches at an interval, and at once when the server says that something has changed.
    async fn poll(mut self) {
        let mut backoff = Backoff::new(POLICY);
        let feed = self.feed.clone();
        let mut is_failing = false;
        loop {
            if node_token::read(&self.data_dir).is_none() {
                sleep(NO_TOKEN_WAIT).await;
                continue;
            }
            let fetched = self.fetch().await;
            let mut is_urgent = false;
            match fetched {
                Ok(()) => {
                    backoff.reset();
                    is_failing = false;
                    let interval = *self.interval.borrow_and_update();
                    let wait = interval.mul_f64(1.0 + POLL_JITTER * (2.0 * rand::random::<f64>() - 1.0));
                    tokio::select! {
                        () = sleep(wait) => {}
                        _ = self.interval.changed() => {}
                        _ = self.generation.changed() => is_urgent = true,
                        () = feed.stale() => self.forget(),
                    }
                }
                Err((error, asked)) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(
                            error,
                            "cannot fetch what the server wants this node to run; what runs, runs on"
                        );
                    }
                    let wait = sleep(backoff.next(rand::random(), asked));
                    // A server that asks to wait is not asked before.
                    tokio::select! {
                        () = wait => {}
                        _ = self.generation.changed(), if asked.is_none() => is_urgent = true,
                    }
                }
            }
            if is_urgent {
                sleep(SPREAD.mul_f64(rand::random())).await;
            }
        }
    }

    /// The node's file has changed its mind on pipelines of the centre.
    fn forget(&mut self) {
        self.etag = None;
        if !self.feed.accepts(self.feed.state().terms) {
            self.file.remove();
        }
    }

    /// Whether the collector has named another generation than the known one.
    fn is_due(&mut self) -> bool {
        let wanted = *self.generation.borrow_and_update();
        wanted.is_some_and(|wanted| !self.is_known || wanted != self.feed.state().generation)
    }

    async fn fetch(&mut self) -> Result<(), Failure> {
        let Some(token) = node_token::read(&self.data_dir) else {
            return Err(("this node has no token yet".to_owned(), None));
        };
        let answer = self.client.desired(&token, self.etag.as_deref(), &self.instructions).await;
        match answer.map_err(|error| (error.to_string(), error.retry_after()))? {
            DesiredAnswer::Same => self.is_known = true,
            DesiredAnswer::Other { wanted, etag } => self.take(wanted, etag),
        }
        Ok(())
    }

    fn take(&mut self, mut wanted: WantedState, etag: Option<String>) {
        if self.is_known && *self.feed.state() == wanted {
            self.etag = etag;
            return;
        }
        tracing::info!(
            generation = wanted.generation,
            pipelines = wanted.pipelines.len(),
            "the collector wants something else of this node"
        );
        if self.feed.accepts(wanted.terms) {
            let stored = StoredState::new(wanted, etag.clone());
            if let Err(error) = self.file.write(&stored) {
                tracing::error!(%error, "cannot save what the collector wants; the next start of the agent needs the collector for it");
            }
            wanted = stored.wanted;
        } else {
            // All of them are rejected, which needs no secrets and no configurations.
            for WantedPipeline { pipeline, files, .. } in &mut wanted.pipelines {
                pipeline.env.clear();
                pipeline.config.clear();
                files.clear();
            }
        }
        self.etag = etag;
        self.is_known = true;
        self.feed.publish(wanted);
    }
}
