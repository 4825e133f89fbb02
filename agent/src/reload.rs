//! Keeps the pipelines as the configuration and the collector want them, also when that changes: checks the
//! files every few seconds, and takes SIGHUP as an operator's wish to try again.
//!
//! Checks instead of notifications: a handful of `stat` calls cost nothing, and they work on every
//! file system, through symbolic links that are swapped, and for files that are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineId;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Overrides};
use crate::desired::deployments::Deployments;
use crate::desired::feed::DesiredFeed;
use crate::desired::merge::Merger;
use crate::metrics::AgentCounters;
use crate::model::pipeline::PipelineConfig;
use crate::model::wanted::WantedState;
use crate::status::systemd::ServiceManager;
use crate::supervise::manager::PipelineManager;

/// Between two checks at the files. A change is taken when it has stood still for one check: an
/// editor may write a file in several steps.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a check may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to read the configuration: its files may be on a mount that is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes changes of the configuration for as long as the agent runs.
pub(crate) struct Reloader {
    /// What the command line said.
    pub(crate) overrides: Overrides,
    /// What was read last, and was valid.
    pub(crate) config: Config,
    /// Carries it out.
    pub(crate) pipelines: PipelineManager,
    /// What the collector wants beside it.
    pub(crate) wanted: WantedPipelines,
    /// Notified of reloads that an operator asked for.
    pub(crate) service_manager: Arc<ServiceManager>,
    /// Where the agent's health says that the file is not taken.
    pub(crate) counters: Arc<AgentCounters>,
    /// Asked by SIGHUP.
    pub(crate) reload_requested: Arc<Notify>,
    /// Notified when a report was made: it may have been the last one of a removed pipeline.
    pub(crate) report_made: Arc<Notify>,
    /// Ends this, when all pipelines have ended.
    pub(crate) stop: CancellationToken,
}

/// The pipelines that the node is to have: those of its own file, and those of the centre.
pub(crate) struct WantedPipelines {
    merger: Merger,
    feed: Arc<DesiredFeed>,
    desired: watch::Receiver<Arc<WantedState>>,
    /// Where reports learn what became of those of the centre.
    deployments: Arc<Deployments>,
}

impl WantedPipelines {
    /// With the state that the feed has now, and each later one.
    pub(crate) fn new(merger: Merger, feed: Arc<DesiredFeed>, deployments: Arc<Deployments>) -> Self {
        let desired = feed.subscribe();
        WantedPipelines { merger, feed, desired, deployments }
    }

    /// All of them now.
    pub(crate) fn all(&mut self, config: &Config) -> Vec<PipelineConfig> {
        let wanted = self.desired.borrow_and_update().clone();
        self.feed.set_accepts(&config.centre);
        let merged = self.merger.merge(&config.centre, &config.pipelines, &wanted);
        let engines = || config.centre.engine_names(wanted.terms);
        self.deployments.replace(config.centre.accepts(wanted.terms).then(engines), merged.entries);
        merged.pipelines
    }
}

/// When, and in which state, a file was seen; `None` when it was not there.
type FileStamp = Option<(std::time::SystemTime, u64, u64)>;

/// The files and their stamps.
type FileStamps = BTreeMap<PathBuf, FileStamp>;

