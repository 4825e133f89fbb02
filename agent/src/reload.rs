//! Keeps the pipelines as the configuration wants them, also when that changes: looks at the files
//! every few seconds, and takes SIGHUP as a person's wish to try again.
//!
//! Looks instead of notifications: a handful of `stat` calls cost nothing, and they work on every
//! file system, through symbolic links that are swapped, and for files that are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Overrides};
use crate::metrics::SelfCounters;
use crate::status::systemd::ServiceManager;
use crate::supervise::manager::Keeper;

/// Between two looks at the files. A change is taken when it has stood still for one look: an
/// editor may write a file in several steps.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look may take.
const LOOK_CEILING: Duration = Duration::from_secs(2);

/// How long it may take to read the configuration: its files may be on a mount that is dead.
const READ_CEILING: Duration = Duration::from_secs(5);

/// Takes changes of the configuration for as long as the agent runs.
pub(crate) struct Reloader {
    /// What the command line said.
    pub(crate) overrides: Overrides,
    /// What was read last, and was valid.
    pub(crate) config: Config,
    /// Carries it out.
    pub(crate) keeper: Keeper,
    /// Told of reloads that somebody waits for.
    pub(crate) manager: Arc<ServiceManager>,
    /// Where the agent's health says that the file is not taken.
    pub(crate) counters: Arc<SelfCounters>,
    /// Asked by SIGHUP.
    pub(crate) asked: Arc<Notify>,
    /// Told when a pipeline that was taken out has been told of.
    pub(crate) shown: Arc<Notify>,
    /// Ends this, when all pipelines have ended.
    pub(crate) stop: CancellationToken,
}

/// When, and in which state, a file was seen; `None` when it was not there.
type Sight = Option<(std::time::SystemTime, u64, u64)>;

/// The files and what they looked like.
type Sights = BTreeMap<PathBuf, Sight>;

impl Reloader {
    /// Runs until `stop`, and waits for the end of the pipelines then.
    pub(crate) async fn run(mut self) {
        let mut looker = Looker::default();
        let mut taken = looker.look(self.files()).await.unwrap_or_default();
        let mut before = taken.clone();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.asked.notified() => {
                    tracing::info!("SIGHUP: the configuration is read anew");
                    self.manager.reloading();
                    let all = self.config.pipelines.iter().map(|pipeline| pipeline.id.clone()).collect();
                    self.reload(&all, true).await;
                    self.manager.ready();
                }
                () = self.shown.notified(), if !self.keeper.is_settled() => self.keeper.settle(),
                _ = looks.tick() => {
                    let Some(now) = looker.look(self.files()).await else { continue };
                    if now != taken && now == before {
                        let changed = changes(&taken, &now);
                        taken.clone_from(&now);
                        self.take(&changed).await;
                    }
                    before = now;
                }
            }
        }
        self.keeper.wait_for_the_end().await;
    }

    /// Every file that a change may come from.
    fn files(&self) -> Vec<PathBuf> {
        let commands = self.config.pipelines.iter().filter_map(|pipeline| pipeline.command.as_ref());
        self.config.file.iter().cloned().chain(commands.filter_map(|command| command.config_file.clone())).collect()
    }

    /// Takes what changed.
    async fn take(&mut self, changed: &BTreeSet<PathBuf>) {
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
            tracing::info!("the configuration file has changed and is read anew");
            self.reload(&touched, false).await;
        } else if !touched.is_empty() {
            self.keeper.apply(self.config.pipelines.clone(), &touched, false);
        }
    }

    /// Reads the configuration; one with mistakes changes nothing.
    async fn reload(&mut self, touched: &BTreeSet<PipelineId>, insists: bool) {
        let overrides = self.overrides.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = config::load(&overrides, &|name| std::env::var(name).ok());
            read.inspect(Config::remember)
        });
        let Ok(Ok(read)) = timeout(READ_CEILING, read).await else {
            tracing::error!("the configuration cannot be read: its disk does not answer; the last valid one stays");
            return;
        };
        match read {
            Ok(config) => {
                let waits = self.config.changes_for_a_restart(&config);
                if !waits.is_empty() {
                    tracing::warn!(
                        settings = waits.join(", "),
                        "settings have changed that need a restart of the agent; pipelines are taken over now"
                    );
                }
                self.counters.config_error.set(None);
                self.config = config;
                self.keeper.apply(self.config.pipelines.clone(), touched, insists);
            }
            Err(mistakes) => {
                tracing::error!("the configuration is not taken, the last valid one stays: {mistakes}");
                self.counters.config_error.set(Some(&mistakes.to_string()));
            }
        }
    }
}

/// Looks at files without holding up anybody: one may be on a mount that is dead.
#[derive(Default)]
struct Looker {
    under_way: Option<JoinHandle<Sights>>,
}

impl Looker {
    /// How the files look; nothing if that could not be seen in time. One look at a time.
    async fn look(&mut self, files: Vec<PathBuf>) -> Option<Sights> {
        let look = self.under_way.get_or_insert_with(|| tokio::task::spawn_blocking(move || see(files)));
        let seen = timeout(LOOK_CEILING, look).await.ok()?;
        self.under_way = None;
        seen.ok()
    }
}

fn see(files: Vec<PathBuf>) -> Sights {
    let sights = files.iter().map(|file| sight(file)).collect::<Vec<_>>();
    files.into_iter().zip(sights).collect()
}

fn sight(path: &Path) -> Sight {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// The files that look different, or that are in one of the two only.
fn changes(before: &Sights, now: &Sights) -> BTreeSet<PathBuf> {
    let of_either = before.keys().chain(now.keys());
    of_either.filter(|file| before.get(*file) != now.get(*file)).cloned().collect()
}
