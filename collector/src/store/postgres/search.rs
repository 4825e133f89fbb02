//! Searching log lines, and making the index of them; see [`crate::store::search`].

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::connect::ConnectionPool;
use super::rows::storable;
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::search::{
    BLOCK, BLOCK_PAGE, Block, Extent, Indexed, Search, SearchStep, always_read, numbers_of, wanted,
};
use crate::store::*;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The lines that are asked for, if they are found until `deadline`. Each step takes a connection of its
/// own, so that other queries have their turn in between.
pub(super) async fn list_logs(
    pool: &ConnectionPool,
    query: &LogQuery,
    deadline: tokio::time::Instant,
) -> Result<Vec<LogView>, StoreError> {
    let tokens = wanted(query);
    let is_narrowed = !tokens.is_empty() || query.from.is_some() || query.to.is_some();
    let mut search = Search::new(extent(&mut *pool.get().await?, query.after).await?, is_narrowed);
    let mut found = Vec::new();
    while let Some(step) = search.step() {
        if tokio::time::Instant::now() > deadline {
            return Err(StoreError::TimedOut);
        }
        let connection = &mut *pool.get().await?;
        match step {
            SearchStep::Blocks { from } => search.found(&candidates(connection, query, &tokens, from).await?),
            SearchStep::Lines { first, last } => {
                let limit = query.limit.saturating_sub(found.len() as i64);
                found.extend(lines(connection, query, (first, last), limit).await?);
                if found.len() as i64 >= query.limit {
                    break;
                }
            }
        }
    }
    Ok(found)
}

async fn extent(connection: &mut AsyncPgConnection, after: i64) -> Result<Extent, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
        #[diesel(sql_type = BigInt)]
        next_block: i64,
    }
    let row: Row = sql_query(
        "SELECT (SELECT min(seq) FROM logs WHERE seq > $1) AS first, (SELECT max(seq) FROM logs) AS last, next_block \
         FROM log_search WHERE id = 1",
    )
    .bind::<BigInt, _>(after)
    .get_result(connection)
    .await?;
    // Nothing behind the cursor: nothing to search.
    let (first, last) = row.first.zip(row.last).unwrap_or((1, 0));
    Ok(Extent { first, last, next_block: row.next_block })
}

/// The next blocks that may hold what is asked for.
async fn candidates(
    connection: &mut AsyncPgConnection,
    query: &LogQuery,
    tokens: &[i32],
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let (from_at, to_at) = (query.from.unwrap_or(i64::MIN), query.to.unwrap_or(i64::MAX));
    let at = "first_at < $3 AND last_at >= $2";
    if tokens.is_empty() {
        let all = "SELECT block AS number FROM log_search_blocks WHERE block >= $1 AND";
        let rows: Vec<Number> = sql_query(format!("{all} {at} ORDER BY block LIMIT {BLOCK_PAGE}"))
            .bind::<BigInt, _>(from)
            .bind::<BigInt, _>(from_at)
            .bind::<BigInt, _>(to_at)
            .load(connection)
            .await?;
        return Ok(rows.into_iter().map(|row| row.number).collect());
    }
    // Left to itself, PostgreSQL goes through the table or its key for what is common, and takes no
    // account of what it costs to open everybody's tokens.
    let matched =
        "SELECT block AS number FROM log_search_blocks WHERE block + 0 >= $1 AND (tokens @> $4 OR tokens @> $5) AND";
    let rows: Vec<Number> = connection
        .build_transaction()
        .read_only()
        .run(async |connection: &mut AsyncPgConnection| {
            sql_query("SET LOCAL enable_seqscan = off").execute(connection).await?;
            sql_query(format!("{matched} {at} ORDER BY block + 0 LIMIT {BLOCK_PAGE}"))
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

async fn lines(
    connection: &mut AsyncPgConnection,
    query: &LogQuery,
    (first, last): (i64, i64),
    limit: i64,
) -> Result<Vec<LogView>, StoreError> {
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.between(first, last))
        .order(logs::seq)
        .limit(limit)
        .into_boxed::<Pg>();
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(logs::node.eq(node.0));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(logs::pipeline.eq_any(pipeline_keys(pipelines)));
    }
    if let Some(min_level) = query.min_level {
        select = select.filter(logs::level.eq_any(levels_from(min_level)));
    }
    if let Some(text) = &query.text {
        // The case of ASCII letters alone, as on SQLite, whatever the database's locale is.
        let pattern = like_pattern(&storable(text));
        let holds = diesel::dsl::sql::<Bool>("logs.line COLLATE \"C\" ILIKE ").bind::<Text, _>(pattern);
        select = select.filter(holds.sql(" ESCAPE '\\'"));
    }
    if let Some(from) = query.from {
        select = select.filter(logs::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(logs::at.lt(to));
    }
    Ok(log_views(select.load(connection).await?))
}

/// Makes blocks of the lines that are not in the index, up to `blocks` of them. Only blocks of which
/// every number is given out: what is committed later has later numbers.
pub(super) async fn make_blocks(connection: &mut AsyncPgConnection, blocks: u32) -> Result<Indexed, StoreError> {
    let head: i64 = meta::table.select(meta::head_seq).first(connection).await?;
    let next = "SELECT next_block AS number FROM log_search WHERE id = 1";
    let next: Number = sql_query(next).get_result(connection).await?;
    let mut made = Indexed { next_block: next.number, blocks: Vec::new() };
    for _ in 0..blocks {
        let behind = logs::table.filter(logs::seq.ge(numbers_of(made.next_block).0)).order(logs::seq);
        let seq: Option<i64> = behind.select(logs::seq).first(connection).await.optional()?;
        let Some(number) = seq.map(|seq| seq / BLOCK) else { break };
        let (first, last) = numbers_of(number);
        if last > head {
            break;
        }
        let lines: Vec<_> = logs::table
            .filter(logs::seq.between(first, last))
            .select((logs::at, logs::node, logs::pipeline, logs::level, logs::line))
            .load(connection)
            .await?;
        made.blocks.extend(Block::of(number, &lines));
        made.next_block = number + 1;
    }
    Ok(made)
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

/// Forgets the index.
pub(super) async fn drop_index(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let dropped = connection.transaction(async |connection: &mut AsyncPgConnection| {
        sql_query("TRUNCATE log_search_blocks").execute(connection).await?;
        sql_query("UPDATE log_search SET next_block = 0 WHERE id = 1").execute(connection).await?;
        Ok::<_, StoreError>(())
    });
    dropped.await
}
