//! The last configuration file that had no errors, kept in the data directory: a host that starts
//! while its file is invalid runs what it ran before, and logs that.
//!
//! Without such a state, or when the configuration file is missing, the agent exits with 78. `check-config`
//! always exits with 78 for an invalid file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::errors::ConfigErrors;
use super::load::{self, Overrides};
use super::settings::Lookup;
use crate::files;

/// In the data directory; it may hold the enrolment token, as the original does.
const FILE: &str = "agent.toml.valid";

/// Before the path of the original, on the first line: a copy is good for its original only.
const HEAD: &str = "# the last valid state of ";

/// The text of the configuration file. Never shown: it may hold secrets.
#[derive(Clone, Default)]
pub(crate) struct SourceText(pub(super) String);

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceText(…)")
    }
}

impl Config {
    /// Keeps the file as the last valid one.
    pub(crate) fn remember(&self) {
        let Some(file) = self.file.as_ref().filter(|_| self.errors.is_none()) else { return };
        let copy = self.data_dir.join(FILE);
        let text = format!("{}\n{}", head(file), self.text.0);
        if std::fs::read_to_string(&copy).is_ok_and(|kept| kept == text) {
            return;
        }
        let kept = files::make_dir(&self.data_dir).and_then(|()| files::replace(&copy, text.as_bytes()));
        if let Err(error) = kept {
            tracing::warn!(%error, path = %copy.display(), "cannot save the configuration as the last valid one");
        }
    }
}

/// The last valid configuration of the file that has `errors` now, if one was kept.
pub(crate) fn last_known_good(
    flags: &Overrides,
    env: Lookup<'_>,
    errors: ConfigErrors,
) -> Result<Config, ConfigErrors> {
    let Some((original, data_dir)) = load::places(flags, env) else { return Err(errors) };
    let copy = data_dir.join(FILE);
    let is_of_original =
        || std::fs::read_to_string(&copy).ok()?.starts_with(&format!("{}\n", head(&original))).then_some(());
    if is_of_original().is_none() {
        return Err(errors);
    }
    let data_dir = Some(data_dir.display().to_string());
    let flags = Overrides { config: Some(copy.clone()), data_dir, ..flags.clone() };
    match load::load(&flags, env) {
        Ok(mut config) => {
            for pipeline in &mut config.pipelines {
                pipeline.log_files.own = Arc::new(pipeline.log_files.own.with_other(&copy, &original));
            }
            Ok(Config { file: Some(original), errors: Some(errors), ..config })
        }
        Err(_) => Err(errors),
    }
}

fn head(original: &Path) -> String {
    format!("{HEAD}{}", absolute(original).display())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
