//! What a restarted agent continues from, kept on the disk: the baselines of watched processes'
//! counters, and how far lines were reported.
//!
//! A checkpoint belongs to a report: its deltas are what lies between these baselines and the ones
//! before, its lines are those between these places and the ones before. So a new one is written
//! beside the old before its report goes into the spool, and takes its place after it; whichever of
//! the two belongs to the last report that was spooled is true. While reports wait in memory only,
//! the old one stays, for with the agent they would be lost. The baselines of supervised processes
//! are not kept: these processes end with the agent.
//!
//! A line that waits for a report is not covered. A report that waits in memory does not move the
//! checkpoint, unless the collector has acknowledged it: after a kill such lines are sent again rather
//! than lost. On a disk that refuses all writes that can mean twice.
//!
//! Baselines are dropped when the endpoint, the mapping, or the way that series are hashed has changed.
//! They are also dropped when the age of the process has not grown with the clock: then it is another
//! process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use systole_shared::{BootId, PipelineId};

use crate::files;
use crate::logs::read_offsets::SavedLogs;
use crate::scrape::delta_tracker::SavedTracker;
use crate::spool::Spool;

/// The state that is kept.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Checkpoint {
    /// Baselines of watched processes.
    #[serde(default, rename = "meters")]
    pub(crate) trackers: BTreeMap<PipelineId, SavedTracker>,
    /// Offsets of the reported lines.
    #[serde(default)]
    pub(crate) logs: BTreeMap<PipelineId, SavedLogs>,
}

/// What a file holds.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Saved {
    /// The report that it belongs to.
    boot: Option<BootId>,
    seq: u64,
    #[serde(flatten)]
    checkpoint: Checkpoint,
}

/// The files.
#[derive(Debug)]
pub(crate) struct CheckpointFiles {
    current: PathBuf,
    next: PathBuf,
    boot: BootId,
    /// What was written last.
    last: Option<Checkpoint>,
    /// It has not taken its place yet.
    is_pending: bool,
    is_logged: bool,
}

impl CheckpointFiles {
    /// In the agent's data directory.
    pub(crate) fn new(data_dir: &Path, boot: BootId) -> Self {
        let path = |name: &str| data_dir.join("spool").join(name);
        CheckpointFiles {
            current: path("checkpoint"),
            next: path("checkpoint.next"),
            boot,
            last: None,
            is_pending: false,
            is_logged: false,
        }
    }

    /// The checkpoint of the last run of the agent.
    pub(crate) fn load(&self, spool: &Spool) -> Checkpoint {
        let read = |path: &Path| -> Option<Saved> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
        let of_spooled = |saved: &Saved| saved.boot.is_some_and(|boot| spool.has_seen(boot, saved.seq));
        let next = read(&self.next).filter(of_spooled);
        next.or_else(|| read(&self.current)).unwrap_or_default().checkpoint
    }

    /// Writes that of a report that is about to be spooled.
    pub(crate) fn prepare(&mut self, seq: u64, checkpoint: Checkpoint) {
        if !self.is_pending && self.last.as_ref() == Some(&checkpoint) {
            return;
        }
        let saved = Saved { boot: Some(self.boot), seq, checkpoint };
        let written = serde_json::to_vec(&saved).map_err(io::Error::from).and_then(|json| {
            let unfinished = self.next.with_extension("unfinished");
            files::make_dir(self.next.parent().unwrap_or(Path::new(".")))?;
            files::write(&unfinished, &json)?;
            std::fs::rename(unfinished, &self.next)
        });
        self.last = Some(saved.checkpoint);
        self.is_pending = true;
        self.log_result(written);
    }

    /// The report is spooled.
    pub(crate) fn commit(&mut self) {
        if !self.is_pending {
            return;
        }
        let moved = std::fs::rename(&self.next, &self.current);
        self.is_pending = moved.is_err();
        self.log_result(moved);
    }

