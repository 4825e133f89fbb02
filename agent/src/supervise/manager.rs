//! Applies the configuration to the node's pipelines, and stops them at the end.
//!
//! A removed pipeline is stopped in the background and stays in the reports until its end is reported.
//! One that comes back meanwhile, or that is now watched instead of run, waits for that: two pipelines
//! with one id would be reported as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use systole_shared::{PipelineId, PipelineStatus};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::handover::HandedPipeline;
use super::process::run::stop_adopted;
use super::revisions::{self, Revisions};
use super::rollout::DesiredState;
use super::set::PipelineSet;
use super::supervisor::Supervisor;
use crate::logs::registry::{LogOwner, LogRegistry};
use crate::metrics::AgentCounters;
use crate::model::centre::{CopyPlace, Hold};
use crate::model::pipeline::PipelineConfig;
use crate::scrape::fetch::Scraper;

/// Keeps the pipelines of the node.
pub(crate) struct PipelineManager {
    parts: PipelineManagerParts,
    slots: BTreeMap<PipelineId, Slot>,
    supervisors: JoinSet<()>,
    /// What the last configuration wants, in its order.
    wanted: Vec<Arc<PipelineConfig>>,
    orders: u64,
    /// What an earlier program of this process handed over.
    handed: BTreeMap<PipelineId, HandedPipeline>,
}

/// What pipelines are made with.
pub(crate) struct PipelineManagerParts {
    /// The pipelines as all parts of the agent see them.
    pub(crate) set: Arc<PipelineSet>,
    /// Where their lines are.
    pub(crate) logs: Arc<LogRegistry>,
    /// Asks their endpoints.
    pub(crate) scraper: Arc<Scraper>,
    /// Notified of changes of their states.
    pub(crate) changed: Arc<Notify>,
    /// What the agent counts of itself.
    pub(crate) counters: Arc<AgentCounters>,
    /// Where the configurations of those of the agent's own file are kept.
    pub(crate) data_dir: PathBuf,
    /// Where those of the centre are kept.
    pub(crate) centre_dir: PathBuf,
    /// Ends all of them.
    pub(crate) stop: CancellationToken,
}

/// One pipeline and the way to its supervisor.
struct Slot {
    pipeline: Arc<Pipeline>,
    /// To the supervisor; none for a pipeline that is only watched.
    orders: Option<watch::Sender<DesiredState>>,
    stop: CancellationToken,
    is_leaving: bool,
    kind: SlotKind,
}

/// What cannot change while a pipeline is there: it ends, and another one with its id begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotKind {
    Watched,
    Supervised,
    OfTheCentre(CopyPlace),
    /// Of the centre, without a process.
    Held,
}

impl SlotKind {
    fn of(config: &PipelineConfig) -> Self {
        match (&config.centre, config.is_supervised()) {
            (Some(_), _) if config.hold().is_some() => SlotKind::Held,
            (Some(centre), _) => SlotKind::OfTheCentre(centre.place),
            (None, true) => SlotKind::Supervised,
            (None, false) => SlotKind::Watched,
        }
    }
}

impl PipelineManager {
    /// Without pipelines yet.
    pub(crate) fn new(parts: PipelineManagerParts) -> Self {
        PipelineManager {
            parts,
            slots: BTreeMap::new(),
            supervisors: JoinSet::new(),
            wanted: Vec::new(),
            orders: 0,
            handed: BTreeMap::new(),
        }
    }

    /// Makes the pipelines those of `configs` for the first time, and continues from what an earlier program of
    /// this process handed over. Processes that no pipeline wants any more are stopped.
    pub(crate) fn take_over(&mut self, configs: Vec<PipelineConfig>, handed: Vec<HandedPipeline>) {
        self.handed = handed.into_iter().map(|pipeline| (pipeline.id.clone(), pipeline)).collect();
        self.apply(configs, &BTreeSet::new(), false);
        for (id, handed) in std::mem::take(&mut self.handed) {
            if let Some(pid) = handed.living_child() {
                tracing::info!(pipeline = %id, pid, "the pipeline was removed from the configuration; its process is stopped");
                self.supervisors.spawn(stop_adopted(pid));
            }
        }
    }

    /// Makes the pipelines those of `configs`. Those that are as before are not touched, unless the
    /// file of one has changed (`touched`), or an operator asks for another try.
    pub(crate) fn apply(&mut self, configs: Vec<PipelineConfig>, touched: &BTreeSet<PipelineId>, force: bool) {
        self.wanted = configs.into_iter().map(Arc::new).collect();
        let kinds: BTreeMap<_, _> = self.wanted.iter().map(|config| (&config.id, SlotKind::of(config))).collect();
        let holds: BTreeMap<_, _> = self.wanted.iter().map(|config| (&config.id, config.hold())).collect();
        for (id, slot) in &mut self.slots {
            let kind = kinds.get(id).copied();
            if kind != Some(slot.kind) && !slot.is_leaving {
                slot.is_leaving = true;
                let hold = holds.get(id).copied().flatten();
                slot.pipeline.runtime.leave(&match (kind, slot.kind) {
                    (Some(SlotKind::Held), _) => hold.map(Hold::reason).unwrap_or_default(),
                    (Some(SlotKind::OfTheCentre(_)), SlotKind::Held) => match slot.pipeline.config().hold() {
                        Some(Hold::WaitsFor(what)) => format!("waited for {what}"),
                        Some(Hold::Refused(_)) => "the collector has changed it".to_owned(),
                        _ => "resumed by an operator".to_owned(),
                    },
                    (None, SlotKind::OfTheCentre(_) | SlotKind::Held) => "removed by the collector".to_owned(),
                    _ => "removed from the configuration".to_owned(),
                });
                slot.stop.cancel();
                if slot.orders.is_none() {
                    slot.pipeline.runtime.mark_stopped();
                }
            }
        }
        for config in self.wanted.clone() {
            if let Some(slot) = self.slots.get(&config.id).filter(|slot| !slot.is_leaving) {
                self.orders += 1;
                slot.ask(&config, self.orders, touched.contains(&config.id), force);
            }
        }
        self.settle();
    }

