//! What the shared queries of `store::sql` need to know of SQLite.

use std::borrow::Cow;

use diesel::query_dsl::methods::{ExecuteDsl, LimitDsl, LoadQuery};
use diesel::{QueryResult, SqliteConnection};
use futures_util::FutureExt;

use crate::store::sql::history::Dialect;

pub(super) use diesel::sqlite::Sqlite as Backend;

pub(super) type Connection = SqliteConnection;

pub(super) const DIALECT: Dialect = Dialect::Sqlite;

/// Values in one statement: SQLite takes 32,766, and a snapshot has all nodes.
pub(super) const MAX_VALUES: usize = 10_000;

/// A table gives the key of its newest row again once that is removed.
pub(super) const REUSES_KEYS: bool = true;

/// What makes rows of a JSON array of keys, around the array. One value, however many keys there are.
pub(super) const KEYS: (&str, &str) = ("IN (SELECT value FROM json_each(", "))");

/// Begins the condition that a line holds a text; the pattern follows.
pub(super) const LINE_LIKE: &str = "logs.line LIKE ";

/// The result of a shared query. SQLite answers before a call returns, so none of its futures ever waits.
pub(super) fn ready<T>(query: impl Future<Output = T>) -> T {
    query.now_or_never().expect("a query on SQLite does not wait")
}

/// A text as the database can hold it.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// A query whose rows no other transaction changes until this one ends: SQLite has one that writes.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}
pub(super) use locked;

/// How to run a query again whose exact sums do not fit.
pub(super) fn saturating(error: &diesel::result::Error) -> Option<Dialect> {
    error.to_string().contains("integer overflow").then_some(Dialect::SqliteSaturating)
}

/// diesel's methods with the shape of diesel-async's.
pub(super) trait RunQueryDsl: Sized {
    async fn load<'query, U>(self, connection: &mut SqliteConnection) -> QueryResult<Vec<U>>
    where
        Self: LoadQuery<'query, SqliteConnection, U> + diesel::RunQueryDsl<SqliteConnection>,
    {
        diesel::RunQueryDsl::load(self, connection)
    }

    async fn get_result<'query, U>(self, connection: &mut SqliteConnection) -> QueryResult<U>
    where
        Self: LoadQuery<'query, SqliteConnection, U> + diesel::RunQueryDsl<SqliteConnection>,
    {
        diesel::RunQueryDsl::get_result(self, connection)
    }

    async fn get_results<'query, U>(self, connection: &mut SqliteConnection) -> QueryResult<Vec<U>>
    where
        Self: LoadQuery<'query, SqliteConnection, U> + diesel::RunQueryDsl<SqliteConnection>,
    {
        diesel::RunQueryDsl::get_results(self, connection)
    }

    async fn first<'query, U>(self, connection: &mut SqliteConnection) -> QueryResult<U>
    where
        Self: LimitDsl + diesel::RunQueryDsl<SqliteConnection>,
        diesel::dsl::Limit<Self>: LoadQuery<'query, SqliteConnection, U>,
    {
        diesel::RunQueryDsl::first(self, connection)
    }

    async fn execute(self, connection: &mut SqliteConnection) -> QueryResult<usize>
    where
        Self: ExecuteDsl<SqliteConnection> + diesel::RunQueryDsl<SqliteConnection>,
    {
        diesel::RunQueryDsl::execute(self, connection)
    }
}

impl<Q> RunQueryDsl for Q {}

/// Keeps other changes of what an environment should run away until the transaction ends: there is one writer.
pub(super) async fn lock_environment(
    _: &mut SqliteConnection,
    _: crate::model::EnvironmentKey,
) -> Result<(), crate::store::StoreError> {
    Ok(())
}
