//! `migrate-data`: everything from one database into another.

use std::io::{Write, stdout};

use anyhow::{Context, bail};
use clap::Args;

use super::files::bar_of_rows;
use crate::config::{Database, parse_database};
use crate::store::postgres::PostgresSide;
use crate::store::sqlite::SqliteSide;
use crate::store::transfer::{self, Epoch, Side};

#[derive(Args)]
pub(super) struct MigrateDataArgs {
    /// Database to copy from, e.g. sqlite:///var/lib/systole/collector.db; stop its collector first
    #[arg(long, value_name = "URL")]
    from: String,
    /// Database to copy into, e.g. postgres://user@host/database: empty, or with an interrupted copy to continue
    #[arg(long, value_name = "URL")]
    to: String,
}

/// Copies and compares the tables, and prints the number of rows.
pub(super) async fn run(args: MigrateDataArgs) -> anyhow::Result<()> {
    let read = |flag, url| parse_database(url).map_err(|fault| anyhow::anyhow!("{flag}: invalid address: {fault}"));
    let (from, to) = (read("--from", &args.from)?, read("--to", &args.to)?);
    if let Database::Sqlite(path) = &from
        && !path.exists()
    {
        bail!("--from: {} does not exist", path.display());
    }
    let mut source = open(&from).await.context("--from")?;
    let mut target = open(&to).await.context("--to")?;
    let bar = bar_of_rows()?;
    let rows = transfer::copy(&mut *source, &mut *target, Epoch::Kept, |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.copied);
    })
    .await?;
    bar.finish_and_clear();
    writeln!(stdout(), "copied {rows} rows; counts and sums of all tables are equal in {from} and {to}")?;
    Ok(())
}

async fn open(database: &Database) -> anyhow::Result<Box<dyn Side>> {
    Ok(match database {
        Database::Sqlite(path) => Box::new(SqliteSide::open(path)?),
        Database::Postgres(url) => Box::new(PostgresSide::open(url).await?),
    })
}
