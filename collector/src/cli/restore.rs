//! `restore`: the database as it was when a backup was made.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use tokio::time::Instant;

use super::files::{self, Unfinished};
use crate::clock;
use crate::config::PostgresUrl;
use crate::config::{Config, Database};
use crate::store::disk::directory_of;
use crate::store::postgres::PostgresSide;
use crate::store::private;
use crate::store::sqlite::{self, RestoreTarget, SqliteSide};
use crate::store::transfer::{self, Epoch, TransferError};

#[derive(Args)]
#[command(after_help = "\
Stop the collector first. FILE is checked before it is used, and is not changed. Agents continue by themselves and \
send what they have not sent yet. Reports committed after the backup show up as gaps of their nodes, and dashboards \
reload. Tokens are those of the backup: revoke again the tokens that were revoked since, and enrol again the nodes \
that were added since.

On PostgreSQL the target must be an empty database or schema.

Example:
  systemctl stop systole-collector
  systole-collector restore --data-dir /var/lib/systole --force /backup/systole-2026-11-21.db
  systemctl start systole-collector")]
pub(super) struct RestoreArgs {
    /// File that `backup` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a database that holds data; the old one is kept under another name, which is printed
    #[arg(long)]
    force: bool,
}

/// Restores the backup and prints what happened to the old database.
pub(super) async fn run(args: RestoreArgs, config: &Config) -> anyhow::Result<()> {
    tokio::select! {
        done = restore(&args, config) => done,
        () = files::interrupted() => bail!("interrupted; the restore is incomplete"),
    }
}

async fn restore(args: &RestoreArgs, config: &Config) -> anyhow::Result<()> {
    let begin = Instant::now();
    let metadata = args.file.metadata().with_context(|| format!("cannot read {}", args.file.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file", args.file.display());
    }
    sqlite::look_at(&args.file)?;
    let aside = match &config.database {
        Database::Sqlite(path) => into_file(args, path, metadata.len()).await?,
        Database::Postgres(url) => {
            into_server(args, url, &config.data_dir, metadata.len()).await?;
            None
        }
    };
    if let Some(aside) = aside {
        writeln!(stdout(), "the database as it was before is {}", aside.display())?;
    }
    let (file, size, seconds) = (args.file.display(), HumanBytes(metadata.len()), begin.elapsed().as_secs_f64());
    writeln!(stdout(), "{} restored from {file}, {size} in {seconds:.1} s", config.database)?;
    Ok(())
}

async fn into_file(args: &RestoreArgs, path: &Path, bytes: u64) -> anyhow::Result<Option<PathBuf>> {
    if files::is_same(&args.file, path) {
        bail!("{} is the database itself", args.file.display());
    }
    let directory = directory_of(path);
    private::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let target = RestoreTarget::take(path)?;
    if !args.force {
        target.refuse_data()?;
    }
    let copy = checked_copy(&args.file, path, bytes).await?;
    sqlite::renew_epoch(copy.path())?;
    let time = clock::to_rfc3339(clock::now_ms()).replace(':', "-");
    Ok(target.replace(copy.file, &time)?)
}

/// By way of a copy, because a backup of an earlier version is brought to this one.
async fn into_server(args: &RestoreArgs, url: &PostgresUrl, data_dir: &Path, bytes: u64) -> anyhow::Result<()> {
    if args.force {
        bail!("--force works only with SQLite; on PostgreSQL create a new database or schema and restore into it");
    }
    let mut target = PostgresSide::open(url).await?;
    private::create_dir(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    let copy = checked_copy(&args.file, &data_dir.join("restore"), bytes).await?;
    let mut source = SqliteSide::open_alone(copy.path())?;
    let bar = files::bar_of_rows()?;
    let copied = transfer::copy(&mut source, &mut target, Epoch::Renewed, |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.copied);
    })
    .await;
    bar.finish_and_clear();
    let copied = copied.map_err(|error| match error {
        TransferError::NotEmpty => {
            anyhow::anyhow!("the database {url} holds data; restore into an empty database or schema")
        }
        error => error.into(),
    });
    source.finish()?;
    copied.map(drop)
}

/// A copy of a backup beside `place`, found to be whole and brought to this version.
async fn checked_copy(backup: &Path, place: &Path, bytes: u64) -> anyhow::Result<Unfinished> {
    files::ensure_room(directory_of(place), bytes)?;
    let copy = Unfinished::beside(place)?;
    let (from, into) = (backup.to_owned(), copy.path().to_owned());
    let work = tokio::task::spawn_blocking({
        let (from, into) = (from.clone(), into.clone());
        // The contents only: the mode stays 0600.
        move || {
            let mut from = std::fs::File::open(&from).with_context(|| format!("cannot read {}", from.display()))?;
            let mut file = std::fs::File::options().write(true).open(&into).context("cannot open the copy")?;
            std::io::copy(&mut from, &mut file).with_context(|| format!("cannot copy to {}", into.display()))
        }
    });
    files::watch(work, copy.path(), bytes).await?;
    let spinner = ProgressBar::new_spinner().with_message("checking every page");
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let checked = tokio::task::spawn_blocking(move || sqlite::check_and_migrate(&into, &from)).await;
    spinner.finish_and_clear();
    checked.context("the check of the backup ended unexpectedly")??;
    Ok(copy)
}
