//! The sizes of the file and its tables.
//!
//! The sizes come from `dbstat`, tree by tree on a connection of their own. The pause between two trees
//! is 50 times as long as the read took: a long read keeps the write-ahead log from starting over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use tokio::sync::oneshot;

use super::open;
use crate::store::{FileSize, StoreError, TableSize};

#[derive(QueryableByName)]
struct Bytes {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = BigInt)]
    free_bytes: i64,
}

pub(super) fn file_size(connection: &mut SqliteConnection, path: &Path) -> Result<FileSize, StoreError> {
    let pages: Bytes = sql_query(
        "SELECT page_count * page_size AS bytes, freelist_count * page_size AS free_bytes \
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .get_result(connection)?;
    let on_disk = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    Ok(FileSize {
        file_bytes: on_disk(path),
        wal_bytes: on_disk(&open::with_ending(path, "-wal")),
        database_bytes: pages.bytes.unsigned_abs(),
        reusable_bytes: pages.free_bytes.unsigned_abs(),
    })
}

#[derive(QueryableByName)]
struct Tree {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    tbl_name: String,
}

#[derive(QueryableByName)]
struct TreeBytes {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// Counts every table's pages, on its own connection and thread. It ends soon after its result is no longer needed.
pub(super) async fn measure(path: PathBuf) -> Result<Vec<TableSize>, StoreError> {
    let (answer, receiver) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let sizes = table_sizes(&path, || answer.is_closed());
        let _ = answer.send(sizes);
    });
    receiver.await.map_err(|_| StoreError::Closed)?
}

/// `dbstat` reads every page that it counts. One tree at a time: as long as something is read, the
/// write-ahead log cannot restart.
fn table_sizes(path: &Path, is_given_up: impl Fn() -> bool) -> Result<Vec<TableSize>, StoreError> {
    let mut connection = open::connect(path, "PRAGMA query_only = ON;")?;
    let trees = "SELECT 'sqlite_schema' AS name, 'sqlite_schema' AS tbl_name UNION ALL \
        SELECT name, tbl_name FROM sqlite_schema WHERE rootpage > 0";
    let trees: Vec<Tree> = sql_query(trees).load(&mut connection)?;
    let mut tables = BTreeMap::<String, u64>::new();
    for tree in trees {
        if is_given_up() {
            return Err(StoreError::Closed);
        }
        let bytes: TreeBytes =
            sql_query("SELECT coalesce(sum(pgsize), 0) AS bytes FROM dbstat WHERE name = ? AND aggregate = TRUE")
                .bind::<Text, _>(tree.name)
                .get_result(&mut connection)?;
        *tables.entry(tree.tbl_name).or_default() += bytes.bytes.unsigned_abs();
    }
    Ok(tables.into_iter().map(|(table, bytes)| TableSize { table, bytes }).collect())
}
