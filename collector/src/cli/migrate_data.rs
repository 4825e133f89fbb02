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
    /// Database to copy, like sqlite:///var/lib/systole/collector.db; no collector may run on it
    #[arg(long, value_name = "URL")]
    from: String,
    /// Empty database to copy into, like postgres://user@host/database, or one in which a copy was cut off
    #[arg(long, value_name = "URL")]
    to: String,
}

/// Copies, compares, and says how many rows there are.
pub(super) async fn run(args: MigrateDataArgs) -> anyhow::Result<()> {
    let read = |flag, url| parse_database(url).map_err(|fault| anyhow::anyhow!("{flag}: the address {fault}"));
    let (from, to) = (read("--from", &args.from)?, read("--to", &args.to)?);
    if let Database::Sqlite(path) = &from
        && !path.exists()
    {
        bail!("--from: there is no {}", path.display());
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
    writeln!(stdout(), "{rows} rows; counts and sums of all tables are equal in {from} and {to}")?;
    Ok(())
}

async fn open(database: &Database) -> anyhow::Result<Box<dyn Side>> {
    Ok(match database {
        Database::Sqlite(path) => Box::new(SqliteSide::open(path)?),
        Database::Postgres(url) => Box::new(PostgresSide::open(url).await?),
    })
}
