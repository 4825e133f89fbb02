//! A SQLite database as one side of a copy.

use std::path::Path;

use async_trait::async_trait;
use diesel::prelude::*;

use super::backend::ready;
use super::copy::{self, bound};
use super::{backup, open, read};
use crate::store::transfer::{Bound, Kind, Row, Side, Table, TransferStep};
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
        ready(read::feed_position(&mut self.connection))
    }
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    table: &Table,
    mut rows: Vec<Row>,
) -> Result<(), StoreError> {
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
        ready(copy::query(&mut self.connection, query))
    }

    async fn write(&mut self, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError> {
        self.connection.immediate_transaction(|connection| ready(copy::write(connection, steps)))
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>, StoreError> {
        let sql = "SELECT name, type FROM pragma_table_info($1)";
        let types = [("INTEGER", Kind::Int), ("REAL", Kind::Float), ("BLOB", Kind::Bytes)];
        ready(copy::columns(&mut self.connection, sql, types, table))
    }

    /// SQLite continues after the highest key by itself.
    async fn adopt_keys(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
