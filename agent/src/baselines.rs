//! The counters' baselines of watched processes, kept on the disk: a restarted agent goes on where
//! the last one ended, as long as the process lives.
//!
//! They belong to a report: its deltas are what lies between these baselines and the ones before.
//! So new ones are written beside the old before their report goes into the spool, and take their
//! place after it; whichever of the two belongs to the last report that was spooled is true. Those
//! of supervised processes are not kept: these processes end with the agent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use systole_shared::BootId;

use crate::scrape::meter::SavedMeter;
use crate::spool::Spool;

/// What a file holds.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Saved {
    /// The report that they belong to.
    boot: Option<BootId>,
    seq: u64,
    /// By the id of the pipeline.
    meters: BTreeMap<String, SavedMeter>,
}

/// The files.
#[derive(Debug)]
pub(crate) struct BaselineFiles {
    current: PathBuf,
    next: PathBuf,
    boot: BootId,
    is_told: bool,
}

impl BaselineFiles {
    /// In the agent's data directory.
    pub(crate) fn new(data_dir: &Path, boot: BootId) -> Self {
        let path = |name: &str| data_dir.join("spool").join(name);
        BaselineFiles { current: path("baselines"), next: path("baselines.next"), boot, is_told: false }
    }

    /// What the last life of the agent left, by the id of the pipeline.
    pub(crate) fn load(&self, spool: &Spool) -> BTreeMap<String, SavedMeter> {
        let read = |path: &Path| -> Option<Saved> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
        let of_spooled = |saved: &Saved| saved.boot.is_some_and(|boot| spool.has_seen(boot, saved.seq));
        let next = read(&self.next).filter(of_spooled);
        next.or_else(|| read(&self.current)).unwrap_or_default().meters
    }

    /// Writes those of a report that is about to be spooled.
    pub(crate) fn prepare(&mut self, seq: u64, meters: BTreeMap<String, SavedMeter>) {
        let saved = Saved { boot: Some(self.boot), seq, meters };
        let written = serde_json::to_vec(&saved).map_err(io::Error::from).and_then(|json| {
            let unfinished = self.next.with_extension("unfinished");
            std::fs::write(&unfinished, json)?;
            std::fs::rename(unfinished, &self.next)
        });
        self.tell(written);
    }

    /// The report is spooled.
    pub(crate) fn commit(&mut self) {
        let moved = std::fs::rename(&self.next, &self.current);
        self.tell(moved);
    }

    fn tell(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.is_told = false,
            Err(error) if !std::mem::replace(&mut self.is_told, true) => {
                tracing::debug!(%error, "baselines cannot be kept; after a restart of the agent watched pipelines count from their next scrape on");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::spool::Bounds;

    fn boot(number: u128) -> BootId {
        BootId(Uuid::from_u128(number))
    }

    fn meters(id: &str) -> BTreeMap<String, SavedMeter> {
        BTreeMap::from([(id.to_owned(), SavedMeter::default())])
    }

    /// Which of the two states a new life finds.
    fn found(dir: &Path) -> Vec<String> {
        let spool = Spool::open(&dir.join("spool"), boot(2), Bounds::default());
        BaselineFiles::new(dir, boot(2)).load(&spool).into_keys().collect()
    }

    #[test]
    fn a_kill_at_any_point_leaves_the_baselines_of_the_last_spooled_report() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&dir.path().join("spool"), boot(1), Bounds::default());
        let mut files = BaselineFiles::new(dir.path(), boot(1));
        let now = crate::clock::unix_millis();
        let mut push = |seq: u64| {
            let body = format!(r#"{{"seq":{seq},"start":{now},"end":{now}}}"#).into_bytes();
            assert_eq!(spool.push(seq, body.into(), 0, now).lost.reports, 0);
        };
        push(1);
        files.prepare(1, meters("first"));
        files.commit();
        assert_eq!(found(dir.path()), ["first"]);
        files.prepare(2, meters("second"));
        assert_eq!(found(dir.path()), ["first"], "killed before the second report was spooled");
        push(2);
        assert_eq!(found(dir.path()), ["second"], "killed right behind it");
        files.commit();
        assert_eq!(found(dir.path()), ["second"]);
    }

    #[test]
    fn without_files_there_is_nothing_to_go_on_from() {
        assert_eq!(found(tempfile::tempdir().unwrap().path()), [""; 0]);
    }
}
