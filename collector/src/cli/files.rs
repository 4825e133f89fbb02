//! Files that commands write: large ones, which take their name only once they are complete.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::store::disk::{directory_of, space_under};

/// How often the progress is shown.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Endings of the files that SQLite creates beside a file while it works on it.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// A file on its way to its name, of mode 0600. It goes with the process unless it gets there.
pub(super) struct Unfinished {
    pub file: NamedTempFile,
    /// Dropped after the file's own removal.
    _beside: Beside,
}

/// Files to remove in any case.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        for ending in BESIDE {
            let _ = std::fs::remove_file(with_ending(&self.0, ending));
        }
    }
}

impl Unfinished {
    /// An empty file beside `target`.
    pub(super) fn beside(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().with_context(|| format!("{} is not a file name", target.display()))?;
        let directory = directory_of(target);
        let file = tempfile::Builder::new()
            .prefix(&with_ending(Path::new(name), ".unfinished-"))
            .tempfile_in(directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        Ok(Unfinished { _beside: Beside(file.path().to_owned()), file })
    }

    /// Its temporary path.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

/// A path with more at its end.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Waits for a signal to end the command. The unfinished file is then removed.
pub(super) async fn interrupted() {
    let [Ok(mut terminate), Ok(mut interrupt)] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Refuses to begin what the disk of a directory has no room for.
pub(super) fn ensure_room(directory: &Path, needed_bytes: u64) -> anyhow::Result<()> {
    let space =
        space_under(directory).with_context(|| format!("cannot read the free space of {}", directory.display()))?;
    if space.free_bytes < needed_bytes {
        let (free, needed) = (HumanBytes(space.free_bytes), HumanBytes(needed_bytes));
        bail!("not enough space on the disk of {}: {free} free, {needed} needed", directory.display());
    }
    Ok(())
}

/// Whether two paths name one file, which one of them may not have yet.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| -> Option<PathBuf> {
        path.canonicalize().ok().or_else(|| Some(directory_of(path).canonicalize().ok()?.join(path.file_name()?)))
    };
    whole(one).is_some_and(|one| Some(one) == whole(other)) || is_same_inode(one, other)
}

fn is_same_inode(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    inode(one).is_some_and(|one| Some(one) == inode(other))
}

/// A bar over bytes.
pub(super) fn bar_of_bytes(total: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(total);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
    )?);
    Ok(bar)
}

/// A bar over rows.
pub(super) fn bar_of_rows() -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {human_pos} of {human_len} rows  {per_sec}  {eta} left",
    )?);
    Ok(bar)
}

/// Waits for work on a thread of its own that fills a file, and shows how far that is.
pub(super) async fn watch<T>(mut work: JoinHandle<anyhow::Result<T>>, file: &Path, total: u64) -> anyhow::Result<T> {
    let bar = bar_of_bytes(total)?;
    let mut ticks = tokio::time::interval(TELL_EVERY);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => bar.set_position(file.metadata().map_or(0, |metadata| metadata.len())),
        }
    };
    bar.finish_and_clear();
    result.context("the work ended unexpectedly")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::beside(&dir.path().join("backup.db")).unwrap();
        std::fs::write(with_ending(unfinished.path(), "-journal"), "x").unwrap();
        drop(unfinished);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
