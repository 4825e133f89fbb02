//! The revisions of one pipeline on the disk: `<data-dir>/pipelines/<id>.<ext>` is what runs,
//! `.next.` what is judged, `.good.` what stayed up last.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use systole_shared::PipelineId;

use super::revision::{ConfigPath, Revision};
use crate::config::{CommandConfig, PipelineConfig};
use crate::files;

/// Largest configuration file: far beyond any that a person wrote.
const MAX_CONFIG_BYTES: u64 = 8 * 1024 * 1024;

/// The files of one pipeline's revisions.
#[derive(Clone, Debug)]
pub(crate) struct Revisions {
    dir: PathBuf,
    name: String,
}

/// Why a definition cannot become a revision. The text is part of a `reason`.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    /// The user's file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is no configuration file that anybody would want to run.
    #[error("{0} is larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge(String),
}

/// What is kept of a revision that stayed up.
#[derive(Deserialize, Serialize)]
struct Good {
    command: CommandConfig,
    metrics_url: Option<String>,
    extension: Option<String>,
}

#[derive(Clone, Copy)]
enum Role {
    Current,
    Next,
    Good,
}

impl Revisions {
    /// Of the pipeline with this id.
    pub(crate) fn of(data_dir: &Path, id: &PipelineId) -> Self {
        Revisions { dir: directory(data_dir), name: files::name_of(id.as_str()) }
    }

    /// Reads what the definition asks for, as it is now, into the file of the next revision.
    pub(super) fn stage(&self, config: &Arc<PipelineConfig>, command: &CommandConfig) -> Result<Revision, StageError> {
        let Some(source) = &command.config_file else {
            return Ok(Revision::new(config.clone(), command, None, ConfigPath::None));
        };
        let content = read(source)?;
        let next = self.path(Role::Next, source.extension().and_then(|extension| extension.to_str()));
        let file = match files::make_dir(&self.dir).and_then(|()| files::replace(&next, &content)) {
            Ok(()) => ConfigPath::Copy(next),
            Err(error) => {
                tracing::warn!(%error, path = %next.display(),
                    "the pipeline's configuration cannot be copied; the process reads the original, and an older one cannot be gone back to");
                ConfigPath::Own(source.clone())
            }
        };
        Ok(Revision::new(config.clone(), command, Some(&content), file))
    }

    /// Makes the revision the one that is run: its file gets the lasting name.
    pub(super) fn promote(&self, revision: &Revision) -> io::Result<Revision> {
        let ConfigPath::Copy(path) = &revision.file else { return Ok(revision.clone()) };
        let current = self.path(Role::Current, extension_of(path));
        if *path == self.path(Role::Next, extension_of(path)) {
            files::rename(path, &current)?;
        } else if *path != current {
            files::replace(&current, &fs::read(path)?)?;
        }
        Ok(Revision { file: ConfigPath::Copy(current), ..revision.clone() })
    }

    /// Forgets what was staged and is not wanted.
    pub(super) fn discard(&self, revision: &Revision) {
        if let ConfigPath::Copy(path) = &revision.file
            && *path == self.path(Role::Next, extension_of(path))
        {
            drop(fs::remove_file(path));
        }
    }

    /// Keeps the revision as the one to go back to. Returns it as it is then.
    pub(super) fn keep_good(&self, revision: &Revision) -> io::Result<Revision> {
        let Some(command) = revision.config.command.clone() else { return Ok(revision.clone()) };
        files::make_dir(&self.dir)?;
        let (file, extension) = match &revision.file {
            ConfigPath::Copy(path) => {
                let good = self.path(Role::Good, extension_of(path));
                files::replace(&good, &fs::read(path)?)?;
                let extension = extension_of(path).map(str::to_owned);
                (ConfigPath::Copy(good), extension)
            }
            other => (other.clone(), None),
        };
        let metrics_url = revision.config.metrics.as_ref().map(|metrics| metrics.url.to_string());
        // The record last: without it the file is not looked at.
        let record = serde_json::to_vec(&Good { command, metrics_url, extension })?;
        files::replace(&self.record(), &record)?;
        Ok(Revision { file, ..revision.clone() })
    }

    /// The one to go back to, if there is one. What it does not say of itself, like the meaning of
    /// its metrics, is as in `config`.
    pub(super) fn good(&self, config: &PipelineConfig) -> Option<Revision> {
        let good: Good = serde_json::from_slice(&fs::read(self.record()).ok()?).ok()?;
        let (content, file) = match &good.command.config_file {
            None => (None, ConfigPath::None),
            Some(_) => {
                let path = self.path(Role::Good, good.extension.as_deref());
                (Some(fs::read(&path).ok()?), ConfigPath::Copy(path))
            }
        };
        let mut config = config.clone();
        match (&mut config.metrics, good.metrics_url) {
            (Some(metrics), Some(url)) => metrics.url = url.parse().ok()?,
            (metrics, None) => *metrics = None,
            (None, Some(_)) => {}
        }
        config.command = Some(good.command.clone());
        Some(Revision::new(Arc::new(config), &good.command, content.as_deref(), file))
    }

    /// The path of a role's file.
    fn path(&self, role: Role, extension: Option<&str>) -> PathBuf {
        let role = match role {
            Role::Current => "",
            Role::Next => ".next",
            Role::Good => ".good",
        };
        let extension = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
        self.dir.join(format!("{}{role}{extension}", self.name))
    }

    fn record(&self) -> PathBuf {
        self.dir.join(format!("{}.good.json.record", self.name))
    }
}

/// Removes the files of pipelines that are not there any more: they may hold secrets.
pub(crate) fn sweep<'i>(data_dir: &Path, ids: impl Iterator<Item = &'i PipelineId>) {
    let names: std::collections::HashSet<String> = ids.map(|id| files::name_of(id.as_str())).collect();
    let Ok(entries) = fs::read_dir(directory(data_dir)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('.').next());
        if owner.is_some_and(|owner| !names.contains(owner)) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("pipelines")
}

fn extension_of(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

fn read(path: &Path) -> Result<Vec<u8>, StageError> {
    let mut content = Vec::new();
    open(path)
        .and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut content))
        .map_err(|source| StageError::Unreadable { path: path.display().to_string(), source })?;
    if content.len() as u64 > MAX_CONFIG_BYTES {
        return Err(StageError::TooLarge(path.display().to_string()));
    }
    Ok(content)
}

/// Opens a file; a pipe would hold up the agent until somebody writes to it.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

#[cfg(test)]
#[path = "revisions_tests.rs"]
mod tests;