impl Reloader {
    /// Runs until `stop`, and waits for the end of the pipelines then.
    pub(crate) async fn run(mut self) {
        let mut watcher = FileWatcher::default();
        let mut applied = watcher.poll(self.files()).await.unwrap_or_default();
        let mut before = applied.clone();
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.reload_requested.notified() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    self.service_manager.reloading();
                    let all = self.config.pipelines.iter().map(|pipeline| pipeline.id.clone()).collect();
                    self.reload(&all, true).await;
                    self.service_manager.ready();
                }
                Ok(()) = self.wanted.desired.changed() => self.apply_all(&BTreeSet::new(), false),
                () = self.report_made.notified(), if !self.pipelines.is_settled() => self.pipelines.settle(),
                _ = polls.tick() => {
                    let Some(now) = watcher.poll(self.files()).await else { continue };
                    if now != applied && now == before {
                        let changed = changes(&applied, &now);
                        applied.clone_from(&now);
                        self.apply(&changed).await;
                    }
                    before = now;
                }
            }
        }
        self.pipelines.wait_for_the_end().await;
    }

    /// Every file that a change may come from.
    fn files(&self) -> Vec<PathBuf> {
        let commands = self.config.pipelines.iter().filter_map(|pipeline| pipeline.command.as_ref());
        self.config.file.iter().cloned().chain(commands.filter_map(|command| command.config_file.clone())).collect()
    }

    /// Takes what changed.
    async fn apply(&mut self, changed: &BTreeSet<PathBuf>) {
        let touched: BTreeSet<PipelineId> = self
            .config
            .pipelines
            .iter()
            .filter(|pipeline| {
                let file = pipeline.command.as_ref().and_then(|command| command.config_file.as_ref());
                file.is_some_and(|file| changed.contains(file))
            })
            .map(|pipeline| pipeline.id.clone())
            .collect();
        if self.config.file.as_ref().is_some_and(|file| changed.contains(file)) {
            tracing::info!("the configuration file has changed; reading it again");
            self.reload(&touched, false).await;
        } else if !touched.is_empty() {
            self.apply_all(&touched, false);
        }
    }

    fn apply_all(&mut self, touched: &BTreeSet<PipelineId>, force: bool) {
        let all = self.wanted.all(&self.config);
        self.pipelines.apply(all, touched, force);
    }

    /// Reads the configuration; one with errors changes nothing.
    async fn reload(&mut self, touched: &BTreeSet<PipelineId>, force: bool) {
        let overrides = self.overrides.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = config::load(&overrides, &|name| std::env::var(name).ok());
            read.inspect(Config::remember)
        });
        let Ok(Ok(read)) = timeout(READ_TIMEOUT, read).await else {
            tracing::error!("cannot read the configuration: its disk does not answer; the last valid one stays in use");
            return;
        };
        match read {
            Ok(config) => {
                let waits = self.config.changes_for_a_restart(&config);
                if !waits.is_empty() {
                    tracing::warn!(
                        settings = waits.join(", "),
                        "settings have changed that need a restart of the agent; changes of pipelines apply now"
                    );
                }
                self.counters.config_error.set(None);
                self.config = config;
                self.apply_all(touched, force);
            }
            Err(errors) => {
                tracing::error!("the configuration is invalid, the last valid one stays in use: {errors}");
                self.counters.config_error.set(Some(&errors.to_string()));
            }
        }
    }
}

/// Checks files without blocking: one may be on a mount that is dead.
#[derive(Default)]
struct FileWatcher {
    pending: Option<JoinHandle<FileStamps>>,
}

impl FileWatcher {
    /// The stamps of the files; none if that takes too long. One check at a time.
    async fn poll(&mut self, files: Vec<PathBuf>) -> Option<FileStamps> {
        let poll = self.pending.get_or_insert_with(|| tokio::task::spawn_blocking(move || stamp_all(files)));
        let seen = timeout(POLL_TIMEOUT, poll).await.ok()?;
        self.pending = None;
        seen.ok()
    }
}

fn stamp_all(files: Vec<PathBuf>) -> FileStamps {
    let stamps = files.iter().map(|file| stamp(file)).collect::<Vec<_>>();
    files.into_iter().zip(stamps).collect()
}

fn stamp(path: &Path) -> FileStamp {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// The files whose stamps differ, or that are in one of the two only.
fn changes(before: &FileStamps, now: &FileStamps) -> BTreeSet<PathBuf> {
    let of_either = before.keys().chain(now.keys());
    of_either.filter(|file| before.get(*file) != now.get(*file)).cloned().collect()
}
