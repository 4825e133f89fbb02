//! Migrates the database to this version.

use std::collections::BTreeSet;

use diesel::QueryableByName;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::writer::lock_key;
use crate::clock;
use crate::store::{DEFAULT_ENVIRONMENT, StoreError, new_epoch, transfer};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/postgres");

/// Runs what is missing of the migrations, one process at a time: a command and a collector may open
/// a new database at once.
pub(super) async fn migrate(mut connection: AsyncPgConnection, shown: &str) -> Result<AsyncPgConnection, StoreError> {
    let key = lock_key(&mut connection, "migrate").await?;
    sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(key).execute(&mut connection).await?;
    let shown = shown.to_owned();
    // diesel's migrations are synchronous. An error drops the connection, and the lock with it.
    let migrated = tokio::task::spawn_blocking(move || {
        let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
        refuse_newer(&mut connection, &shown)?;
        connection.run_pending_migrations(MIGRATIONS).map_err(StoreError::Migrate)?;
        Ok::<_, StoreError>(connection.into_inner())
    });
    let mut connection = migrated.await.map_err(|error| StoreError::Migrate(error.into()))??;
    ensure_defaults(&mut connection).await?;
    sql_query("SELECT pg_advisory_unlock($1)").bind::<BigInt, _>(key).execute(&mut connection).await?;
    Ok(connection)
}

/// A later version may have changed what this one reads and writes; diesel would ignore it.
fn refuse_newer(connection: &mut impl MigrationHarness<Pg>, shown: &str) -> Result<(), StoreError> {
    let known = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(StoreError::Migrate)?;
    let applied = connection.applied_migrations().map_err(StoreError::Migrate)?;
    match applied.iter().find(|version| !known.iter().any(|known| known.name().version() == **version)) {
        Some(version) => Err(StoreError::Newer { database: shown.to_owned(), migration: version.to_string() }),
        None => Ok(()),
    }
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// For commands that read a database of a running collector, which must have this version.
pub(super) async fn refuse_other_version(connection: &mut AsyncPgConnection, shown: &str) -> Result<(), StoreError> {
    let known = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(StoreError::Migrate)?;
    let known: BTreeSet<String> = known.iter().map(|known| known.name().version().to_string()).collect();
    let is_made = "SELECT 1 FROM information_schema.tables \
        WHERE table_schema = current_schema() AND table_name = '__diesel_schema_migrations'";
    let applied: Vec<Applied> = match sql_query(is_made).execute(connection).await? {
        0 => Vec::new(),
        _ => sql_query("SELECT version::text FROM __diesel_schema_migrations").load(connection).await?,
    };
    let applied: BTreeSet<String> = applied.into_iter().map(|applied| applied.version).collect();
    let database = shown.to_owned();
    if let Some(migration) = applied.difference(&known).next() {
        return Err(StoreError::Newer { database, migration: migration.clone() });
    }
    match known.difference(&applied).next() {
        Some(migration) => Err(StoreError::Older { database, migration: migration.clone() }),
        None => Ok(()),
    }
}

/// Refuses a database into which a copy is incomplete.
pub(super) async fn refuse_incomplete(connection: &mut AsyncPgConnection, shown: &str) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1";
    match sql_query(sql).bind::<Text, _>(transfer::PROGRESS).execute(connection).await? {
        0 => Ok(()),
        _ => Err(StoreError::Incomplete(shown.to_owned())),
    }
}

/// The epoch of the feed and the default environment, made once with the database.
async fn ensure_defaults(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    sql_query(
        "INSERT INTO meta (id, epoch, head_seq, oldest_log, oldest_event, access_version) \
         VALUES (1, $1, 0, 1, 1, 1) ON CONFLICT DO NOTHING",
    )
    .bind::<Text, _>(new_epoch())
    .execute(connection)
    .await?;
    sql_query(
        "INSERT INTO environments (uuid, name, created_at) SELECT $1, $2, $3 \
         WHERE NOT EXISTS (SELECT 1 FROM environments)",
    )
    .bind::<Text, _>(uuid::Uuid::now_v7().to_string())
    .bind::<Text, _>(DEFAULT_ENVIRONMENT)
    .bind::<BigInt, _>(clock::now_ms())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel_async::SimpleAsyncConnection;
    use systole_tests::harness::TestPostgres;

    use super::super::connect::Connector;
    use super::*;

    async fn connect(server: &TestPostgres) -> AsyncPgConnection {
        Connector::new(&server.url().parse().unwrap()).unwrap().connect().await.unwrap()
    }

    fn schema(server: &TestPostgres) -> String {
        server.sql(
            "SELECT table_name, column_name, data_type, is_nullable, collation_name FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' ORDER BY 1, 2",
        ) + &server.sql(
            "SELECT indexdef FROM pg_indexes WHERE tablename NOT LIKE '\\_\\_%' AND schemaname = 'public' ORDER BY 1",
        )
    }

    #[tokio::test]
    async fn migrations_run_up_down_and_up_again() {
        let server = TestPostgres::start();
        let connection = migrate(connect(&server).await, "").await.unwrap();
        let up = schema(&server);
        assert!(up.contains("pipeline_minutes"));
        let epoch = server.sql("SELECT epoch FROM meta");
        let connection = migrate(connection, "").await.unwrap();
        assert_eq!(server.sql("SELECT epoch FROM meta"), epoch, "a second time there is nothing to do");
        let down = tokio::task::spawn_blocking(move || {
            let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
            connection.revert_all_migrations(MIGRATIONS).unwrap();
            connection.into_inner()
        });
        let connection = down.await.unwrap();
        assert_eq!(schema(&server), "");
        migrate(connection, "").await.unwrap();
        assert_eq!(schema(&server), up);
    }

    #[tokio::test]
    async fn new_database_can_be_opened_concurrently() {
        let server = TestPostgres::start();
        let open = async || migrate(connect(&server).await, "").await.map(drop);
        let (one, two, three) = tokio::join!(open(), open(), open());
        one.and(two).and(three).unwrap();
        assert_eq!(server.sql("SELECT count(*) FROM environments"), "1");
    }

    #[tokio::test]
    async fn database_of_a_later_version_is_refused() {
        let server = TestPostgres::start();
        let mut connection = migrate(connect(&server).await, "").await.unwrap();
        let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')";
        connection.batch_execute(newer).await.unwrap();
        let Err(error) = migrate(connection, "").await else { panic!("it was opened") };
        assert!(matches!(&error, StoreError::Newer { migration, .. } if migration == "99991231000000"), "{error}");
    }
}
