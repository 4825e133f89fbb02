//! Searching log lines, and making the index of them; see [`crate::store::search`].

use std::ops::ControlFlow;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use tokio::time::Instant;

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

/// How long a search has a reader before the others have their turn: a query of one token waits that long
/// for those of all others, whatever they search.
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
    pub(super) fn begin(connection: &mut SqliteConnection, query: LogQuery) -> Result<Self, StoreError> {
        let tokens = wanted(&query);
        let is_narrowed = !tokens.is_empty() || query.from.is_some() || query.to.is_some();
        let search = Search::new(extent(connection, query.after)?, is_narrowed);
        Ok(LogSearch { query, tokens, search, found: Vec::new() })
    }

    /// Searches for one turn. Returns what was found at the end.
    pub(super) fn take_turn(
        mut self,
        connection: &mut SqliteConnection,
    ) -> Result<ControlFlow<Vec<LogView>, Self>, StoreError> {
        let begin = Instant::now();
        while begin.elapsed() < TURN {
            if self.step(connection)?.is_break() {
                return Ok(ControlFlow::Break(self.found));
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    fn step(&mut self, connection: &mut SqliteConnection) -> Result<ControlFlow<()>, StoreError> {
        match self.search.step() {
            None => return Ok(ControlFlow::Break(())),
            Some(SearchStep::Blocks { from }) => {
                self.search.found(&candidates(connection, &self.query, &self.tokens, from)?);
            }
            Some(SearchStep::Lines { first, last }) => {
                let limit = self.query.limit.saturating_sub(self.found.len() as i64);
                self.found.extend(lines(connection, &self.query, (first, last), limit)?);
                if self.found.len() as i64 >= self.query.limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn extent(connection: &mut SqliteConnection, after: i64) -> Result<Extent, StoreError> {
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
        "SELECT (SELECT min(seq) FROM logs WHERE seq > ?) AS first, (SELECT max(seq) FROM logs) AS last, next_block \
         FROM log_search WHERE id = 1",
    )
    .bind::<BigInt, _>(after)
    .get_result(connection)?;
    // Nothing behind the cursor: nothing to search.
    let (first, last) = row.first.zip(row.last).unwrap_or((1, 0));
    Ok(Extent { first, last, next_block: row.next_block })
}

/// The next blocks that may hold what is asked for. CROSS JOIN keeps SQLite from another order: the
/// tokens tell most.
fn candidates(
    connection: &mut SqliteConnection,
    query: &LogQuery,
    tokens: &[i32],
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let matched = match tokens {
        [] => "log_search_blocks AS found WHERE found.block >= ?1 AND ?4 = ''",
        _ => {
            "log_search_tokens AS token CROSS JOIN log_search_blocks AS found \
             WHERE token.rowid >= ?1 AND token.log_search_tokens MATCH ?4 AND found.block = token.rowid"
        }
    };
    let order = if tokens.is_empty() { "found.block" } else { "token.rowid" };
    let rows: Vec<Number> = sql_query(format!(
        "SELECT found.block AS number FROM {matched} AND found.first_at < ?3 AND found.last_at >= ?2 \
         ORDER BY {order} LIMIT {BLOCK_PAGE}"
    ))
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(query.from.unwrap_or(i64::MIN))
    .bind::<BigInt, _>(query.to.unwrap_or(i64::MAX))
    .bind::<Text, _>(if tokens.is_empty() {
        String::new()
    } else {
        format!("({}) OR {}", words(tokens, " AND "), word(always_read()))
    })
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.number).collect())
}

fn word(token: i32) -> String {
    format!("\"{token:x}\"")
}

fn words(tokens: &[i32], between: &str) -> String {
    tokens.iter().map(|token| word(*token)).collect::<Vec<_>>().join(between)
}

fn lines(
    connection: &mut SqliteConnection,
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
        .into_boxed::<Sqlite>();
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
        select = select.filter(logs::line.like(like_pattern(text)).escape('\\'));
    }
    if let Some(from) = query.from {
        select = select.filter(logs::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(logs::at.lt(to));
    }
    Ok(log_views(select.load(connection)?))
}

/// Makes blocks of the lines that are not in the index, up to `blocks` of them. Only blocks of which
/// every number is given out: what is committed later has later numbers.
pub(super) fn make_blocks(connection: &mut SqliteConnection, blocks: u32) -> Result<Indexed, StoreError> {
    let head: i64 = meta::table.select(meta::head_seq).first(connection)?;
    let next: Number = sql_query("SELECT next_block AS number FROM log_search WHERE id = 1").get_result(connection)?;
    let mut made = Indexed { next_block: next.number, blocks: Vec::new() };
    for _ in 0..blocks {
        let behind = logs::table.filter(logs::seq.ge(numbers_of(made.next_block).0)).order(logs::seq);
        let Some(seq) = behind.select(logs::seq).first::<i64>(connection).optional()? else { break };
        let number = seq / BLOCK;
        let (first, last) = numbers_of(number);
        if last > head {
            break;
        }
        let lines = logs::table
            .filter(logs::seq.between(first, last))
            .select((logs::at, logs::node, logs::pipeline, logs::level, logs::line))
            .load(connection)?;
        made.blocks.extend(Block::of(number, &lines));
        made.next_block = number + 1;
    }
    Ok(made)
}

/// Puts blocks into the index.
pub(super) fn write_blocks(connection: &mut SqliteConnection, made: &Indexed) -> Result<(), StoreError> {
    for block in &made.blocks {
        sql_query("INSERT INTO log_search_blocks (block, first_at, last_at) VALUES (?, ?, ?)")
            .bind::<BigInt, _>(block.number)
            .bind::<BigInt, _>(block.first_at)
            .bind::<BigInt, _>(block.last_at)
            .execute(connection)?;
        let tokens = block.tokens.iter().map(|token| format!("{token:x}")).collect::<Vec<_>>().join(" ");
        sql_query("INSERT INTO log_search_tokens (rowid, tokens) VALUES (?, ?)")
            .bind::<BigInt, _>(block.number)
            .bind::<Text, _>(tokens)
            .execute(connection)?;
    }
    sql_query("UPDATE log_search SET next_block = ? WHERE id = 1")
        .bind::<BigInt, _>(made.next_block)
        .execute(connection)?;
    Ok(())
}

/// Removes up to `limit` blocks of which every line is expired. Lines of other nodes can be older than one
/// that was evicted.
pub(super) fn expire_blocks(connection: &mut SqliteConnection, limit: u32) -> Result<usize, StoreError> {
    let oldest: Option<i64> = logs::table.select(diesel::dsl::min(logs::seq)).first(connection)?;
    let oldest = match oldest {
        Some(oldest) => oldest,
        None => meta::table.select(meta::oldest_log).first(connection)?,
    };
    let rows: Vec<Number> =
        sql_query("SELECT block AS number FROM log_search_blocks WHERE block < ? ORDER BY block LIMIT ?")
            .bind::<BigInt, _>(oldest / BLOCK)
            .bind::<BigInt, _>(i64::from(limit))
            .load(connection)?;
    if let Some(last) = rows.last() {
        for (table, key) in [("log_search_tokens", "rowid"), ("log_search_blocks", "block")] {
            sql_query(format!("DELETE FROM {table} WHERE {key} <= ?"))
                .bind::<BigInt, _>(last.number)
                .execute(connection)?;
        }
    }
    Ok(rows.len())
}

/// Forgets the index.
pub(super) fn drop_index(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    for sql in [
        "INSERT INTO log_search_tokens (log_search_tokens) VALUES ('delete-all')",
        "DELETE FROM log_search_blocks",
        "UPDATE log_search SET next_block = 0 WHERE id = 1",
    ] {
        sql_query(sql).execute(connection)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::search::BLOCK;
    use crate::store::sqlite::open;

    /// A database with a line per number, the first two blocks in the index.
    fn with_lines(dir: &tempfile::TempDir, lines: i64) -> SqliteConnection {
        let mut connection = open::writer(&dir.path().join("test.db")).unwrap();
        for sql in [
            "INSERT INTO nodes (id, uuid, environment, name, os, labels, status, status_reason, status_since, enrolled_at) \
             VALUES (1, 'n', 1, 'n', '', '{}', 'UNKNOWN', '', 0, 0)",
            "INSERT INTO pipelines (id, environment, slug, name) VALUES (1, 1, 'p', 'p')",
            &format!(
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {lines}) \
                 INSERT INTO logs (seq, entry_seq, at, node, pipeline, stream, line) \
                 SELECT n, n, n, 1, 1, 'stdout', 'line ' || n FROM n"
            ),
            &format!("UPDATE meta SET head_seq = {lines}"),
        ] {
            sql_query(sql).execute(&mut connection).unwrap();
        }
        let made = make_blocks(&mut connection, 2).unwrap();
        write_blocks(&mut connection, &made).unwrap();
        connection
    }

    fn find(connection: &mut SqliteConnection, query: LogQuery) -> Vec<i64> {
        let query = LogQuery { limit: 10, ..query };
        let mut search = LogSearch::begin(connection, query).unwrap();
        loop {
            match search.take_turn(connection).unwrap() {
                ControlFlow::Continue(next) => search = next,
                ControlFlow::Break(found) => return found.iter().map(|line| line.seq).collect(),
            }
        }
    }

    #[test]
    fn blocks_that_the_index_rules_out_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = with_lines(&dir, 3 * BLOCK);
        let text = || LogQuery { text: Some("line 400".into()), ..LogQuery::default() };
        let time = || LogQuery { from: Some(400), to: Some(401), ..LogQuery::default() };
        assert_eq!((find(&mut connection, text()), find(&mut connection, time())), (vec![400], vec![400]));
        // An index that is wrong leads astray: so it is what a search goes by.
        sql_query("UPDATE log_search_blocks SET last_at = 300 WHERE block = 1").execute(&mut connection).unwrap();
        assert_eq!(find(&mut connection, time()), [0; 0]);
        sql_query("DELETE FROM log_search_tokens WHERE rowid = 1").execute(&mut connection).unwrap();
        assert_eq!(find(&mut connection, text()), [0; 0]);
        assert_eq!(find(&mut connection, LogQuery { text: Some("line 600".into()), ..LogQuery::default() }), [600]);
    }
}
