//! A SQLite database as one side of a copy.

use std::path::Path;

use async_trait::async_trait;
use diesel::prelude::*;
use diesel::query_builder::BoxedSqlQuery;
use diesel::query_builder::SqlQuery;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::{access, backup, open};
use crate::store::transfer::{AnyRow, Bound, Cell, Kind, Row, Side, Table, TransferStep};
use crate::store::{FeedPosition, StoreError};

/// Rows in one statement: SQLite takes 32,766 values.
const STATEMENT_ROWS: usize = 500;

/// A connection, and the lock that keeps collectors away. The calls block: a copy has nothing else
/// to do.
pub(crate) struct SqliteSide {
    connection: SqliteConnection,
    _lock: Option<std::fs::File>,
}

impl SqliteSide {
    /// Opens the file, makes it if needed, and brings it to this version.
    ///
    /// # Errors
    ///
    /// When the database cannot be opened, or is of another version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = open::lock(path)?;
        Ok(SqliteSide { connection: open::writer(path)?, _lock: Some(lock) })
    }

    /// Opens a file that no other process knows.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or another program has it open.
    pub(crate) fn open_alone(path: &Path) -> Result<Self, StoreError> {
        Ok(SqliteSide { connection: open::writer(path)?, _lock: None })
    }

    /// Leaves a single file that can be moved, and returns the position of its feed.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn finish(mut self) -> Result<FeedPosition, StoreError> {
        backup::make_single(&mut self.connection)?;
        access::feed_position(&mut self.connection)
    }
}

fn bound((sql, values): Bound) -> BoxedSqlQuery<'static, Sqlite, SqlQuery> {
    values.into_iter().fold(sql_query(sql).into_boxed(), |query, value| match value {
        Cell::Null => query.bind::<Nullable<Text>, _>(None::<String>),
        Cell::Int(value) => query.bind::<BigInt, _>(value),
        Cell::Float(value) => query.bind::<Double, _>(value),
        Cell::Text(value) => query.bind::<Text, _>(value),
        Cell::Bytes(value) => query.bind::<Binary, _>(value),
    })
}

fn insert(connection: &mut SqliteConnection, table: &Table, mut rows: Vec<Row>) -> QueryResult<()> {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let values = format!("({})", vec!["?"; names.len()].join(", "));
    while !rows.is_empty() {
        let now: Vec<Row> = rows.drain(..rows.len().min(STATEMENT_ROWS)).collect();
        let all = vec![values.as_str(); now.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES {all}", table.name, names.join(", "));
        bound((sql, now.into_iter().flatten().collect())).execute(connection)?;
    }
    Ok(())
}

#[async_trait]
impl Side for SqliteSide {
    async fn query(&mut self, query: Bound) -> Result<Vec<Row>, StoreError> {
        let rows: Vec<AnyRow> = bound(query).load(&mut self.connection)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn write(&mut self, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError> {
        self.connection.immediate_transaction(|connection| {
            for step in steps {
                match step {
                    TransferStep::Insert(table, rows) => insert(connection, table, rows)?,
                    TransferStep::Run(statement) => {
                        bound(statement).execute(connection)?;
                    }
                }
            }
            Ok(())
        })
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>, StoreError> {
        let sql = "SELECT name, type FROM pragma_table_info($1)".to_owned();
        let rows = self.query((sql, vec![Cell::Text(table.to_owned())])).await?;
        let kind = |name: &str| match name {
            "INTEGER" => Kind::Int,
            "REAL" => Kind::Float,
            "BLOB" => Kind::Bytes,
            _ => Kind::Text,
        };
        Ok(rows.iter().map(|row| (row[0].as_text().to_owned(), kind(row[1].as_text()))).collect())
    }

    /// SQLite continues after the highest key by itself.
    async fn adopt_keys(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
