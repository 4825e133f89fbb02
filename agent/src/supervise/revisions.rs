//! The files of one pipeline's revisions: `<root>/pipelines/<id>.<ext>` is what runs, `.next.` what
//! is validated, `.good.` what stayed up last. The last two may be below another root: where the VectorFlow agent
//! takes its turn, a directory has nothing that it does not know.
//!
//! Nothing relies on a file that an earlier step wrote: [`Revisions::install`] compares the content
//! before each start, and writes it again where it is missing or different.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use systole_shared::PipelineId;

use super::revision::{ConfigCopy, Revision};
use super::sidecar;
use crate::files::{self, checksum_of};
use crate::model::pipeline::{CommandConfig, PipelineConfig};

/// Largest configuration file: far beyond any that an operator wrote.
const MAX_CONFIG_BYTES: u64 = 8 * 1024 * 1024;

/// The files of one pipeline's revisions.
#[derive(Clone, Debug)]
pub(crate) struct Revisions {
    /// From here down to the files another user must be able to pass, for a process of `run_as`.
    pass_from: PathBuf,
    /// Of what runs.
    dir: PathBuf,
    /// Of the rest.
    spare_dir: PathBuf,
    name: String,
}

/// Why a definition cannot become a revision. The text is part of a `reason`.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The user's file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large for a configuration file.
    #[error("{0} is larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge(String),
    /// It is another configuration by now.
    #[error("{0} has changed")]
    Changed(String),
}

/// Why the agent has no copy of a revision's configuration. The text is part of a `reason`.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
pub(super) struct CopyError {
    path: String,
    source: io::Error,
}

/// What is kept of a revision that stayed up.
#[derive(Deserialize, Serialize)]
struct Good {
    command: CommandConfig,
    metrics_url: Option<String>,
    /// Of the content. A file with another one was written by an interrupted step.
    #[serde(default)]
    checksum: Option<String>,
    /// Number of the version, of a pipeline of the centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// What the centre names its configuration by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<String>,
}

#[derive(Clone, Copy)]
enum Role {
    Current,
    Next,
    Good,
}

impl Revisions {
    /// Of the pipeline with this id.
    pub(crate) fn of(root: &Path, id: &PipelineId) -> Self {
        let (dir, name) = (directory(root), files::name_of(id.as_str()));
        Revisions { pass_from: root.to_owned(), spare_dir: dir.clone(), dir, name }
    }

    /// The same, with all but what runs below another root.
    pub(crate) fn with_spares_in(self, root: &Path) -> Self {
        Revisions { spare_dir: directory(root), ..self }
    }

    /// The same, and the way to its files begins at `data_dir` if they are in it.
    pub(crate) fn below(self, data_dir: &Path) -> Self {
        if self.dir.starts_with(data_dir) { Revisions { pass_from: data_dir.to_owned(), ..self } } else { self }
    }

    /// Reads what the definition asks for, as it is now.
    pub(super) fn read(config: &Arc<PipelineConfig>, command: &CommandConfig) -> Result<Revision, ReadError> {
        let content = match &config.centre {
            Some(centre) => Some(centre.content.clone()),
            None => command.config_file.as_deref().map(read).transpose()?.map(Arc::from),
        };
        Ok(Revision::new(config.clone(), command, content))
    }

    /// Makes the copy that a judge reads.
    pub(super) fn candidate(&self, revision: &Revision) -> Result<ConfigCopy, CopyError> {
        let (Some(content), Some(source)) = (&revision.content, revision.source()) else {
            return Ok(ConfigCopy::none());
        };
        let path = self.path(Role::Next, source);
        self.write(&path, content, revision)?;
        Ok(ConfigCopy::temporary(path))
    }

