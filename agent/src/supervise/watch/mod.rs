//! Watches processes that the agent does not run: by the file that holds their id, or by their systemd unit.
//!
//! Nothing waits for a check: what it finds is left in the [`Pipeline`], and [`ProcessTracker`] makes a state
//! of it and of what the metrics endpoint does.

mod journal;
mod pid_file;
mod process;
mod process_tracker;
mod systemctl;
mod unit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::set::PipelineSet;
use crate::model::pipeline::ProcessConfig;
use systemctl::{AskError, UnitReader};

pub(super) use process_tracker::ProcessTracker;

/// How often files that hold process ids, and their processes, are checked.
const PID_FILES_EVERY: Duration = Duration::from_secs(2);

/// How often systemd is asked, once for all units.
const UNITS_EVERY: Duration = Duration::from_secs(5);

/// How often it is asked again whether there is a systemd, after it could not be asked at all.
const NO_SYSTEMD_AGAIN: Duration = Duration::from_secs(60);

/// Follows the processes of all watched pipelines until `finish`.
pub(crate) async fn run(set: Arc<PipelineSet>, finish: CancellationToken) {
    let all = async { tokio::join!(follow_pid_files(&set), follow_units(&set), journal::follow(&set)) };
    tokio::select! {
        _ = all => {}
        () = finish.cancelled() => {}
    }
}

async fn follow_pid_files(set: &PipelineSet) {
    let mut ticks = interval(PID_FILES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        set.all().iter().for_each(|pipeline| poll_pid_file(pipeline));
    }
}

/// Checks the process of a pipeline that has a file for it.
fn poll_pid_file(pipeline: &Pipeline) {
    let config = pipeline.config();
    if let Some(ProcessConfig::PidFile(path)) = &config.process {
        let known = pipeline.watched_process();
        pipeline.observe(&config, pid_file::poll(path, known));
    }
}

async fn follow_units(set: &PipelineSet) {
    let mut ticks = interval(UNITS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    let mut asked_for = BTreeSet::new();
    let mut units = UnitReader::default();
    loop {
        ticks.tick().await;
        let pipelines: Vec<_> =
            set.all().iter().filter_map(|pipeline| Some((pipeline.clone(), unit_of(pipeline)?))).collect();
        let names: BTreeSet<String> = pipelines.iter().map(|(_, name)| name.clone()).collect();
        // Units that a reload brought wait for nothing.
        if names.is_empty() || (Instant::now() < not_before && names == asked_for) {
            continue;
        }
        let answers = units.read(&names).await;
        if answers.values().all(|answer| answer.as_ref().is_err_and(AskError::is_lasting)) {
            not_before = Instant::now() + NO_SYSTEMD_AGAIN;
        }
        asked_for = names;
        for (pipeline, name) in pipelines {
            let observation = match answers.get(&name) {
                Some(Err(error)) => unit::without_answer(error, pipeline.watched_process()),
                Some(Ok(unit)) => unit::poll(&name, Some(unit)),
                None => unit::poll(&name, None),
            };
            pipeline.observe(&pipeline.config(), observation);
        }
    }
}

fn unit_of(pipeline: &Pipeline) -> Option<String> {
    match &pipeline.config().process {
        Some(ProcessConfig::SystemdUnit(name)) => Some(name.clone()),
        _ => None,
    }
}

impl Pipeline {
    /// Before a watched pipeline is scraped: is its process the one that is known? What another one
    /// counts must not be compared with this one's values. False if it is gone and no other is known.
    pub(super) fn may_be_scraped(&self) -> bool {
        poll_pid_file(self);
        self.watched_process().is_none_or(|known| known.is_alive())
    }
}
