//! The sizes of the tables, and the clock of the server.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use systole_shared::UnixMillis;

use crate::store::{StoreError, TableSize};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// With indexes and what is stored out of line.
pub(super) async fn table_sizes(connection: &mut AsyncPgConnection) -> Result<Vec<TableSize>, StoreError> {
    let rows: Vec<Row> = sql_query(
        "SELECT relname::text AS name, pg_total_relation_size(oid)::bigint AS bytes FROM pg_class \
         WHERE relkind = 'r' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())",
    )
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| TableSize { table: row.name, bytes: row.bytes.unsigned_abs() }).collect())
}

#[derive(QueryableByName)]
struct Clock {
    #[diesel(sql_type = BigInt)]
    now: i64,
}

/// The server's time, in milliseconds.
pub(super) async fn clock_ms(connection: &mut AsyncPgConnection) -> Result<UnixMillis, StoreError> {
    let clock: Clock = sql_query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now")
        .get_result(connection)
        .await?;
    Ok(clock.now)
}