    /// Makes sure, right before a start, that the process finds the content of this revision, and
    /// returns where.
    pub(super) fn install(&self, revision: &Revision) -> Result<ConfigCopy, CopyError> {
        let (Some(content), Some(source)) = (&revision.content, revision.source()) else {
            return Ok(ConfigCopy::none());
        };
        let current = self.path(Role::Current, source);
        if !self.is_installed(&current, content, revision)
            && let Err(error) = self.write(&current, content, revision)
        {
            let good = self.path(Role::Good, source);
            return if self.is_installed(&good, content, revision) { Ok(ConfigCopy::at(good)) } else { Err(error) };
        }
        self.note_own(revision);
        Ok(ConfigCopy::at(current))
    }

    /// Notes that this agent has put the content where another one may put its own.
    fn note_own(&self, revision: &Revision) {
        if self.spare_dir == self.dir {
            return;
        }
        let (path, checksum) = (own_mark(&self.spare_dir, &self.name), revision.checksum.clone().unwrap_or_default());
        if !holds(&path, checksum.as_bytes()) {
            let _ = files::make_dir(&self.spare_dir).and_then(|()| files::write(&path, checksum.as_bytes()));
        }
    }

    /// Whether this agent itself has put the content into the copy of a pipeline whose other files are below `root`.
    pub(crate) fn is_own(root: &Path, id: &PipelineId, content: &[u8]) -> bool {
        holds(&own_mark(&directory(root), &files::name_of(id.as_str())), checksum_of(content).as_bytes())
    }

    /// Whether the file has this content, and the file beside it what the revision wants there.
    fn is_installed(&self, path: &Path, content: &[u8], revision: &Revision) -> bool {
        let beside = revision.sidecar();
        holds(path, content) && beside.is_none_or(|text| holds(&sidecar::path_of(path), text.as_bytes()))
    }

    /// Removes the file beside the configuration: its process has ended.
    pub(super) fn remove_sidecar(&self, command: &CommandConfig) {
        if let (Some(_), Some(source)) = (sidecar::of(command), &command.config_file) {
            drop(fs::remove_file(sidecar::path_of(&self.path(Role::Current, source))));
        }
    }

    /// The operator's own file, while it has the content of this revision: for a disk that takes no copy.
    pub(super) fn original(revision: &Revision) -> Result<ConfigCopy, ReadError> {
        let (Some(content), Some(source)) = (&revision.content, revision.source()) else {
            return Ok(ConfigCopy::none());
        };
        // A pipeline of the centre has no such file, only a name for one.
        if revision.config.centre.is_some() || *read(source)? != **content {
            return Err(ReadError::Changed(source.display().to_string()));
        }
        Ok(ConfigCopy::at(source.to_owned()))
    }

    /// Writes a copy, and before it the file beside it.
    fn write(&self, path: &Path, content: &[u8], revision: &Revision) -> Result<(), CopyError> {
        let user = revision.config.command.as_ref().and_then(|command| command.run_as.as_deref());
        if let Some(text) = revision.sidecar() {
            self.write_one(&sidecar::path_of(path), text.as_bytes(), user)?;
        }
        self.write_one(path, content, user)
    }

    fn write_one(&self, path: &Path, content: &[u8], user: Option<&str>) -> Result<(), CopyError> {
        let dir = path.parent().unwrap_or(&self.dir);
        let written = files::make_dir(dir).and_then(|()| match user {
            None => files::replace(path, content),
            Some(user) => {
                files::let_pass(&self.pass_from, dir)?;
                files::replace_for(user, path, content)
            }
        });
        written.map_err(|source| CopyError { path: path.display().to_string(), source })
    }

    /// The content with this checksum, if a file of this pipeline still has it.
    pub(super) fn content_of(&self, checksum: &str, command: &CommandConfig) -> Option<Vec<u8>> {
        let source = command.config_file.as_deref()?;
        let paths = [self.path(Role::Current, source), self.path(Role::Good, source), source.to_owned()];
        let mut contents = paths.iter().filter_map(|path| read(path).ok());
        contents.find(|content| checksum_of(content) == checksum)
    }

