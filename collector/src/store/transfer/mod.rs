//! Copying everything from one database into another, of either kind.
//!
//! Rows travel as cells of three types, page by page in the order of their keys, and the target stores its
//! progress with each page: an interrupted copy continues there. Afterwards both sides count and sum every
//! table. What the two kinds do not have in common is behind [`Side`]; the SQL here is of both.
//!
//! Every other command refuses an unfinished copy. A finished one is only compared when the command runs
//! again. The target must be empty; even a token is too much.

mod cells;
mod sums;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub(crate) use self::cells::{AnyRow, Cell, Row};
use super::{StoreError, new_epoch};

/// The tables, those first that others refer to, with their keys. `meta` goes along at the beginning.
pub(super) const TABLES: [(&str, &[&str]); 39] = [
    ("environments", &["id"]),
    ("nodes", &["id"]),
    // A session's parent is older, and so are the first digits of its id.
    ("tokens", &["uuid"]),
    ("node_boots", &["node", "boot"]),
    ("node_totals", &["node"]),
    ("node_gaps", &["node", "boot", "from_seq"]),
    ("pipelines", &["id"]),
    ("series", &["id"]),
    ("pipeline_status", &["node", "pipeline"]),
    ("pipeline_minutes", &["minute", "series"]),
    ("component_minutes", &["minute", "series"]),
    ("node_minutes", &["minute", "node"]),
    ("pipeline_hours", &["hour", "series"]),
    ("component_hours", &["hour", "series"]),
    ("node_hours", &["hour", "node"]),
    ("pipeline_days", &["day", "series"]),
    ("component_days", &["day", "series"]),
    ("node_days", &["day", "node"]),
    ("dirty_hours", &["hour", "node"]),
    ("dirty_days", &["day", "node"]),
    ("logs", &["seq"]),
    ("events", &["seq"]),
    ("journal", &["id"]),
    ("definitions", &["id"]),
    ("definition_versions", &["definition", "version"]),
    ("rollouts", &["id"]),
    ("rollout_nodes", &["rollout", "node"]),
    ("assignments", &["node", "definition"]),
    ("deployments", &["node", "slug"]),
    ("topologies", &["pipeline", "checksum"]),
    ("secrets", &["environment", "name", "revision"]),
    ("audit", &["id"]),
    ("removed_nodes", &["id"]),
    ("removed_series", &["id"]),
    ("alert_states", &["id"]),
    ("alert_groups", &["id"]),
    ("alert_outbox", &["id"]),
    ("alert_targets", &["target"]),
    ("silences", &["id"]),
];

/// Says how far a copy into the database is, and exists only as long as one is not complete.
pub(super) const PROGRESS: &str = "transfer_progress";

/// Rows that are read and written at once.
const PAGE_ROWS: usize = 2_000;

/// The same of tables with bytes, whose rows are large.
const PAGE_LARGE_ROWS: usize = 50;

/// Columns of `meta` that are copied.
const META: &str = "epoch, head_seq, oldest_log, oldest_event, access_version, oldest_hour, oldest_day, \
    folds, fold_to, fold_minute, fold_node";

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
    Text,
    Bytes,
}

/// A table as both databases have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub name: &'static str,
    pub key: &'static [&'static str],
    pub columns: Vec<(String, Kind)>,
}

/// A statement with its values.
pub(crate) type Bound = (String, Vec<Cell>);

/// Part of what is written at once.
pub(crate) enum TransferStep<'a> {
    Insert(&'a Table, Vec<Row>),
    Run(Bound),
}

/// One side of a copy: a database of this version that no collector serves from.
#[async_trait]
pub(crate) trait Side: Send {
    /// The rows that a query gives.
    async fn query(&mut self, query: Bound) -> Result<Vec<Row>, StoreError>;
    /// Takes steps in one transaction.
    async fn write(&mut self, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError>;
    /// Names and kinds of a table's columns; none for a table that does not exist.
    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>, StoreError>;
    /// Lets the database give out keys behind those that were copied.
    async fn adopt_keys(&mut self) -> Result<(), StoreError>;
}

/// The feed's epoch after the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// The copy replaces the source: ids of the feed continue.
    Kept,
    /// The copy is older than the state of its readers: they reload.
    Renewed,
}

