//! `backup`: everything in one file, while the collector runs.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::HumanBytes;
use tokio::time::Instant;

use super::files::{self, Unfinished};
use super::no_database;
use crate::config::PostgresUrl;
use crate::config::{Config, Database};
use crate::store::disk::directory_of;
use crate::store::postgres::PostgresSide;
use crate::store::sqlite::{SqliteBackup, SqliteSide};
use crate::store::transfer::{self, Epoch};

/// Endings of the files of a database.
const OWN_ENDINGS: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

#[derive(Args)]
#[command(after_help = "\
The file is one SQLite database with the whole state at one moment, also when the collector uses PostgreSQL. \
It holds log lines and the hashes of tokens, so only its owner can read it. Agents keep what the collector \
has not committed, so they need no backup.

Examples:
  systole-collector backup --data-dir /var/lib/systole /backup/systole-$(date +%F).db
  systole-collector restore --data-dir /var/lib/systole /backup/systole-2026-11-21.db")]
pub(super) struct BackupArgs {
    /// File to write; an existing file is refused
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace an existing FILE once the new one is complete
    #[arg(long)]
    force: bool,
}

/// Writes the file and prints its size. Nothing is left when it fails or is interrupted.
pub(super) async fn run(args: BackupArgs, config: &Config) -> anyhow::Result<()> {
    if let Some(fault) = no_database::explain(config) {
        bail!(fault);
    }
    tokio::select! {
        done = write(&args, &config.database) => done,
        () = files::interrupted() => bail!("interrupted; nothing was written"),
    }
}

async fn write(args: &BackupArgs, database: &Database) -> anyhow::Result<()> {
    let begin = Instant::now();
    refuse_target(args, database)?;
    let (copy, head) = match database {
        Database::Sqlite(path) => copy_file(path, &args.file).await?,
        Database::Postgres(url) => copy_server(url, &args.file).await?,
    };
    let failed = || format!("cannot write {}", args.file.display());
    copy.file.as_file().sync_all().with_context(failed)?;
    let bytes = copy.file.as_file().metadata().with_context(failed)?.len();
    // One that has come in the meantime is left alone, too.
    let named = if args.force { copy.file.persist(&args.file) } else { copy.file.persist_noclobber(&args.file) };
    named.map_err(|error| error.error).with_context(failed)?;
    std::fs::File::open(directory_of(&args.file)).and_then(|directory| directory.sync_all()).with_context(failed)?;
    let (file, size, seconds) = (args.file.display(), HumanBytes(bytes), begin.elapsed().as_secs_f64());
    writeln!(stdout(), "{file}: {size} in {seconds:.1} s, everything of {database} up to event {head}")?;
    Ok(())
}

fn refuse_target(args: &BackupArgs, database: &Database) -> anyhow::Result<()> {
    if let Database::Sqlite(path) = database {
        let own = |ending: &&str| files::is_same(&args.file, &files::with_ending(path, ending));
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
