//! Opening the file: lock, settings, migrations.
//!
//! A lock file beside the database refuses a second `serve`; commands share it. A database of a later
//! version is refused by `serve` and by every command (docs/adr/0006-one-writer-per-database.md).

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel::sqlite::Sqlite;
use diesel::{Connection, RunQueryDsl, SqliteConnection, sql_query};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::clock;
use crate::store::{DEFAULT_ENVIRONMENT, StoreError, new_epoch, private, transfer};

pub(in crate::store) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/sqlite");

/// The name of a file that goes with a database.
pub(super) fn with_ending(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Keeps a second collector off the database: two would hand out the same sequence numbers. The
/// system gives the lock back when the process ends, however it ends.
pub(super) fn lock(database: &Path) -> Result<File, StoreError> {
    let path = with_ending(database, ".lock");
    let failed = |source: std::io::Error| StoreError::Open { url: path.display().to_string(), source: source.into() };
    let file = private::open(OpenOptions::new().truncate(false).write(true), &path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(database.display().to_string())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The connection that writes: brings the file to this version first.
pub(super) fn writer(path: &Path) -> Result<SqliteConnection, StoreError> {
    make_private(path)?;
    let mut connection = connect(
        path,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; \
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;",
    )?;
    bring_up(&mut connection, path)?;
    Ok(connection)
}

/// SQLite gives new files beside a database the mode of the database.
fn make_private(database: &Path) -> Result<(), StoreError> {
    if database.exists() {
        ["", "-wal", "-shm"].iter().for_each(|ending| private::restrict(&with_ending(database, ending)));
        return Ok(());
    }
    let failed =
        |source: std::io::Error| StoreError::Open { url: database.display().to_string(), source: source.into() };
    private::open(OpenOptions::new().write(true), database).map(drop).map_err(failed)
}

/// Brings a database to this version. Messages name `shown`.
pub(super) fn bring_up(connection: &mut SqliteConnection, shown: &Path) -> Result<(), StoreError> {
    // Under the write lock, because a command and a collector may open a new file at once.
    connection.immediate_transaction(|connection| {
        refuse_newer(connection, shown)?;
        connection.run_pending_migrations(MIGRATIONS).map_err(StoreError::Migrate)?;
        ensure_defaults(connection)
    })
}

/// A later version may have changed what this one reads and writes; diesel would ignore it.
pub(super) fn refuse_newer(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let known = MigrationSource::<Sqlite>::migrations(&MIGRATIONS).map_err(StoreError::Migrate)?;
    let applied = connection.applied_migrations().map_err(StoreError::Migrate)?;
    match applied.iter().find(|version| !known.iter().any(|known| known.name().version() == **version)) {
        Some(version) => {
            Err(StoreError::Newer { database: path.display().to_string(), migration: version.to_string() })
        }
        None => Ok(()),
    }
}

/// Checks that a file is a database of this version. Nothing is changed.
///
/// # Errors
///
/// When it is not one, is of another version, or is incomplete.
pub(crate) fn inspect(path: &Path) -> Result<(), StoreError> {
    let mut connection = connect(path, "PRAGMA query_only = ON;")?;
    let failed = |source| StoreError::Open { url: path.display().to_string(), source };
    // A short file without the head of a database reads as an empty one.
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', '__diesel_schema_migrations')";
    let tables: i64 = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(&format!("({tables})")))
        .get_result(&mut connection)
        .map_err(|error| failed(error.into()))?;
    if tables != 2 {
        return Err(failed("it has no tables of systole-collector".into()));
    }
    refuse_newer(&mut connection, path)?;
    let pending = connection.pending_migrations(MIGRATIONS).map_err(StoreError::Migrate)?;
    if let Some(migration) = pending.first() {
        let (database, migration) = (path.display().to_string(), migration.name().to_string());
        return Err(StoreError::Older { database, migration });
    }
    refuse_incomplete(&mut connection, path)
}

/// Refuses a database into which a copy is incomplete.
pub(super) fn refuse_incomplete(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let tables: i64 = diesel::select(
        diesel::dsl::sql::<diesel::sql_types::BigInt>("(SELECT count(*) FROM sqlite_schema WHERE name = ")
            .bind::<diesel::sql_types::Text, _>(transfer::PROGRESS)
            .sql(")"),
    )
    .get_result(connection)?;
    if tables > 0 { Err(StoreError::Incomplete(path.display().to_string())) } else { Ok(()) }
}

/// A read-only connection.
pub(super) fn reader(path: &Path) -> Result<SqliteConnection, StoreError> {
    connect(path, "PRAGMA query_only = ON; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;")
}

/// A connection with settings of its own; the file is made if there is none.
pub(super) fn connect(path: &Path, settings: &str) -> Result<SqliteConnection, StoreError> {
    let url = path.display().to_string();
    let mut connection = SqliteConnection::establish(&url)
        .map_err(|source| StoreError::Open { url: url.clone(), source: source.into() })?;
    // First of all, so that the other settings wait for a busy neighbour too.
    connection
        .batch_execute("PRAGMA busy_timeout = 10000;")
        .and_then(|()| connection.batch_execute(settings))
        .map_err(|source| StoreError::Open { url, source: source.into() })?;
    Ok(connection)
}

/// The epoch of the feed and the default environment, made once with the database.
fn ensure_defaults(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sql_query("INSERT OR IGNORE INTO meta (id, epoch, head_seq, oldest_log, oldest_event, access_version) VALUES (1, ?, 0, 1, 1, 1)")
        .bind::<diesel::sql_types::Text, _>(new_epoch())
        .execute(connection)?;
    sql_query(
        "INSERT INTO environments (uuid, name, created_at) SELECT ?, ?, ? \
         WHERE NOT EXISTS (SELECT 1 FROM environments)",
    )
    .bind::<diesel::sql_types::Text, _>(uuid::Uuid::now_v7().to_string())
    .bind::<diesel::sql_types::Text, _>(DEFAULT_ENVIRONMENT)
    .bind::<diesel::sql_types::BigInt, _>(clock::now_ms())
    .execute(connection)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel::sql_types::Text;
    use diesel::{QueryableByName, RunQueryDsl};

    use super::*;
    use crate::store::sqlite::backend::ready;
    use crate::store::sqlite::read;

    #[derive(Debug, PartialEq, QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        sql: String,
    }

    fn schema(connection: &mut SqliteConnection) -> Vec<Table> {
        let query =
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY name";
        sql_query(query).load(connection).unwrap()
    }

    #[test]
    fn migrations_run_up_down_and_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let mut connection = writer(&path).unwrap();
        let up = schema(&mut connection);
        assert!(!up.is_empty());
        assert!(
            connection.run_pending_migrations(MIGRATIONS).unwrap().is_empty(),
            "a second time there is nothing to do"
        );
        connection.revert_all_migrations(MIGRATIONS).unwrap();
        assert_eq!(schema(&mut connection), []);
        connection.run_pending_migrations(MIGRATIONS).unwrap();
        assert_eq!(schema(&mut connection), up);
    }

    #[test]
    fn database_of_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let mut connection = writer(&path).unwrap();
        connection.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')").unwrap();
        let Err(error) = writer(&path) else { panic!("it was opened") };
        assert!(matches!(&error, StoreError::Newer { migration, .. } if migration == "99991231000000"), "{error}");
    }

    #[test]
    fn second_collector_is_refused_and_the_epoch_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(StoreError::Locked(_))));
        drop(held);
        lock(&path).unwrap();
        let epoch = |path| ready(read::feed_position(&mut writer(path).unwrap())).unwrap().epoch;
        assert_eq!(epoch(&path), epoch(&path));
    }
}
