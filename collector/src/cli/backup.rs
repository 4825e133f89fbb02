//! `backup`: everything in one file, while the collector runs; `backup verify` checks one.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use tokio::time::Instant;

use super::files::{self, Unfinished};
use super::no_database;
use crate::clock;
use crate::config::PostgresUrl;
use crate::config::{Config, Database};
use crate::store::disk::directory_of;
use crate::store::last_backup::{self, LastBackup};
use crate::store::postgres::PostgresSide;
use crate::store::private;
use crate::store::sqlite::{self, SqliteBackup, SqliteSide};
use crate::store::transfer::{self, Epoch};

/// Endings of the files of a database.
const OWN_ENDINGS: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

/// What the names of backups of `--into` begin and end with; the time is between.
const NAME: (&str, &str) = ("systole-", ".db");

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
The file is one SQLite database with the whole state at one moment, also when the collector uses PostgreSQL. \
It holds log lines and the hashes of tokens, so only its owner can read it. Agents keep what the collector \
has not committed, so they need no backup.

Examples:
  systole-collector backup --data-dir /var/lib/systole /backup/systole-$(date +%F).db
  systole-collector backup --data-dir /var/lib/systole --into /backup --keep 14     # from a timer
  systole-collector backup verify /backup/systole-2026-11-21.db
  systole-collector restore --data-dir /var/lib/systole /backup/systole-2026-11-21.db"
)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// File to write; an existing file is refused
    #[arg(value_name = "FILE", required_unless_present = "into")]
    file: Option<PathBuf>,
    /// Replace an existing FILE once the new one is complete
    #[arg(long)]
    force: bool,
    /// Write a file with the time in its name into this directory, verify it, and remove the oldest ones
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "force"])]
    into: Option<PathBuf>,
    /// Number of backups that stay in the directory of --into
    #[arg(long, value_name = "N", requires = "into", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Check a backup as `restore` does: its pages, its kind and its version
    Verify {
        /// File that `backup` has written
        file: PathBuf,
    },
}

/// A file to write.
struct Target<'a> {
    file: &'a Path,
    force: bool,
}

/// Writes the file and prints its size. Nothing is left when it fails or is interrupted.
pub(super) async fn run(args: BackupArgs, config: &Config) -> anyhow::Result<()> {
    if let Some(BackupCommand::Verify { file }) = args.command {
        return verify(file).await;
    }
    if let Some(fault) = no_database::explain(config) {
        bail!(fault);
    }
    tokio::select! {
        done = back_up(&args, config) => done,
        () = files::interrupted() => bail!("interrupted; nothing was written"),
    }
}

async fn back_up(args: &BackupArgs, config: &Config) -> anyhow::Result<()> {
    let named = args.into.as_ref().map(|dir| {
        let time = clock::to_rfc3339(clock::now_ms()).replace(':', "-");
        dir.join(format!("{}{time}{}", NAME.0, NAME.1))
    });
    let Some(file) = named.as_ref().or(args.file.as_ref()) else { bail!("name a FILE, or a directory with --into") };
    if let Some(dir) = &args.into {
        private::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let bytes = write(&Target { file, force: args.force }, &config.database).await?;
    if args.into.is_some() {
        verify(file.clone()).await?;
    }
    let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let backup = LastBackup { finished_at: clock::now_ms(), file, bytes };
    // A database elsewhere can be backed up from a host without a data directory.
    if config.data_dir.is_dir()
        && let Err(error) = last_backup::write(&config.data_dir, &backup)
    {
        eprintln!("systole-collector: cannot note the backup in {}: {error}", config.data_dir.display());
    }
    match &args.into {
        Some(dir) => remove_oldest(dir, usize::from(args.keep)),
        None => Ok(()),
    }
}

async fn verify(file: PathBuf) -> anyhow::Result<()> {
    let metadata = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file", file.display());
    }
    let head = tokio::task::spawn_blocking({
        let file = file.clone();
        move || sqlite::verify(&file)
    });
    let head = head.await.context("the check of the backup ended unexpectedly")??;
    writeln!(stdout(), "{}: verified, {} up to event {head}", file.display(), HumanBytes(metadata.len()))?;
    Ok(())
}

