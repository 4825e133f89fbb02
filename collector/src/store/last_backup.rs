//! The file in the data directory that says when the last backup was complete. Metrics and `doctor` read it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::private;

const FILE: &str = "last-backup.json";

/// A backup that was written and verified.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastBackup {
    pub finished_at: UnixMillis,
    pub file: PathBuf,
    pub bytes: u64,
}

/// The last one, if there is one and the file can be read.
pub(crate) fn read(data_dir: &Path) -> Option<LastBackup> {
    serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
}

/// Remembers a backup, in a directory that exists. Root writes the file for its owner.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn write(data_dir: &Path, backup: &LastBackup) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let unfinished = path.with_extension("tmp");
    let mut file = private::open(OpenOptions::new().write(true).truncate(true), &unfinished)?;
    file.write_all(&serde_json::to_vec(backup)?)?;
    let (owner, own) = (data_dir.metadata()?, file.metadata()?);
    if owner.uid() != own.uid() {
        chown(&unfinished, Some(owner.uid()), Some(owner.gid()))?;
    }
    std::fs::rename(&unfinished, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_backup_reads_back_for_the_owner_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let backup = LastBackup { finished_at: 7, file: "/backup/a.db".into(), bytes: 9 };
        write(dir.path(), &backup).unwrap();
        assert_eq!(read(dir.path()), Some(backup.clone()));
        // Only root can give a file away.
        if nix::unistd::geteuid().is_root() {
            chown(dir.path(), Some(12_345), Some(12_345)).unwrap();
            write(dir.path(), &backup).unwrap();
            assert_eq!(dir.path().join(FILE).metadata().unwrap().uid(), 12_345);
        }
    }
}
