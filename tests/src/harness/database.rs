//! Looks straight into a collector's database, past everything that the collector says of it.

use std::collections::BTreeMap;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

use crate::stub::totals::{ComponentCounts, Counts};

/// A reader beside the collector.
pub struct Database(SqliteConnection);

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Sums {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    events_in: i64,
    #[diesel(sql_type = BigInt)]
    events_out: i64,
    #[diesel(sql_type = BigInt)]
    errors: i64,
    #[diesel(sql_type = BigInt)]
    discarded: i64,
    #[diesel(sql_type = BigInt)]
    bytes_in: i64,
    #[diesel(sql_type = BigInt)]
    bytes_out: i64,
}

impl Database {
    /// Opens a collector's file, which may be in use.
    pub fn open(path: &Path) -> Self {
        let mut connection = SqliteConnection::establish(&path.display().to_string()).expect("the database opens");
        connection
            .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")
            .expect("a connection takes its settings");
        Database(connection)
    }

    /// Keeps every other connection from writing, until what this gives is dropped.
    pub fn hold_writes(path: &Path) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(&path.display().to_string()).expect("the database opens");
        connection
            .batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE;")
            .expect("nobody else holds it for long");
        connection
    }

    /// Sums of a pipeline's minutes.
    pub fn minute_sums(&mut self, pipeline: &str) -> Counts {
        let rows: Vec<Sums> = sql_query(
            "SELECT p.slug AS name, sum(m.events_in) AS events_in, sum(m.events_out) AS events_out,
                    sum(m.errors) AS errors, sum(m.discarded) AS discarded,
                    sum(m.bytes_in) AS bytes_in, sum(m.bytes_out) AS bytes_out
             FROM pipeline_minutes m JOIN series s ON s.id = m.series JOIN pipelines p ON p.id = s.pipeline
             WHERE p.slug = ? GROUP BY p.slug",
        )
        .bind::<Text, _>(pipeline)
        .load(&mut self.0)
        .expect("the sums of pipeline_minutes");
        rows.iter().map(counts).sum()
    }

    /// Sums of the minutes of a pipeline's components; bytes that nobody told are none.
    pub fn component_sums(&mut self, pipeline: &str) -> BTreeMap<String, ComponentCounts> {
        let rows: Vec<Sums> = sql_query(
            "SELECT s.component AS name, sum(m.received_events) AS events_in, sum(m.sent_events) AS events_out,
                    sum(m.errors) AS errors, sum(m.discarded) AS discarded,
                    coalesce(sum(m.received_bytes), 0) AS bytes_in, coalesce(sum(m.sent_bytes), 0) AS bytes_out
             FROM component_minutes m JOIN series s ON s.id = m.series JOIN pipelines p ON p.id = s.pipeline
             WHERE p.slug = ? GROUP BY s.component",
        )
        .bind::<Text, _>(pipeline)
        .load(&mut self.0)
        .expect("the sums of component_minutes");
        let component = |counts: Counts| ComponentCounts {
            received_events: counts.events_in,
            sent_events: counts.events_out,
            received_bytes: counts.bytes_in,
            sent_bytes: counts.bytes_out,
            errors: counts.errors,
            discarded: counts.discarded,
        };
        rows.iter().map(|row| (row.name.clone(), component(counts(row)))).collect()
    }

    /// Sum of the events that all pipelines took in.
    pub fn events_in(&mut self) -> u64 {
        self.number("SELECT coalesce(sum(events_in), 0) AS number FROM pipeline_minutes")
    }

    /// Reports that nodes had to give up, by the holes in their numbers.
    pub fn lost_reports(&mut self) -> u64 {
        self.number("SELECT coalesce(sum(to_seq - from_seq + 1), 0) AS number FROM node_gaps")
    }

    /// How many rows a table has.
    pub fn rows(&mut self, table: &str) -> u64 {
        self.number(&format!("SELECT count(*) AS number FROM {table}"))
    }

    fn number(&mut self, query: &str) -> u64 {
        let rows: Vec<Number> = sql_query(query).load(&mut self.0).unwrap_or_else(|error| panic!("{query}: {error}"));
        rows[0].number.unsigned_abs()
    }

    /// Rows of every table that a report writes to. Equal before and after: nothing was written.
    pub fn footprint(&mut self) -> BTreeMap<&'static str, u64> {
        const TABLES: [&str; 9] = [
            "pipelines",
            "series",
            "pipeline_status",
            "pipeline_minutes",
            "component_minutes",
            "node_minutes",
            "logs",
            "events",
            "node_gaps",
        ];
        TABLES.into_iter().map(|table| (table, self.rows(table))).collect()
    }
}

fn counts(row: &Sums) -> Counts {
    let number = |value: i64| u64::try_from(value).expect("a sum of deltas is not negative");
    Counts {
        events_in: number(row.events_in),
        events_out: number(row.events_out),
        errors: number(row.errors),
        discarded: number(row.discarded),
        bytes_in: number(row.bytes_in),
        bytes_out: number(row.bytes_out),
    }
}
