//! The lines of all pipelines, by their ids.
//!
//! They outlive the pipelines: one that is removed from the configuration and comes back must find
//! what was read of its files before, or lines would be read twice. The reader knows pipelines only
//! through this registry, which the manager fills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use systole_shared::{PipelineId, UnixMillis};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::read_offsets::SavedLogs;
use super::{PipelineLogs, lock};
use crate::files;
use crate::model::pipeline::PipelineConfig;

/// In the data directory.
const OUTPUT_DIR: &str = "output";

/// Pipelines whose output files are made or finished at once. When a node starts or stops, all of them
/// are, and each would take a thread and its memory.
const AT_ONCE: usize = 2;

/// How long the output of a pipeline that is not in the configuration any more is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// A pipeline, as the reader of its lines sees it.
pub(crate) trait LogOwner: Send + Sync {
    /// Its lines.
    fn logs(&self) -> &Arc<PipelineLogs>;
    /// The configuration of the present run.
    fn config(&self) -> Arc<PipelineConfig>;
}

/// The lines of all pipelines.
pub(crate) struct LogRegistry {
    output_dir: PathBuf,
    logs: Mutex<BTreeMap<PipelineId, Arc<PipelineLogs>>>,
    /// The pipelines that the node has now.
    current: Mutex<Arc<[Arc<dyn LogOwner>]>>,
    gate: Arc<Semaphore>,
}

impl LogRegistry {
    /// With output files in this data directory.
    pub(crate) fn new(data_dir: &Path) -> Self {
        LogRegistry {
            output_dir: data_dir.join(OUTPUT_DIR),
            logs: Mutex::default(),
            current: Mutex::new(Arc::new([])),
            gate: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Continues from what an earlier run of the agent kept.
    pub(crate) fn restore(&self, saved: BTreeMap<PipelineId, SavedLogs>, now: UnixMillis) {
        for (id, saved) in saved {
            self.of(&id).with_buffer(|buffer| buffer.restore(saved, now));
        }
    }

    /// Those of a pipeline.
    pub(crate) fn of(&self, id: &PipelineId) -> Arc<PipelineLogs> {
        let new = || {
            let dir = self.output_dir.join(files::name_of(id.as_str()));
            Arc::new(PipelineLogs::new(Instant::now(), Some(dir), self.gate.clone()))
        };
        lock(&self.logs).entry(id.clone()).or_insert_with(new).clone()
    }

    /// Makes these the pipelines whose lines are read.
    pub(crate) fn set_current(&self, pipelines: Vec<Arc<dyn LogOwner>>) {
        *lock(&self.current) = pipelines.into();
    }

    /// The pipelines whose lines are read.
    pub(crate) fn current(&self) -> Arc<[Arc<dyn LogOwner>]> {
        lock(&self.current).clone()
    }

    /// Those whose log files are open.
    pub(crate) fn with_open_files(&self) -> Vec<Arc<PipelineLogs>> {
        lock(&self.logs).values().filter(|logs| logs.has_open_files()).cloned().collect()
    }

    /// The state to keep with the last report, also of pipelines that are not there at the moment.
    pub(crate) fn saved(&self) -> BTreeMap<PipelineId, SavedLogs> {
        let all = lock(&self.logs);
        let saved = all.iter().map(|(id, logs)| (id.clone(), logs.with_buffer(|buffer| buffer.closed().clone())));
        saved.filter(|(_, saved)| !saved.is_empty()).collect()
    }

    /// The last report cannot be lost any more.
    pub(crate) fn commit(&self) {
        for logs in lock(&self.logs).values() {
            logs.with_buffer(|buffer| buffer.offsets.commit_report());
        }
    }

    /// Deletes the output of pipelines that are not wanted and have not written for long. Blocks.
    pub(crate) fn sweep(&self, wanted: &[PipelineId]) {
        let names: Vec<String> = wanted.iter().map(|id| files::name_of(id.as_str())).collect();
        let Ok(entries) = std::fs::read_dir(&self.output_dir) else { return };
        for dir in entries.filter_map(Result::ok) {
            let is_wanted = names.iter().any(|name| dir.file_name() == name.as_str());
            if !is_wanted && is_old(&dir.path()) && std::fs::remove_dir_all(dir.path()).is_ok() {
                lock(&self.logs).retain(|id, _| dir.file_name() != files::name_of(id.as_str()).as_str());
            }
        }
    }
}

/// Whether nothing in a directory was written to for long.
fn is_old(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).chain([dir.to_owned()]);
    paths.into_iter().all(|path| {
        let written = path.metadata().and_then(|metadata| metadata.modified());
        written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT_FOR))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn sweep_deletes_output_of_removed_pipelines() {
        let dir = tempfile::tempdir().unwrap();
        let registry = LogRegistry::new(dir.path());
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        for name in ["wanted", "old", "new"] {
            let of = dir.path().join("output").join(name);
            std::fs::create_dir_all(&of).unwrap();
            let file = File::create(of.join("1.stdout")).unwrap();
            if name != "new" {
                file.set_times(old).unwrap();
            }
            File::open(&of).unwrap().set_times(old).unwrap();
        }
        registry.sweep(&[PipelineId::parse("wanted").unwrap()]);
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path().join("output")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["new", "wanted"]);
    }
}