/// Removes all but the newest backups of `--into`. Other files stay.
fn remove_oldest(dir: &Path, keep: usize) -> anyhow::Result<()> {
    let failed = || format!("cannot remove old backups from {}", dir.display());
    let entries = std::fs::read_dir(dir).with_context(failed)?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    for name in outdated(names, keep) {
        std::fs::remove_file(dir.join(name)).with_context(failed)?;
    }
    Ok(())
}

/// Times of equal form sort like their texts.
fn outdated(mut names: Vec<String>, keep: usize) -> Vec<String> {
    let is_backup = |name: &str| {
        let time = name.strip_prefix(NAME.0).and_then(|name| name.strip_suffix(NAME.1));
        time.is_some_and(|time| time.len() >= "2026-11-30T15-44-45Z".len() && time.ends_with('Z') && time.contains('T'))
    };
    names.retain(|name| is_backup(name));
    names.sort_unstable();
    names.truncate(names.len().saturating_sub(keep));
    names
}

/// Returns the size of the file.
async fn write(args: &Target<'_>, database: &Database) -> anyhow::Result<u64> {
    let begin = Instant::now();
    refuse_target(args, database)?;
    let (copy, head) = match database {
        Database::Sqlite(path) => copy_file(path, args.file).await?,
        Database::Postgres(url) => copy_server(url, args.file).await?,
    };
    let failed = || format!("cannot write {}", args.file.display());
    copy.file.as_file().sync_all().with_context(failed)?;
    let bytes = copy.file.as_file().metadata().with_context(failed)?.len();
    // One that has come in the meantime is left alone, too.
    let named = if args.force { copy.file.persist(args.file) } else { copy.file.persist_noclobber(args.file) };
    named.map_err(|error| error.error).with_context(failed)?;
    std::fs::File::open(directory_of(args.file)).and_then(|directory| directory.sync_all()).with_context(failed)?;
    let (file, size, seconds) = (args.file.display(), HumanBytes(bytes), begin.elapsed().as_secs_f64());
    writeln!(stdout(), "{file}: {size} in {seconds:.1} s, everything of {database} up to event {head}")?;
    Ok(bytes)
}

fn refuse_target(args: &Target<'_>, database: &Database) -> anyhow::Result<()> {
    if let Database::Sqlite(path) = database {
        let own = |ending: &&str| files::is_same(args.file, &files::with_ending(path, ending));
        if OWN_ENDINGS.iter().any(own) {
            bail!("{} is part of the database itself; name another file", args.file.display());
        }
    }
    if args.file.is_dir() {
        bail!("{} is a directory; name a file in it", args.file.display());
    }
    if !args.force && args.file.symlink_metadata().is_ok() {
        bail!("{} already exists; use --force to replace it", args.file.display());
    }
    Ok(())
}

async fn copy_file(database: &Path, file: &Path) -> anyhow::Result<(Unfinished, u64)> {
    let mut source = SqliteBackup::open(database)?;
    let bytes = source.bytes()?;
    files::ensure_room(directory_of(file), bytes)?;
    let copy = Unfinished::beside(file)?;
    let into = copy.path().to_owned();
    let work = tokio::task::spawn_blocking(move || Ok(source.write(&into)?));
    let position =
        files::watch(work, copy.path(), bytes).await.with_context(|| format!("cannot write {}", file.display()))?;
    Ok((copy, position.head))
}

async fn copy_server(url: &PostgresUrl, file: &Path) -> anyhow::Result<(Unfinished, u64)> {
    let mut source = PostgresSide::snapshot(url).await?;
    let copy = Unfinished::beside(file)?;
    let mut target = SqliteSide::open_alone(copy.path())?;
    let bar = files::bar_of_rows()?;
    transfer::copy(&mut source, &mut target, Epoch::Kept, |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.copied);
    })
    .await?;
    bar.finish_and_clear();
    let position = target.finish()?;
    Ok((copy, position.head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_backups_and_other_files_stay() {
        let names =
            ["systole-2026-11-02T03-17-00Z.db", "systole-2026-10-30T03-17-00Z.db", "systole-2026-11-01T03-17-00Z.db"];
        let others = [
            "systole-before-upgrade.db",
            "notes.txt",
            "systole-2025-01-01.db",
            "systole-2026-11-02T03-17-00Z.db.unfinished-x",
        ];
        let all = || names.iter().chain(&others).map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(outdated(all(), 1), ["systole-2026-10-30T03-17-00Z.db", "systole-2026-11-01T03-17-00Z.db"]);
        assert!(outdated(all(), 3).is_empty());
    }
}
