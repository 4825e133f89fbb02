//! The databases of collectors: which kind, where, and a reader that bypasses the collector.
//!
//! A running collector has the last minute in its journal and not in rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

use super::postgres::TestPostgres;
use crate::stub::totals::{ComponentCounts, Counts};

/// The kind of a collector's database. A test that runs on both takes it as its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file.
    Sqlite,
    /// A database on a PostgreSQL server that the harness starts.
    Postgres,
}

/// Where a collector has its data.
#[derive(Clone, Debug)]
pub enum Place {
    /// A SQLite database.
    File(PathBuf),
    /// A PostgreSQL database.
    Server(Arc<TestPostgres>),
}

/// A reader that bypasses the collector.
pub enum Database {
    /// Of a file.
    Sqlite(SqliteConnection),
    /// Of a server.
    Postgres(Arc<TestPostgres>),
}

/// Queries return one text per row, so that both databases answer in the same form.
#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// The six sums of a row of minutes, in one text.
fn sums(columns: [&str; 6]) -> String {
    columns.map(|column| format!("coalesce(sum({column}), 0)")).join(" || '|' || ")
}

impl Database {
    /// Opens a collector's database, which may be in use.
    pub fn open(place: &Place) -> Self {
        match place {
            Place::File(path) => Database::Sqlite(connect(path, "PRAGMA query_only = ON;")),
            Place::Server(server) => Database::Postgres(Arc::clone(server)),
        }
    }

    /// Blocks every other writer until the returned connection is dropped. SQLite only.
    pub fn hold_writes(place: &Place) -> SqliteConnection {
        match place {
            Place::File(path) => connect(path, "BEGIN IMMEDIATE;"),
            Place::Server(_) => panic!("PostgreSQL has no lock that blocks every other writer"),
        }
    }

    /// Changes a database that no collector uses.
    pub fn execute(place: &Place, sql: &str) {
        match place {
            Place::File(path) => drop(connect(path, sql)),
            Place::Server(server) => drop(server.sql(sql)),
        }
    }

    /// Bytes on disk, with the write-ahead log.
    pub fn bytes(place: &Place) -> u64 {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        match place {
            Place::File(path) => size(path.clone()) + size(path.with_extension("db-wal")),
            Place::Server(server) => number(&server.sql("SELECT pg_database_size(current_database())")),
        }
    }

    /// Sums of a pipeline's minutes.
    pub fn minute_sums(&mut self, pipeline: &str) -> Counts {
        let sums = sums(["m.events_in", "m.events_out", "m.errors", "m.discarded", "m.bytes_in", "m.bytes_out"]);
        let lines = self.lines(&format!(
            "SELECT '|' || {sums} AS line
             FROM pipeline_minutes m JOIN series s ON s.id = m.series JOIN pipelines p ON p.id = s.pipeline
             WHERE p.slug = '{pipeline}'"
        ));
        lines.iter().map(|line| counts(line).1).sum()
    }

    /// Sums of the minutes of a pipeline's components; bytes that were not reported count as zero.
    pub fn component_sums(&mut self, pipeline: &str) -> BTreeMap<String, ComponentCounts> {
        let sums =
            sums(["m.received_events", "m.sent_events", "m.errors", "m.discarded", "m.received_bytes", "m.sent_bytes"]);
        let lines = self.lines(&format!(
            "SELECT s.component || '|' || {sums} AS line
             FROM component_minutes m JOIN series s ON s.id = m.series JOIN pipelines p ON p.id = s.pipeline
             WHERE p.slug = '{pipeline}' GROUP BY s.component"
        ));
        let component = |counts: Counts| ComponentCounts {
            received_events: counts.events_in,
            sent_events: counts.events_out,
            received_bytes: counts.bytes_in,
            sent_bytes: counts.bytes_out,
            errors: counts.errors,
            discarded: counts.discarded,
        };
        lines.iter().map(|line| counts(line)).map(|(name, counts)| (name, component(counts))).collect()
    }

    /// Sum of the events that all pipelines received.
    pub fn events_in(&mut self) -> u64 {
        self.number("coalesce(sum(events_in), 0) || '' AS line FROM pipeline_minutes")
    }

    /// Reports that nodes dropped, by the gaps in their numbers.
    pub fn lost_reports(&mut self) -> u64 {
        self.number("coalesce(sum(to_seq - from_seq + 1), 0) || '' AS line FROM node_gaps")
    }

    /// The number of rows of a table.
    pub fn rows(&mut self, table: &str) -> u64 {
        self.number(&format!("count(*) || '' AS line FROM {table}"))
    }

    fn number(&mut self, selected: &str) -> u64 {
        number(&self.lines(&format!("SELECT {selected}"))[0])
    }

    fn lines(&mut self, query: &str) -> Vec<String> {
        match self {
            Database::Sqlite(connection) => {
                let rows: Vec<Line> =
                    sql_query(query).load(connection).unwrap_or_else(|error| panic!("{query}: {error}"));
                rows.into_iter().map(|row| row.line).collect()
            }
            Database::Postgres(server) => server.sql(query).lines().map(str::to_owned).collect(),
        }
    }

    /// Bytes of a table with its indexes. On SQLite this reads every page.
    pub fn table_bytes(&mut self, table: &str) -> u64 {
        match self {
            Database::Sqlite(_) => self.number(&format!(
                "coalesce(sum(pgsize), 0) || '' AS line FROM dbstat
                 WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = '{table}')"
            )),
            Database::Postgres(_) => self.number(&format!("pg_total_relation_size('{table}') || '' AS line")),
        }
    }

    /// Rows of every table that a report writes to directly; minutes are written later. Equal numbers before
    /// and after mean that nothing was written.
    pub fn footprint(&mut self) -> BTreeMap<&'static str, u64> {
        const TABLES: [&str; 6] = ["pipelines", "series", "pipeline_status", "logs", "events", "node_gaps"];
        TABLES.into_iter().map(|table| (table, self.rows(table))).collect()
    }
}

fn connect(path: &std::path::Path, settings: &str) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(&path.display().to_string()).expect("the database opens");
    connection
        .batch_execute(&format!("PRAGMA busy_timeout = 5000; {settings}"))
        .expect("a connection takes its settings");
    connection
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number, or negative"))
}

/// A name and six sums.
fn counts(line: &str) -> (String, Counts) {
    let fields: Vec<_> = line.split('|').collect();
    let [name, sums @ ..] = fields.as_slice() else { panic!("an empty line") };
    let [events_in, events_out, errors, discarded, bytes_in, bytes_out] =
        sums.iter().map(|text| number(text)).collect::<Vec<_>>().try_into().expect("six sums");
    ((*name).to_owned(), Counts { events_in, events_out, errors, discarded, bytes_in, bytes_out })
}