/// Why a copy was not made, or is not right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// One of the databases failed.
    #[error("cannot {0}")]
    Store(&'static str, #[source] StoreError),
    /// The target holds other data.
    #[error("the target holds the data of another collector; use an empty database")]
    NotEmpty,
    /// The tables differ, which no two databases of one version do.
    #[error("the table {0} has other columns in the target")]
    OtherColumns(&'static str),
    /// The comparison at the end.
    #[error("the databases differ: {}", .0.join("; "))]
    Differ(Vec<String>),
}

/// The progress of a copy, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub copied: u64,
    pub total: u64,
}

fn reading(error: StoreError) -> TransferError {
    TransferError::Store("read the source", error)
}

fn writing(error: StoreError) -> TransferError {
    TransferError::Store("write the target", error)
}

/// Copies the missing rows, compares, and returns the number of rows. `on_progress` is called for every page.
///
/// # Errors
///
/// When a side fails, the target is not empty, or the sides differ afterwards.
pub(crate) async fn copy(
    source: &mut dyn Side,
    target: &mut dyn Side,
    epoch: Epoch,
    mut on_progress: impl FnMut(Progress),
) -> Result<u64, TransferError> {
    let tables = tables(source, target).await?;
    let begun = begin(source, target, &tables).await?;
    // The very database of which this is a backup.
    if begun == Begun::Complete && epoch == Epoch::Renewed {
        return Err(TransferError::NotEmpty);
    }
    if begun == Begun::Copying {
        let mut progress = Progress::default();
        for table in &tables {
            progress.total += count(source, table).await.map_err(reading)?;
            progress.copied += count(target, table).await.map_err(writing)?;
        }
        on_progress(progress);
        for table in &tables {
            copy_table(source, target, table, &mut |rows| {
                progress.copied += rows;
                on_progress(progress);
            })
            .await?;
        }
        target.adopt_keys().await.map_err(writing)?;
    }
    let rows = sums::compare(source, target, &tables).await?;
    // Only what is right can be served from.
    let mut end = vec![TransferStep::Run((format!("DROP TABLE IF EXISTS {PROGRESS}"), Vec::new()))];
    if epoch == Epoch::Renewed {
        let renew = "UPDATE meta SET epoch = $1 WHERE id = 1".to_owned();
        end.push(TransferStep::Run((renew, vec![Cell::Text(new_epoch())])));
    }
    target.write(end).await.map_err(writing)?;
    Ok(rows)
}

async fn tables(source: &mut dyn Side, target: &mut dyn Side) -> Result<Vec<Table>, TransferError> {
    let mut tables = Vec::new();
    for (name, key) in TABLES {
        let columns = source.columns(name).await.map_err(reading)?;
        let mut there = target.columns(name).await.map_err(writing)?;
        let mut here = columns.clone();
        here.sort_by(|a, b| a.0.cmp(&b.0));
        there.sort_by(|a, b| a.0.cmp(&b.0));
        if here != there {
            return Err(TransferError::OtherColumns(name));
        }
        tables.push(Table { name, key, columns });
    }
    Ok(tables)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Copying,
    /// It was copied before.
    Complete,
}

