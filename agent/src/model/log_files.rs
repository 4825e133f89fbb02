//! How the log files of a pipeline are followed, and which files are never followed.

use std::path::{Path, PathBuf};

/// Whether symbolic links are followed below the fixed part of a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are not.
    #[default]
    Refused,
    /// They are.
    Followed,
}

/// Where the agent's own files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnFiles {
    /// All files below it are the agent's own.
    pub(crate) data_dir: PathBuf,
    /// Files elsewhere.
    pub(crate) files: Vec<PathBuf>,
}

impl OwnFiles {
    /// All files in `data_dir`, and these.
    pub(crate) fn new(data_dir: PathBuf, files: Vec<PathBuf>) -> Self {
        OwnFiles { data_dir, files }
    }

    /// The same with `file` in the place of `replaced`.
    pub(crate) fn with_other(&self, replaced: &Path, file: &Path) -> Self {
        let other = |own: &PathBuf| if own == replaced { file.to_owned() } else { own.clone() };
        OwnFiles { data_dir: self.data_dir.clone(), files: self.files.iter().map(other).collect() }
    }
}
