//! What a program does before anything else: it checks whether it is on trial, and whether it has failed before.
//!
//! The service manager starts the program at the usual path, whatever that is. If the new version has crashed
//! on trial, that program is the new version: it puts the old one back and becomes it.

use std::path::Path;

use super::handover::{Handover, exec};
use super::marker::{Marker, Phase};
use super::program::Program;
use super::verify;

/// What this start of the program is.
#[derive(Debug, Default)]
pub(crate) struct Launch {
    /// What the program before this one handed over.
    pub(crate) handover: Option<Handover>,
    /// The upgrade that has to show that it is healthy.
    pub(super) trial: Option<Marker>,
}

impl Launch {
    /// Reads what the data directory says of the last upgrade. Becomes the old program instead of returning, if
    /// this one has failed.
    pub(crate) fn begin(data_dir: &Path) -> Self {
        let trial = match Marker::read(data_dir) {
            Some(marker) => continue_from(marker, data_dir),
            None => None,
        };
        match Handover::read(data_dir) {
            Ok(handover) => Launch { handover, trial },
            Err(reason) => {
                if let Some(marker) = trial {
                    go_back(data_dir, marker, &reason);
                }
                Launch::default()
            }
        }
    }

    /// This version cannot run: becomes the one before, if there is one. Returns otherwise.
    pub(crate) fn give_up(self, data_dir: &Path, reason: &str) {
        if let Some(marker) = self.trial {
            go_back(data_dir, marker, reason);
        }
    }
}

/// The trial that this start belongs to, if any.
fn continue_from(mut marker: Marker, data_dir: &Path) -> Option<Marker> {
    let program = Program::of_this_process().ok()?;
    let is_new_one = || {
        let is_there = program == marker.program;
        is_there && verify::sha256_of(program.path()).is_ok_and(|sum| sum == marker.sha256)
    };
    match marker.phase {
        Phase::Trial if !is_new_one() => {
            // An operator has installed something else since.
            Marker::remove(data_dir);
            None
        }
        Phase::Trial if marker.starts == 0 => {
            marker.starts = 1;
            // Without it a crash would be tried again and again.
            if let Err(error) = marker.write(data_dir) {
                go_back(data_dir, marker, &format!("upgrade.json cannot be written: {error}"));
                return None;
            }
            Some(marker)
        }
        Phase::Trial => {
            let reason = format!("version {} ended before it was healthy", marker.to);
            go_back(data_dir, marker, &reason);
            None
        }
        // The old program could not get its name back.
        Phase::RolledBack if !marker.is_restored && runs_under_its_name(&program) && is_new_one() => {
            let reason = marker.reason.clone().unwrap_or_default();
            go_back(data_dir, marker, &reason);
            None
        }
        Phase::RolledBack | Phase::Healthy => None,
    }
}

/// Whether this process runs the program at the usual path, and not the one kept beside it.
fn runs_under_its_name(program: &Program) -> bool {
    std::env::current_exe().is_ok_and(|path| path == program.path())
}

/// Becomes the old program. Returns only if that fails.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn go_back(data_dir: &Path, mut marker: Marker, reason: &str) {
    let program = marker.go_back(reason);
    let written = marker.write(data_dir);
    eprintln!("systole-agent: {reason}; going back to version {}", marker.from);
    if let Err(error) = written {
        eprintln!("systole-agent: cannot write upgrade.json: {error}");
    }
    let error = exec(&program, None);
    eprintln!("systole-agent: cannot execute {}: {error}", program.display());
}
