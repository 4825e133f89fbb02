//! One agent per data directory: two would damage the spool, and report as one node in turn.
//!
//! A second agent exits with 1, not 78: the first may just be ending, and a later start succeeds.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::files;

const FILE: &str = "lock";

/// How long an agent that was just killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Held while the agent runs. The system releases it at any end of the process.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another agent has it.
    #[error("another agent runs with data_dir {}: stop it, or set another directory for this one", .0.display())]
    Held(PathBuf),
    /// The directory or the file cannot be used, so no other agent uses them either.
    #[error("cannot lock the data directory")]
    Unusable(#[source] io::Error),
}

impl DataDirLock {
    /// The lock for the next program of this process: both have it, and it is released when both have closed it.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The lock that the program before this one has passed on as standard input; none if it is another file.
    pub(crate) fn inherit(data_dir: &Path) -> Option<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let (passed, own) = (file.metadata().ok()?, data_dir.join(FILE).metadata().ok()?);
        ((passed.dev(), passed.ino()) == (own.dev(), own.ino())).then_some(DataDirLock { file })
    }

    /// Takes the lock of a directory, which is made where it is missing. Waits a little for one that
    /// is about to let go.
    pub(crate) async fn take(data_dir: &Path) -> Result<Self, LockError> {
        let begin = Instant::now();
        loop {
            match Self::try_take(data_dir) {
                Err(LockError::Held(_)) if begin.elapsed() < PATIENCE => sleep(TRY_EVERY).await,
                taken => return taken,
            }
        }
    }

    fn try_take(data_dir: &Path) -> Result<Self, LockError> {
        files::make_dir(data_dir).map_err(LockError::Unusable)?;
        let path = data_dir.join(FILE);
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = options.map_err(LockError::Unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock { file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(data_dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(LockError::Unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn data_directory_lock_is_exclusive_until_released() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(dir.path()).await.unwrap();
        assert!(matches!(DataDirLock::take(dir.path()).await, Err(LockError::Held(_))));
        let second = async { DataDirLock::take(dir.path()).await };
        let end_of_first = async {
            sleep(PATIENCE / 2).await;
            drop(first);
        };
        tokio::join!(second, end_of_first).0.unwrap();
    }

    #[tokio::test]
    async fn data_directory_that_cannot_be_created_is_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(DataDirLock::take(&file.join("data")).await, Err(LockError::Unusable(_))));
    }
}
