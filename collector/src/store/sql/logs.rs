//! Searching log lines, and reading those that the index does not have yet; see [`crate::store::search`]. Each
//! database has an index of its own kind, in its `search`.

use std::ops::ControlFlow;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use tokio::time::Instant;

use super::backend::{Backend, Connection, DIALECT, KEYS, LINE_LIKE, RunQueryDsl, storable};
use super::search::candidates;
use crate::store::convert::*;
use crate::store::schema::*;
use crate::store::search::{BLOCK, Block, Extent, Indexed, Search, SearchStep, numbers_of, wanted};
use crate::store::*;

/// How long a search has a connection before the others have their turn: a query of one token waits that long
/// for those of all others, whatever they search. A slice that is begun is read to its end.
const TURN: Duration = Duration::from_millis(20);

/// A search on its way through the lines.
#[derive(Debug)]
pub(super) struct LogSearch {
    query: LogQuery,
    tokens: Vec<i32>,
    search: Search,
    found: Vec<LogView>,
}

impl LogSearch {
    /// Nothing is read yet.
    pub(super) async fn begin(connection: &mut Connection, query: LogQuery) -> Result<Self, StoreError> {
        let tokens = wanted(&query);
        let is_narrowed = !tokens.is_empty() || query.from.is_some() || query.to.is_some();
        let search = Search::new(extent(connection, &query).await?, query.order, is_narrowed);
        Ok(LogSearch { query, tokens, search, found: Vec::new() })
    }

    /// Searches for one turn. Returns the lines that were found at the end.
    pub(super) async fn take_turn(
        mut self,
        connection: &mut Connection,
    ) -> Result<ControlFlow<Vec<LogView>, Self>, StoreError> {
        let begin = Instant::now();
        while begin.elapsed() < TURN {
            if self.step(connection).await?.is_break() {
                return Ok(ControlFlow::Break(self.found));
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    async fn step(&mut self, connection: &mut Connection) -> Result<ControlFlow<()>, StoreError> {
        match self.search.step() {
            None => return Ok(ControlFlow::Break(())),
            Some(SearchStep::Blocks { from }) => {
                self.search.found(&candidates(connection, &self.query, &self.tokens, from).await?);
            }
            Some(SearchStep::Lines { first, last }) => {
                let limit = self.query.limit.saturating_sub(self.found.len() as i64);
                self.found.extend(lines(connection, &self.query, (first, last), limit).await?);
                if self.found.len() as i64 >= self.query.limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

async fn extent(connection: &mut Connection, query: &LogQuery) -> Result<Extent, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
        #[diesel(sql_type = BigInt)]
        next_block: i64,
    }
    let (lowest, highest) = query.order.bounds(query.after);
    let row: Row = sql_query(
        DIALECT.finish(
            "SELECT (SELECT min(seq) FROM logs WHERE seq >= $1) AS first, \
         (SELECT max(seq) FROM logs WHERE seq <= $2) AS last, next_block FROM log_search WHERE id = 1"
                .to_owned(),
        ),
    )
    .bind::<BigInt, _>(lowest)
    .bind::<BigInt, _>(highest)
    .get_result(connection)
    .await?;
    // Nothing behind the cursor: nothing to search.
    let (first, last) = row.first.zip(row.last).unwrap_or((1, 0));
    Ok(Extent { first, last, next_block: row.next_block })
}

async fn lines(
    connection: &mut Connection,
    query: &LogQuery,
    (first, last): (i64, i64),
    limit: i64,
) -> Result<Vec<LogView>, StoreError> {
    let mut select = logs::table
        .inner_join(nodes::table.on(nodes::id.eq(logs::node)))
        .inner_join(pipelines::table.on(pipelines::id.eq(logs::pipeline)))
        .select((LogRow::as_select(), nodes::uuid, pipelines::slug))
        .filter(logs::seq.between(first, last))
        .limit(limit)
        .into_boxed::<Backend>();
    select = match query.order {
        ListOrder::OldestFirst => select.order(logs::seq),
        ListOrder::NewestFirst => select.order(logs::seq.desc()),
    };
    if let Some(environments) = &query.environments {
        select = select.filter(nodes::environment.eq_any(keys(environments)));
    }
    if let Some(node) = query.node {
        select = select.filter(logs::node.eq(node.0));
    }
    if let Some(among) = &query.among {
        select = select.filter(among!("logs.node", among));
    }
    if let Some(pipelines) = &query.pipelines {
        select = select.filter(logs::pipeline.eq_any(pipeline_keys(pipelines)));
    }
    if let Some(min_level) = query.min_level {
        select = select.filter(logs::level.eq_any(levels_from(min_level)));
    }
    if let Some(text) = &query.text {
        let pattern = like_pattern(&storable(text));
        let holds = sql::<Bool>(LINE_LIKE).bind::<Text, _>(pattern);
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

#[derive(QueryableByName)]
struct NextBlock {
    #[diesel(sql_type = BigInt)]
    next_block: i64,
}

/// Makes blocks of the lines that are not in the index, up to `blocks` of them. Only blocks in which every
/// number is assigned: lines committed later have higher numbers.
pub(super) async fn make_blocks(connection: &mut Connection, blocks: u32) -> Result<Indexed, StoreError> {
    let head: i64 = meta::table.select(meta::head_seq).first(connection).await?;
    let next = "SELECT next_block FROM log_search WHERE id = 1";
    let next: NextBlock = sql_query(next).get_result(connection).await?;
    let mut made = Indexed { next_block: next.next_block, blocks: Vec::new() };
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
