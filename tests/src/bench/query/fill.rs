//! A day of history, straight into the database of a collector that does not run.

use crate::harness::database::{Database, Place};

/// The time that is filled.
pub const DAY_MS: i64 = 86_400_000;

/// Part of some lines, about one in 100,000.
pub const NEEDLE: &str = "customer-4711-";

/// Lines in a block of the collector's index.
const BLOCK: u64 = 256;

/// Adds a day of minutes to every series of a pipeline, to be summed, and lines to the log, one in
/// a thousand of which is an error.
pub fn fill(place: &Place, now: i64, lines: u64) {
    let minute = now / 60_000;
    // `WHERE true`: SQLite takes ON CONFLICT for a join otherwise.
    let minutes = format!(
        "WITH RECURSIVE back(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM back WHERE n < 1440) \
         INSERT INTO pipeline_minutes (minute, series, events_in, events_out, errors, discarded, bytes_in, bytes_out, \
         utilization_sum, utilization_weight, latency_sum, latency_weight, samples, gaps, resets, logs_dropped) \
         SELECT {minute} - n, series.id, 6000 + n % 97, 5990 + n % 89, n % 3, 7, 614400 + n, 601200 + n, \
         25800, 60000, 7200000, 6000, 12, 0, 0, 0 \
         FROM back CROSS JOIN series WHERE series.component = '' ORDER BY 1, 2 ON CONFLICT DO NOTHING"
    );
    let marks = |table: &str, key: &str, length: i64| {
        format!(
            "WITH RECURSIVE back(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM back WHERE n < 1440) \
             INSERT INTO {table} ({key}, node, done) SELECT DISTINCT ({minute} - n) / {length}, nodes.id, 0 \
             FROM back CROSS JOIN nodes WHERE true ON CONFLICT DO NOTHING"
        )
    };
    let logs = format!(
        "WITH RECURSIVE line(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM line WHERE n < {lines}) \
         INSERT INTO logs (seq, entry_seq, at, node, pipeline, stream, level, line) \
         SELECT meta.head_seq + n, meta.head_seq + n, {now} - {DAY_MS} + n * {DAY_MS} / {lines}, \
         (SELECT min(id) FROM nodes) + n % (SELECT count(*) FROM nodes), \
         (SELECT min(id) FROM pipelines) + n % (SELECT count(*) FROM pipelines), 'stdout', \
         CASE WHEN n % 1000 = 0 THEN 'ERROR' ELSE 'INFO' END, \
         'order ' || n || ' of customer-' || (n * 7919 % 100003) || '-' || (n * 31 % 977) || ' was taken to the warehouse' \
         FROM line CROSS JOIN meta"
    );
    let head = format!("UPDATE meta SET head_seq = head_seq + {lines} WHERE id = 1");
    for sql in [minutes, marks("dirty_hours", "hour", 60), marks("dirty_days", "day", 1_440)] {
        Database::execute(place, &sql);
    }
    if lines > 0 {
        Database::execute(place, &logs);
        Database::execute(place, &head);
    }
}

/// Whether hours that are over are summed, and lines indexed.
pub fn is_settled(place: &Place, lines: u64) -> bool {
    let mut database = Database::open(place);
    let nodes = database.rows("nodes");
    // What is marked of hours that are not over yet, and a block that is not complete.
    database.rows("dirty_hours") <= 2 * nodes && (database.rows("log_search_blocks") + 2) * BLOCK >= lines
}
