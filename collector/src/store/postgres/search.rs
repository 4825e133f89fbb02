//! The index of log lines; see [`crate::store::search`].

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use crate::store::schema::*;
use crate::store::search::{BLOCK, BLOCK_PAGE, Indexed, always_read};
use crate::store::*;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The next blocks that may hold what is asked for.
pub(super) async fn candidates(
    connection: &mut AsyncPgConnection,
    query: &LogQuery,
    tokens: &[i32],
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let (from_at, to_at) = (query.from.unwrap_or(i64::MIN), query.to.unwrap_or(i64::MAX));
    let at = "first_at < $3 AND last_at >= $2";
    let (bound, direction) = match query.order {
        ListOrder::OldestFirst => (">=", "ASC"),
        ListOrder::NewestFirst => ("<=", "DESC"),
    };
    if tokens.is_empty() {
        let all = format!("SELECT block AS number FROM log_search_blocks WHERE block {bound} $1 AND");
        let rows: Vec<Number> = sql_query(format!("{all} {at} ORDER BY block {direction} LIMIT {BLOCK_PAGE}"))
            .bind::<BigInt, _>(from)
            .bind::<BigInt, _>(from_at)
            .bind::<BigInt, _>(to_at)
            .load(connection)
            .await?;
        return Ok(rows.into_iter().map(|row| row.number).collect());
    }
    // By default PostgreSQL scans the table or its key for common tokens, and ignores the cost of reading
    // the tokens of all blocks.
    let matched = format!(
        "SELECT block AS number FROM log_search_blocks WHERE block + 0 {bound} $1 AND (tokens @> $4 OR tokens @> $5) AND"
    );
    let rows: Vec<Number> = connection
        .build_transaction()
        .read_only()
        .run(async |connection: &mut AsyncPgConnection| {
            sql_query("SET LOCAL enable_seqscan = off").execute(connection).await?;
            sql_query(format!("{matched} {at} ORDER BY block + 0 {direction} LIMIT {BLOCK_PAGE}"))
                .bind::<BigInt, _>(from)
                .bind::<BigInt, _>(from_at)
                .bind::<BigInt, _>(to_at)
                .bind::<Array<Integer>, _>(tokens)
                .bind::<Array<Integer>, _>(vec![always_read()])
                .load(connection)
                .await
                .map_err(StoreError::from)
        })
        .await?;
    Ok(rows.into_iter().map(|row| row.number).collect())
}

/// Puts blocks into the index.
pub(super) async fn write_blocks(connection: &mut AsyncPgConnection, made: &Indexed) -> Result<(), StoreError> {
    let written = connection.transaction(async |connection: &mut AsyncPgConnection| {
        for block in &made.blocks {
            sql_query("INSERT INTO log_search_blocks (block, first_at, last_at, tokens) VALUES ($1, $2, $3, $4)")
                .bind::<BigInt, _>(block.number)
                .bind::<BigInt, _>(block.first_at)
                .bind::<BigInt, _>(block.last_at)
                .bind::<Array<Integer>, _>(&block.tokens)
                .execute(connection)
                .await?;
        }
        sql_query("UPDATE log_search SET next_block = $1 WHERE id = 1")
            .bind::<BigInt, _>(made.next_block)
            .execute(connection)
            .await?;
        Ok::<_, StoreError>(())
    });
    written.await
}

/// Removes up to `limit` blocks of which every line is expired. Lines of other nodes can be older than one
/// that was evicted.
pub(super) async fn expire_blocks(connection: &mut AsyncPgConnection, limit: u32) -> Result<usize, StoreError> {
    let oldest: Option<i64> = logs::table.select(diesel::dsl::min(logs::seq)).first(connection).await?;
    let oldest = match oldest {
        Some(oldest) => oldest,
        None => meta::table.select(meta::oldest_log).first(connection).await?,
    };
    let expired = "DELETE FROM log_search_blocks WHERE block IN \
        (SELECT block FROM log_search_blocks WHERE block < $1 ORDER BY block LIMIT $2)";
    let removed = sql_query(expired).bind::<BigInt, _>(oldest / BLOCK).bind::<BigInt, _>(i64::from(limit));
    Ok(removed.execute(connection).await?)
}

/// Removes the index.
pub(super) async fn drop_index(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let dropped = connection.transaction(async |connection: &mut AsyncPgConnection| {
        sql_query("TRUNCATE log_search_blocks").execute(connection).await?;
        sql_query("UPDATE log_search SET next_block = 0 WHERE id = 1").execute(connection).await?;
        Ok::<_, StoreError>(())
    });
    dropped.await
}
