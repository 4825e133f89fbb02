//! Statements over many rows: a column is one array, and `unnest` makes rows of them again.
//!
//! The text of such a statement does not depend on the number of rows, so it stays prepared on its
//! connection. diesel's own multi-row inserts and `sql_query` would be prepared again each time.
//!
//! The statements of one transaction are sent without waiting for each other's answers. Rows whose key
//! occurs again in a batch go into a second round, because one statement cannot update a row twice.
//!
//! NUL in a text becomes U+FFFD, because PostgreSQL has no NUL in texts. A line that is refused
//! would be sent for ever.

use std::borrow::Cow;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Binary, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// The effect of an insert on a column of an existing row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The column is part of the key.
    Key,
    /// The new value replaces the old one.
    Replace,
    /// The new value replaces the old one if it is known.
    Keep,
    /// Counters are added, up to 2^63-1. Neither is negative.
    Count,
    /// The same for counters that may be unknown.
    CountKnown,
    /// Numbers are added.
    Add,
}

impl Merge {
    fn assignment(self, column: &str) -> Option<String> {
        const MAX: i64 = i64::MAX;
        let (old, new) = (format!("old.{column}"), format!("excluded.{column}"));
        let value = match self {
            Merge::Key => return None,
            Merge::Replace => new,
            Merge::Keep => format!("coalesce({new}, {old})"),
            Merge::Add => format!("{old} + {new}"),
            Merge::Count => format!("CASE WHEN {old} > {MAX} - {new} THEN {MAX} ELSE {old} + {new} END"),
            Merge::CountKnown => {
                format!("CASE WHEN {old} > {MAX} - {new} THEN {MAX} ELSE coalesce({old} + {new}, {old}, {new}) END")
            }
        };
        Some(format!("{column} = {value}"))
    }
}

/// The text of a statement around its arrays.
pub(super) struct Template {
    head: String,
    tail: String,
}

impl Template {
    /// Inserts rows, and merges those whose key exists.
    pub(super) fn upsert(table: &str, columns: &[(&str, Merge)]) -> Self {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        let keys: Vec<_> = columns.iter().filter(|(_, merge)| *merge == Merge::Key).map(|(name, _)| *name).collect();
        let assignments: Vec<_> = columns.iter().filter_map(|(name, merge)| merge.assignment(name)).collect();
        let Template { head, .. } = Self::insert(table, &names);
        let tail = format!(") ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), assignments.join(", "));
        Template { head, tail }
    }

    /// Inserts rows that must be new.
    pub(super) fn insert(table: &str, columns: &[&str]) -> Self {
        let head = format!("INSERT INTO {table} AS old ({}) SELECT * FROM unnest(", columns.join(", "));
        Template { head, tail: ")".to_owned() }
    }

    /// Inserts rows, and leaves those that exist as they are.
    pub(super) fn insert_new(table: &str, columns: &[&str]) -> Self {
        let Template { head, .. } = Self::insert(table, columns);
        Template { head, tail: ") ON CONFLICT DO NOTHING".to_owned() }
    }

    /// Any statement over rows `new` of these columns; `before` ends where their table is named.
    pub(super) fn over(before: &str, columns: &str, after: &str) -> Self {
        Template { head: format!("{before} unnest("), tail: format!(") AS new({columns}) {after}") }
    }

    /// The statement with its rows.
    pub(super) fn with<'a>(&'a self, columns: Vec<Column<'a>>) -> Statement<'a> {
        Statement { template: self, columns }
    }
}

/// A column of all rows.
pub(super) enum Column<'a> {
    Int(Vec<i64>),
    MaybeInt(Vec<Option<i64>>),
    Float(Vec<f64>),
    MaybeFloat(Vec<Option<f64>>),
    Text(Vec<Cow<'a, str>>),
    MaybeText(Vec<Option<Cow<'a, str>>>),
    Bytes(Vec<&'a [u8]>),
}

/// Makes columns of one slice of rows.
pub(super) struct Columns<'a, R>(pub &'a [R]);

impl<'a, R> Columns<'a, R> {
    pub(super) fn int(&self, of: impl Fn(&R) -> i64) -> Column<'a> {
        Column::Int(self.0.iter().map(of).collect())
    }

    pub(super) fn maybe_int(&self, of: impl Fn(&R) -> Option<i64>) -> Column<'a> {
        Column::MaybeInt(self.0.iter().map(of).collect())
    }

    pub(super) fn float(&self, of: impl Fn(&R) -> f64) -> Column<'a> {
        Column::Float(self.0.iter().map(of).collect())
    }

    pub(super) fn maybe_float(&self, of: impl Fn(&R) -> Option<f64>) -> Column<'a> {
        Column::MaybeFloat(self.0.iter().map(of).collect())
    }

    pub(super) fn text(&self, of: impl Fn(&'a R) -> &'a str) -> Column<'a> {
        Column::Text(self.0.iter().map(|row| storable(of(row))).collect())
    }

    pub(super) fn bytes(&self, of: impl Fn(&'a R) -> &'a [u8]) -> Column<'a> {
        Column::Bytes(self.0.iter().map(of).collect())
    }

    pub(super) fn maybe_text(&self, of: impl Fn(&'a R) -> Option<&'a String>) -> Column<'a> {
        Column::MaybeText(self.0.iter().map(|row| of(row).map(|text| storable(text))).collect())
    }
}

/// PostgreSQL's texts have no NUL, and a line of a pipeline may: it is replaced, because one that is
/// refused would be sent for ever.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.as_bytes().contains(&0) { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A template with its rows.
pub(super) struct Statement<'a> {
    template: &'a Template,
    columns: Vec<Column<'a>>,
}

impl Statement<'_> {
    /// Runs it, and returns the number of changed rows. The connection is shared, so that several
    /// statements can be on their way at once; the server takes them in the order of their first poll.
    pub(super) async fn run(self, mut connection: &AsyncPgConnection) -> QueryResult<usize> {
        self.execute(&mut connection).await
    }
}

impl QueryFragment<Pg> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&self.template.head);
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            match column {
                Column::Int(values) => out.push_bind_param::<Array<BigInt>, _>(values)?,
                Column::MaybeInt(values) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(values)?,
                Column::Float(values) => out.push_bind_param::<Array<Double>, _>(values)?,
                Column::MaybeFloat(values) => out.push_bind_param::<Array<Nullable<Double>>, _>(values)?,
                Column::Text(values) => out.push_bind_param::<Array<Text>, _>(values)?,
                Column::Bytes(values) => out.push_bind_param::<Array<Binary>, _>(values)?,
                Column::MaybeText(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(values)?,
            }
        }
        out.push_sql(&self.template.tail);
        Ok(())
    }
}

impl QueryId for Statement<'_> {
    type QueryId = ();

    // Not one type per text; the text itself is the key of the prepared statement.
    const HAS_STATIC_QUERY_ID: bool = false;
}