    fn log_result(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.is_logged = false,
            Err(error) if !std::mem::replace(&mut self.is_logged, true) => {
                tracing::debug!(%error, "cannot save the checkpoint; after a restart of the agent watched pipelines count from their next scrape, and lines may be reported twice");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::spool::Bounds;
    use crate::scrape::delta_tracker::{DeltaTracker, SourceHash};
    use crate::scrape::page::Scrape;

    fn boot(number: u128) -> BootId {
        BootId(Uuid::from_u128(number))
    }

    fn checkpoint(id: &str) -> Checkpoint {
        let trackers = BTreeMap::from([(PipelineId::parse(id).unwrap(), SavedTracker::default())]);
        Checkpoint { trackers, logs: BTreeMap::new() }
    }

    /// Which of the two states a new run finds.
    fn found(dir: &Path) -> Vec<String> {
        let spool = Spool::open(&dir.join("spool"), boot(2), Bounds::default());
        CheckpointFiles::new(dir, boot(2)).load(&spool).trackers.into_keys().map(|id| id.to_string()).collect()
    }

    #[test]
    fn checkpoint_matches_the_last_spooled_report_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&dir.path().join("spool"), boot(1), Bounds::default());
        let mut files = CheckpointFiles::new(dir.path(), boot(1));
        let now = crate::clock::unix_millis();
        let mut push = |seq: u64| {
            let body = format!(r#"{{"seq":{seq},"start":{now},"end":{now}}}"#).into_bytes();
            assert_eq!(spool.push(seq, body.into(), 0, now).lost.reports, 0);
        };
        push(1);
        files.prepare(1, checkpoint("first"));
        files.commit();
        assert_eq!(found(dir.path()), ["first"]);
        files.prepare(2, checkpoint("second"));
        assert_eq!(found(dir.path()), ["first"], "killed before the second report was spooled");
        push(2);
        assert_eq!(found(dir.path()), ["second"], "killed right behind it");
        files.commit();
        assert_eq!(found(dir.path()), ["second"]);
    }

    #[test]
    fn unchanged_checkpoint_is_not_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = CheckpointFiles::new(dir.path(), boot(1));
        files.prepare(1, checkpoint("a"));
        files.commit();
        files.prepare(2, checkpoint("a"));
        assert!(!files.next.exists());
        files.commit();
        files.prepare(3, checkpoint("b"));
        assert!(files.next.exists());
    }

    #[test]
    fn prepared_checkpoint_of_a_killed_run_is_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let mut killed = CheckpointFiles::new(dir.path(), boot(1));
        killed.prepare(1, checkpoint("reported"));
        killed.commit();
        killed.prepare(2, checkpoint("lost"));
        let mut next = CheckpointFiles::new(dir.path(), boot(2));
        next.commit();
        assert_eq!(found(dir.path()), ["reported"]);
    }

    #[test]
    fn missing_files_give_an_empty_checkpoint() {
        assert_eq!(found(tempfile::tempdir().unwrap().path()), [""; 0]);
    }

    /// Written by version 0.1 after scrapes of `received` 1,000 and `sent` 900, with std's hasher.
    #[test]
    fn checkpoint_of_the_version_before_is_read_and_counts_from_its_baselines() {
        let kept = include_bytes!("../../testdata/checkpoint/before-siphasher.json");
        let saved: Saved = serde_json::from_slice(kept).unwrap();
        let id = PipelineId::parse("w").unwrap();
        let mapping = crate::config::vector_mapping();
        let mut tracker = DeltaTracker::of_watched();
        tracker.resume(&saved.checkpoint.trackers[&id], &SourceHash::of("http://127.0.0.1:19598/metrics", &mapping));
        let page = "component_received_events_total{component_id=\"in\",component_kind=\"source\",component_type=\"file\"} 1012\n\
            component_sent_events_total{component_id=\"out\",component_kind=\"sink\",component_type=\"loki\",output=\"a\\\"b\"} 907\n";
        tracker.record(&Scrape::of(page.as_bytes(), &mapping), crate::clock::unix_millis());
        let sample = tracker.take().sample.unwrap();
        assert_eq!((sample.events_in.get(), sample.events_out.get()), (Ok(12), Ok(7)));
    }
}