/// Makes an empty target one of the source's epoch, and looks at what any other one is.
async fn begin(source: &mut dyn Side, target: &mut dyn Side, tables: &[Table]) -> Result<Begun, TransferError> {
    let meta = || (format!("SELECT {META} FROM meta WHERE id = 1"), Vec::new());
    let of_source = source.query(meta()).await.map_err(reading)?.remove(0);
    let of_target = target.query(meta()).await.map_err(writing)?.remove(0);
    let is_begun = !target.columns(PROGRESS).await.map_err(writing)?.is_empty();
    match (of_source[0] == of_target[0], is_begun) {
        (true, true) => return Ok(Begun::Copying),
        (true, false) => return Ok(Begun::Complete),
        (false, true) => return Err(TransferError::NotEmpty),
        (false, false) => {}
    }
    let used = "SELECT (SELECT count(*) FROM nodes) + (SELECT count(*) FROM tokens) + (SELECT count(*) FROM pipelines) \
        + (SELECT count(*) FROM environments) - 1 + (SELECT head_seq FROM meta WHERE id = 1)";
    if target.query((used.to_owned(), Vec::new())).await.map_err(writing)?[0][0] != Cell::Int(0) {
        return Err(TransferError::NotEmpty);
    }
    let set = "UPDATE meta SET epoch = $1, head_seq = $2, oldest_log = $3, oldest_event = $4, access_version = $5, \
        oldest_hour = $6, oldest_day = $7, folds = $8, fold_to = $9, fold_minute = $10, fold_node = $11";
    let make = format!("CREATE TABLE {PROGRESS} (table_name TEXT NOT NULL PRIMARY KEY, last_key TEXT NOT NULL)");
    // Environments at once: a database without any makes one when it is opened.
    let table = &tables[0];
    let environments = source.query(page(table, None)).await.map_err(reading)?;
    let mut steps = vec![
        TransferStep::Run((make, Vec::new())),
        TransferStep::Run(("DELETE FROM environments".to_owned(), Vec::new())),
    ];
    steps.extend(with_progress(table, environments));
    steps.push(TransferStep::Run((set.to_owned(), of_source)));
    target.write(steps).await.map_err(writing)?;
    Ok(Begun::Copying)
}

async fn count(side: &mut dyn Side, table: &Table) -> Result<u64, StoreError> {
    let rows = side.query((format!("SELECT count(*) FROM {}", table.name), Vec::new())).await?;
    Ok(rows[0][0].as_int().unsigned_abs())
}

async fn copy_table(
    source: &mut dyn Side,
    target: &mut dyn Side,
    table: &Table,
    on_rows: &mut dyn FnMut(u64),
) -> Result<(), TransferError> {
    let known = (format!("SELECT last_key FROM {PROGRESS} WHERE table_name = '{}'", table.name), Vec::new());
    let known = target.query(known).await.map_err(writing)?;
    let mut after: Option<Row> = known.first().map(|row| Cell::read_key(row[0].as_text()));
    loop {
        let rows = source.query(page(table, after.take())).await.map_err(reading)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(key_of(table, last));
        let read = rows.len();
        target.write(with_progress(table, rows).into()).await.map_err(writing)?;
        on_rows(read as u64);
    }
}

fn key_of(table: &Table, row: &Row) -> Row {
    let position = |key: &&str| table.columns.iter().position(|(name, _)| name == key).expect("a key is a column");
    table.key.iter().map(|key| row[position(key)].clone()).collect()
}

/// Rows, at least one, and that the copy has come so far.
fn with_progress(table: &Table, rows: Vec<Row>) -> [TransferStep<'_>; 2] {
    let key = rows.last().map(|row| key_of(table, row)).unwrap_or_default();
    let remember = format!(
        "INSERT INTO {PROGRESS} (table_name, last_key) VALUES ('{}', $1) \
         ON CONFLICT (table_name) DO UPDATE SET last_key = excluded.last_key",
        table.name
    );
    [TransferStep::Insert(table, rows), TransferStep::Run((remember, vec![Cell::Text(Cell::write_key(&key))]))]
}

/// The rows behind a key.
fn page(table: &Table, after: Option<Row>) -> Bound {
    let columns: Vec<_> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let (columns, key, name) = (columns.join(", "), table.key.join(", "), table.name);
    let behind = after.as_ref().map_or_else(String::new, |after| {
        let values: Vec<_> = (1..=after.len()).map(|number| format!("${number}")).collect();
        format!("WHERE ({key}) > ({})", values.join(", "))
    });
    let is_large = table.columns.iter().any(|(_, kind)| *kind == Kind::Bytes);
    let rows = if is_large { PAGE_LARGE_ROWS } else { PAGE_ROWS };
    let sql = format!("SELECT {columns} FROM {name} {behind} ORDER BY {key} LIMIT {rows}");
    (sql, after.unwrap_or_default())
}
