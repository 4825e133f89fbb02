//! Where the last upgrade stands, in a file of the data directory: each program that this process becomes,
//! or that the service manager starts after a crash, continues from there.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::program::Program;
use crate::files;

/// In the data directory.
const FILE: &str = "upgrade.json";

/// The last upgrade.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    /// The program that was replaced.
    pub(super) program: Program,
    /// The version before.
    pub(crate) from: String,
    /// The new version.
    pub(crate) to: String,
    /// SHA-256 of the new program, in hexadecimal digits.
    pub(crate) sha256: String,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Why it went back.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// When it began.
    pub(crate) began_at: UnixMillis,
    /// How often the new version was started on trial.
    pub(super) starts: u32,
    /// The collector accepted reports of the version before, so it must accept those of the new one.
    pub(super) must_connect: bool,
    /// After going back: the old program has its usual name again.
    #[serde(default)]
    pub(super) is_restored: bool,
}

/// How far an upgrade is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The new version runs, or was started, and is not healthy yet.
    Trial,
    /// The new version is the one that runs.
    Healthy,
    /// The version before runs again.
    RolledBack,
}

impl Marker {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// Reads it; none when the agent was never upgraded.
    pub(super) fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data_dir)).ok()?).ok()
    }

    /// Writes it, lasting over a power cut.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        files::replace(&Self::path(data_dir), &serde_json::to_vec(self)?)
    }

    /// Removes it: the upgrade did not begin.
    pub(super) fn remove(data_dir: &Path) {
        drop(std::fs::remove_file(Self::path(data_dir)));
    }

    /// Puts the version before back into its place, and returns the program to run.
    pub(super) fn go_back(&mut self, reason: &str) -> PathBuf {
        self.phase = Phase::RolledBack;
        self.reason = Some(reason.to_owned());
        self.is_restored = self.program.restore().is_ok();
        if self.is_restored { self.program.path().to_owned() } else { self.program.previous() }
    }
}
