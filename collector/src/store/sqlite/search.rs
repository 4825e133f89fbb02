//! The index of log lines; see [`crate::store::search`].

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use crate::store::schema::*;
use crate::store::search::{BLOCK, BLOCK_PAGE, Indexed, always_read};
use crate::store::*;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The next blocks that may have a match. CROSS JOIN fixes the order for SQLite: the tokens narrow the most.
pub(super) async fn candidates(
    connection: &mut SqliteConnection,
    query: &LogQuery,
    tokens: &[i32],
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let (bound, direction) = match query.order {
        ListOrder::OldestFirst => (">=", "ASC"),
        ListOrder::NewestFirst => ("<=", "DESC"),
    };
    let matched = match tokens {
        [] => format!("log_search_blocks AS found WHERE found.block {bound} ?1 AND ?4 = ''"),
        _ => format!(
            "log_search_tokens AS token CROSS JOIN log_search_blocks AS found \
             WHERE token.rowid {bound} ?1 AND token.log_search_tokens MATCH ?4 AND found.block = token.rowid"
        ),
    };
    let order = if tokens.is_empty() { "found.block" } else { "token.rowid" };
    let rows: Vec<Number> = sql_query(format!(
        "SELECT found.block AS number FROM {matched} AND found.first_at < ?3 AND found.last_at >= ?2 \
         ORDER BY {order} {direction} LIMIT {BLOCK_PAGE}"
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

/// Removes the index.
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
    use std::ops::ControlFlow;

    use super::*;
    use crate::store::search::BLOCK;
    use crate::store::sqlite::backend::ready;
    use crate::store::sqlite::logs::{LogSearch, make_blocks};
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
        let made = ready(make_blocks(&mut connection, 2)).unwrap();
        write_blocks(&mut connection, &made).unwrap();
        connection
    }

    fn find(connection: &mut SqliteConnection, query: LogQuery) -> Vec<i64> {
        let query = LogQuery { limit: 10, ..query };
        let mut search = ready(LogSearch::begin(connection, query)).unwrap();
        loop {
            match ready(search.take_turn(connection)).unwrap() {
                ControlFlow::Continue(next) => search = next,
                ControlFlow::Break(found) => return found.iter().map(|line| line.seq).collect(),
            }
        }
    }

    #[test]
    fn excluded_blocks_are_not_read() {
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
