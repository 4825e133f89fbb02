//! Copies the file while other connections write to it.
//!
//! `VACUUM INTO` reads one state of the database, whatever is committed meanwhile, and writes it
//! without its free pages. SQLite's page-by-page backup would start again with every commit of another
//! process. The write-ahead log only grows while it reads, so the copy must be fast.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

use super::backend::ready;
use super::{open, read};
use crate::store::{FeedPosition, StoreError};

/// A database of which a copy is made. It stays as it is: nothing is migrated.
pub(crate) struct SqliteBackup(SqliteConnection);

#[derive(QueryableByName)]
struct Bytes {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

impl SqliteBackup {
    /// Opens a file that exists.
    ///
    /// # Errors
    ///
    /// When the file is not a database of this version, or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = open::connect(path, "")?;
        open::refuse_incomplete(&mut connection, path)?;
        Ok(SqliteBackup(connection))
    }

    /// Returns the largest possible size of the copy.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub(crate) fn bytes(&mut self) -> Result<u64, StoreError> {
        let row: Bytes = sql_query(
            "SELECT (page_count - freelist_count) * page_size AS bytes \
             FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .get_result(&mut self.0)?;
        Ok(row.bytes.unsigned_abs())
    }

    /// Writes the copy into an empty file. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or the file cannot be written.
    pub(crate) fn write(mut self, into: &Path) -> Result<FeedPosition, StoreError> {
        sql_query("VACUUM INTO ?").bind::<Text, _>(into.display().to_string()).execute(&mut self.0)?;
        let mut copy = open::connect(into, "PRAGMA query_only = ON;")?;
        ready(read::feed_position(&mut copy))
    }
}

#[derive(QueryableByName)]
struct Mode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

/// Merges a database into its one file, so that it can be moved. Fails when another process has it open.
pub(super) fn make_single(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mode: Mode = sql_query("PRAGMA journal_mode = DELETE").get_result(connection)?;
    match mode.journal_mode.as_str() {
        // It may have been one before: then only this notices others.
        "delete" => Ok(connection.batch_execute("BEGIN EXCLUSIVE; COMMIT;")?),
        other => Err(StoreError::Corrupt(format!("the journal mode stays {other}"))),
    }
}
