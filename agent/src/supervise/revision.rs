//! A revision: what a pipeline runs, down to the content of its configuration file.
//!
//! A revision has the content of the file and no path. Files can be renamed, overwritten or deleted
//! between two starts of a process. So a path exists only in a [`ConfigCopy`], which is written or
//! checked right before each use.
//!
//! Rolling back is for processes that end within 30 s. One that lives and does not answer is DEGRADED. See
//! docs/adr/0011-revisions.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::sidecar;
use crate::files::{self, checksum_of};
use crate::model::pipeline::{CONFIG_PLACEHOLDER, CommandConfig, PipelineConfig};

/// A revision of the agent's own file that stays up this long is one to go back to. A version of the centre
/// brings its own time.
pub(super) const MIN_HEALTHY_TIME: Duration = Duration::from_secs(30);

/// Variables that the agent sets for an engine. Their values are no secrets.
pub(crate) const PLAIN_VARIABLES: [&str; 3] = ["SYSTOLE_METRICS_PORT", "SYSTOLE_API_PORT", "VECTOR_LOG"];

/// Shorter values are no secrets, and would make a text unreadable where they are replaced.
const MIN_SECRET_BYTES: usize = 4;

/// What a pipeline runs, or is to run.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    /// Its definition; always with a command.
    pub(crate) config: Arc<PipelineConfig>,
    /// SHA-256 of its configuration file, as `sha256sum` prints it; none without such a file.
    pub(crate) checksum: Option<String>,
    /// Content of its configuration file; none without such a file.
    pub(super) content: Option<Arc<[u8]>>,
    /// SHA-256 of command, configuration file and the files that it names: the same for what runs the same.
    pub(super) fingerprint: String,
}

/// Where a process finds the content of a revision at this moment.
#[derive(Debug)]
pub(super) struct ConfigCopy {
    path: Option<PathBuf>,
    /// It is deleted when this is dropped.
    is_temporary: bool,
}

impl Revision {
    /// Of a definition and the content of its file.
    pub(super) fn new(config: Arc<PipelineConfig>, command: &CommandConfig, content: Option<Arc<[u8]>>) -> Self {
        let checksum = content.as_deref().map(checksum_of);
        let definition = serde_json::to_vec(command).expect("a command is JSON");
        let mut fingerprint = Sha256::new();
        fingerprint.update(&definition);
        fingerprint.update(content.as_deref().unwrap_or_default());
        fingerprint.update(config.centre.as_ref().map_or("", |centre| &centre.files_digest));
        let fingerprint = files::hex(&fingerprint.finalize());
        Revision { config, checksum, content, fingerprint }
    }

    /// Whether both run the same.
    pub(super) fn runs_as(&self, other: &Revision) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Its short name: its version, or the beginning of its checksum.
    pub(super) fn short(&self) -> String {
        let sum = self.checksum.as_deref().unwrap_or(&self.fingerprint);
        self.version().map_or_else(|| sum[..8].to_owned(), |version| format!("version {version}"))
    }

    /// The operator's own configuration file, if the command has one.
    pub(super) fn source(&self) -> Option<&Path> {
        self.config.command.as_ref()?.config_file.as_deref()
    }

    /// Number of the version of the centre; none for a pipeline of the agent's own file.
    pub(crate) fn version(&self) -> Option<i64> {
        Some(self.config.centre.as_ref()?.version)
    }

    /// What the reports name its configuration by.
    pub(super) fn reported_checksum(&self) -> Option<&str> {
        self.config.centre.as_ref().map(|centre| centre.checksum.as_str()).or(self.checksum.as_deref())
    }

    /// What the file beside its configuration says, if it has one.
    pub(super) fn sidecar(&self) -> Option<String> {
        sidecar::of(self.config.command.as_ref()?)
    }

    /// How long it must be up to be one to go back to.
    pub(super) fn healthy_for(&self) -> Duration {
        self.config.centre.as_ref().map_or(MIN_HEALTHY_TIME, |centre| centre.healthy_for)
    }

    /// The text without the values of secrets: what an engine says of its configuration may quote one.
    pub(super) fn without_secrets(&self, text: String) -> String {
        let command = self.config.command.as_ref().filter(|_| self.config.centre.is_some());
        let values = command.into_iter().flat_map(|command| &command.env);
        let is_secret = |(name, value): &(&String, &String)| {
            value.len() >= MIN_SECRET_BYTES && !PLAIN_VARIABLES.contains(&name.as_str())
        };
        values.filter(is_secret).fold(text, |text, (_, value)| text.replace(value.as_str(), "[secret]"))
    }

    /// What people know it by: its version, the operator's file, or its checksum.
    pub(super) fn shown(&self) -> String {
        if let Some(version) = self.version() {
            return format!("version {version}");
        }
        self.source().map_or_else(|| self.short(), |source| source.display().to_string())
    }

    /// The command, with the copy's path instead of the configuration file's.
    pub(super) fn command(&self, copy: &ConfigCopy) -> Option<CommandConfig> {
        let command = self.config.command.as_ref()?;
        Some(CommandConfig { args: copy.fill(command, &command.args), ..command.clone() })
    }

    /// Whether there is a command that judges this revision.
    pub(super) fn has_validation(&self) -> bool {
        self.config.command.as_ref().is_some_and(|command| command.validate.is_some())
    }

    /// The command that judges this revision, if there is one.
    pub(super) fn validation(&self, copy: &ConfigCopy) -> Option<CommandConfig> {
        let command = self.config.command.as_ref()?;
        let (program, args) = command.validate.as_ref()?.split_first()?;
        Some(CommandConfig { program: program.clone(), args: copy.fill(command, args), ..command.clone() })
    }
}

impl ConfigCopy {
    /// Of a revision without a configuration file.
    pub(super) fn none() -> Self {
        ConfigCopy { path: None, is_temporary: false }
    }

    /// In a file that stays.
    pub(super) fn at(path: PathBuf) -> Self {
        ConfigCopy { path: Some(path), is_temporary: false }
    }

    /// In a file that is deleted after its use.
    pub(super) fn temporary(path: PathBuf) -> Self {
        ConfigCopy { path: Some(path), is_temporary: true }
    }

    /// Its path, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn fill(&self, command: &CommandConfig, args: &[String]) -> Vec<String> {
        let Some(path) = self.path() else { return args.to_vec() };
        let path = path.to_string_lossy();
        let base = command.working_dir.as_deref().unwrap_or(Path::new(""));
        let is_file = |arg: &String| command.config_file.as_ref().is_some_and(|file| base.join(arg) == *file);
        let fill = |arg: &String| if is_file(arg) { path.to_string() } else { arg.replace(CONFIG_PLACEHOLDER, &path) };
        args.iter().map(fill).collect()
    }
}

impl Drop for ConfigCopy {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| self.is_temporary) {
            drop(std::fs::remove_file(path));
            drop(std::fs::remove_file(sidecar::path_of(path)));
        }
    }
}