    /// Drops those whose end was reported, and starts those that waited for it.
    pub(crate) fn settle(&mut self) {
        self.slots.retain(|_, slot| !slot.pipeline.is_over());
        for config in self.wanted.clone() {
            if !self.slots.contains_key(&config.id) {
                self.begin(&config);
            }
        }
        while self.supervisors.try_join_next().is_some() {}
        self.sweep();
        let in_order = self.wanted.iter().filter_map(|config| self.slots.get(&config.id));
        let leaving =
            self.slots.values().filter(|slot| !self.wanted.iter().any(|config| config.id == *slot.pipeline.id()));
        let pipelines: Vec<_> = in_order.chain(leaving).map(|slot| slot.pipeline.clone()).collect();
        self.parts.logs.set_current(pipelines.iter().map(|pipeline| pipeline.clone() as Arc<dyn LogOwner>).collect());
        self.parts.set.replace(pipelines);
    }

    /// Removes the files of pipelines that are not there any more.
    fn sweep(&self) {
        // A pipeline that waits for the end of one of the other kind has its files already.
        let slots = self.slots.values().map(|slot| slot.pipeline.config());
        let all: Vec<_> = slots.chain(self.wanted.iter().cloned()).collect();
        let is_in_data_dir = |config: &&Arc<PipelineConfig>| {
            config.centre.as_ref().is_none_or(|centre| centre.place == CopyPlace::DataDir)
        };
        revisions::sweep(&self.parts.data_dir, all.iter().filter(is_in_data_dir).map(|config| &config.id));
        let of_the_centre = all.iter().filter(|config| config.centre.is_some());
        revisions::sweep(&self.parts.centre_dir, of_the_centre.map(|config| &config.id));
    }

    /// Whether any pipeline is on its way out.
    pub(crate) fn is_settled(&self) -> bool {
        self.slots.values().all(|slot| !slot.is_leaving)
    }

    /// Waits until all supervisors have ended, after they were stopped.
    pub(crate) async fn wait_for_the_end(&mut self) {
        while self.supervisors.join_next().await.is_some() {}
    }

    fn begin(&mut self, config: &Arc<PipelineConfig>) {
        let parts = &self.parts;
        let (changed, counters) = (parts.changed.clone(), parts.counters.clone());
        let pipeline = Pipeline::new(PipelineConfig::clone(config), parts.logs.of(&config.id), changed, counters);
        let pipeline = Arc::new(pipeline);
        let stop = parts.stop.child_token();
        let kind = SlotKind::of(config);
        show_hold(&pipeline, config);
        let revisions = match &config.centre {
            None => Revisions::of(&parts.data_dir, &config.id),
            Some(centre) if centre.place == CopyPlace::DataDir => {
                Revisions::of(&parts.data_dir, &config.id).with_spares_in(&parts.centre_dir)
            }
            Some(_) => Revisions::of(&parts.centre_dir, &config.id),
        };
        let revisions = revisions.below(&parts.data_dir);
        let fits = |handed: &&HandedPipeline| config.is_supervised() || !handed.has_process();
        let handed = self.handed.get(&config.id).filter(fits).cloned();
        if handed.is_some() {
            self.handed.remove(&config.id);
        }
        let adoption = handed.and_then(|handed| pipeline.take_over(handed, &revisions));
        let mut orders = None;
        if config.is_supervised() {
            self.orders += 1;
            let (sender, receiver) =
                watch::channel(DesiredState { config: config.clone(), number: self.orders, force: false });
            let supervisor =
                Supervisor::new(pipeline.clone(), parts.scraper.clone(), receiver, revisions, adoption, stop.clone());
            self.supervisors.spawn(supervisor.run());
            orders = Some(sender);
        }
        self.slots.insert(config.id.clone(), Slot { pipeline, orders, stop, is_leaving: false, kind });
    }
}

impl Slot {
    fn ask(&self, config: &Arc<PipelineConfig>, number: u64, is_touched: bool, force: bool) {
        let Some(orders) = &self.orders else {
            show_hold(&self.pipeline, config);
            return self.pipeline.adopt(config.clone());
        };
        // One that runs as it should has nothing to try again.
        let force = force && !self.pipeline.runtime.is_as_wanted();
        orders.send_if_modified(|desired| {
            let is_new = is_touched || force || desired.config != *config;
            if is_new {
                *desired = DesiredState { config: config.clone(), number, force };
            }
            is_new
        });
    }
}

/// The state of a pipeline of the centre without a process.
fn show_hold(pipeline: &Pipeline, config: &PipelineConfig) {
    let Some(hold) = config.hold() else { return };
    if let Hold::Refused(why) = hold
        && pipeline.state().reason.as_ref() != Some(why)
    {
        pipeline.add_line(format!("error: systole-agent: {why}"));
    }
    pipeline.runtime.change(|state| {
        state.status = match hold {
            Hold::Paused => PipelineStatus::Stopped,
            Hold::WaitsFor(_) => PipelineStatus::Pending,
            Hold::Refused(_) => PipelineStatus::Crashed,
        };
        state.reason = Some(hold.reason());
    });
}