    /// Keeps the revision on the disk as the one to go back to.
    pub(super) fn keep_good(&self, revision: &Revision) -> io::Result<()> {
        let Some(command) = revision.config.command.clone() else { return Ok(()) };
        files::make_dir(&self.spare_dir)?;
        if let (Some(content), Some(source)) = (&revision.content, revision.source()) {
            files::replace(&self.path(Role::Good, source), content)?;
        }
        let metrics_url = revision.config.metrics.as_ref().map(|metrics| metrics.url.to_string());
        // The record last: without it the file is not used.
        let (checksum, version) = (revision.checksum.clone(), revision.version());
        let named = revision.config.centre.as_ref().map(|centre| centre.checksum.clone());
        let record = serde_json::to_vec(&Good { command, metrics_url, checksum, version, named })?;
        files::replace(&self.record(), &record)
    }

    /// The one to go back to, if there is one. What it does not say of itself, like the meaning of
    /// its metrics, is as in `config`.
    pub(super) fn good(&self, config: &PipelineConfig) -> Option<Revision> {
        let good: Good = serde_json::from_slice(&fs::read(self.record()).ok()?).ok()?;
        let content = match &good.command.config_file {
            None => None,
            Some(source) => Some(read(&self.path(Role::Good, source)).ok()?),
        };
        if good.checksum.is_some() && good.checksum != content.as_deref().map(checksum_of) {
            return None;
        }
        let mut config = config.clone();
        let content: Option<Arc<[u8]>> = content.map(Arc::from);
        if let Some(centre) = &config.centre {
            let named = good.named.or(good.checksum)?;
            config.centre = Some(Arc::new(centre.as_of(good.version?, Some(content.clone()?), named)));
        }
        match (&mut config.metrics, good.metrics_url) {
            (Some(metrics), Some(url)) => metrics.url = url.parse().ok()?,
            (metrics, None) => *metrics = None,
            (None, Some(_)) => {}
        }
        config.command = Some(good.command.clone());
        Some(Revision::new(Arc::new(config), &good.command, content))
    }

    /// The path of a role's file, with the extension of the operator's file: engines go by it.
    fn path(&self, role: Role, source: &Path) -> PathBuf {
        let (dir, role) = match role {
            Role::Current => (&self.dir, ""),
            Role::Next => (&self.spare_dir, ".next"),
            Role::Good => (&self.spare_dir, ".good"),
        };
        let extension = source.extension().and_then(|extension| extension.to_str());
        let extension = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
        dir.join(format!("{}{role}{extension}", self.name))
    }

    fn record(&self) -> PathBuf {
        self.spare_dir.join(format!("{}.good.json.record", self.name))
    }
}

/// Removes the files of pipelines that are not there any more: they may hold secrets.
pub(crate) fn sweep<'i>(root: &Path, ids: impl Iterator<Item = &'i PipelineId>) {
    let names: std::collections::HashSet<String> = ids.map(|id| files::name_of(id.as_str())).collect();
    let Ok(entries) = fs::read_dir(directory(root)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('.').next());
        if owner.is_some_and(|owner| !names.contains(owner)) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// The file with the checksum of what this agent has put into a directory that it shares.
fn own_mark(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.own"))
}

fn directory(root: &Path) -> PathBuf {
    root.join("pipelines")
}

/// Whether the file has exactly this content.
fn holds(path: &Path, content: &[u8]) -> bool {
    read(path).is_ok_and(|found| found == content)
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    open(path)
        .and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut content))
        .map_err(|source| ReadError::Unreadable { path: path.display().to_string(), source })?;
    if content.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ReadError::TooLarge(path.display().to_string()));
    }
    Ok(content)
}

/// Opens a file; a pipe would block the agent until a process writes to it.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

#[cfg(test)]
#[path = "revisions_tests.rs"]
mod tests;
