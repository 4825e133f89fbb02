//! A revision: what a pipeline runs, down to the content of its configuration file.
//!
//! The process gets a copy that the agent keeps, never the user's own file: so what runs stays what
//! was judged, and an old revision can be gone back to after its file was overwritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{CONFIG_PLACEHOLDER, CommandConfig, PipelineConfig};
use crate::files;

/// What a pipeline runs, or is to run.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    /// Its definition; always with a command.
    pub(crate) config: Arc<PipelineConfig>,
    /// SHA-256 of its configuration file, as `sha256sum` prints it; none without such a file.
    pub(crate) checksum: Option<String>,
    /// Where the process finds the configuration file.
    pub(super) file: ConfigPath,
    /// SHA-256 of command and configuration file together: the same for what runs the same.
    pub(super) fingerprint: String,
}

/// Where a process finds its configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigPath {
    /// The command has none.
    None,
    /// In the agent's copy.
    Copy(PathBuf),
    /// In the user's own file, because the disk takes no copy. Nothing to go back to then.
    Own(PathBuf),
}

impl Revision {
    /// Of a definition and the content of its file.
    pub(super) fn new(
        config: Arc<PipelineConfig>,
        command: &CommandConfig,
        content: Option<&[u8]>,
        file: ConfigPath,
    ) -> Self {
        let checksum = content.map(|content| files::hex(&Sha256::digest(content)));
        let definition = serde_json::to_vec(command).expect("a command is JSON");
        let mut fingerprint = Sha256::new();
        fingerprint.update(&definition);
        fingerprint.update(content.unwrap_or_default());
        Revision { config, checksum, file, fingerprint: files::hex(&fingerprint.finalize()) }
    }

    /// Whether both run the same.
    pub(super) fn runs_as(&self, other: &Revision) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// How people tell it from others: the beginning of its checksum.
    pub(super) fn short(&self) -> &str {
        let sum = self.checksum.as_deref().unwrap_or(&self.fingerprint);
        &sum[..8]
    }

    /// The command with the path of the configuration file in its place.
    pub(super) fn command(&self) -> Option<CommandConfig> {
        let command = self.config.command.as_ref()?;
        Some(CommandConfig { args: self.fill(command, &command.args), ..command.clone() })
    }

    /// The command that judges this revision, if there is one.
    pub(super) fn validation(&self) -> Option<CommandConfig> {
        let command = self.config.command.as_ref()?;
        let (program, args) = command.validate.as_ref()?.split_first()?;
        Some(CommandConfig { program: program.clone(), args: self.fill(command, args), ..command.clone() })
    }

    fn fill(&self, command: &CommandConfig, args: &[String]) -> Vec<String> {
        let (ConfigPath::Copy(path) | ConfigPath::Own(path)) = &self.file else { return args.to_vec() };
        let path = path.to_string_lossy();
        let base = command.working_dir.as_deref().unwrap_or(Path::new(""));
        let is_file = |arg: &String| command.config_file.as_ref().is_some_and(|file| base.join(arg) == *file);
        let fill = |arg: &String| if is_file(arg) { path.to_string() } else { arg.replace(CONFIG_PLACEHOLDER, &path) };
        args.iter().map(fill).collect()
    }
}
