//! Files that commands write: large ones, which take their name only once they are complete.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use crate::disk::{directory_of, space_under};

/// How often somebody who watches is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A file beside `target`, of mode 0600, which goes with the process unless it gets its name.
pub(super) fn unfinished(target: &Path) -> anyhow::Result<NamedTempFile> {
    let mut name = target.file_name().with_context(|| format!("{} is no name of a file", target.display()))?.to_owned();
    name.push(".unfinished-");
    let directory = directory_of(target);
    tempfile::Builder::new()
        .prefix(&name)
        .tempfile_in(directory)
        .with_context(|| format!("cannot write into {}", directory.display()))
}

/// Refuses to begin what the disk of a directory has no room for.
pub(super) fn ensure_room(directory: &Path, needed_bytes: u64) -> anyhow::Result<()> {
    let space = space_under(directory).with_context(|| format!("cannot look at {}", directory.display()))?;
    if space.free_bytes < needed_bytes {
        let (free, needed) = (HumanBytes(space.free_bytes), HumanBytes(needed_bytes));
        bail!("the disk of {} has {free} free, and {needed} are needed", directory.display());
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

#[cfg(unix)]
fn is_same_inode(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    inode(one).is_some_and(|one| Some(one) == inode(other))
}

#[cfg(not(unix))]
fn is_same_inode(_: &Path, _: &Path) -> bool {
    false
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
    result.context("the work did not end by itself")?
}
