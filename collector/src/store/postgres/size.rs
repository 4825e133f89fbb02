//! The sizes of the tables.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

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
