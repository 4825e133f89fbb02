//! What the shared queries of `store::sql` need to know of PostgreSQL.

use diesel::QueryDsl;
use diesel_async::AsyncPgConnection;

use crate::model::EnvironmentKey;
use crate::store::StoreError;
use crate::store::schema::environments;
use crate::store::sql::history::Dialect;

pub(super) use super::rows::storable;
pub(super) use diesel::pg::Pg as Backend;
pub(super) use diesel_async::RunQueryDsl;

pub(super) type Connection = AsyncPgConnection;

pub(super) const DIALECT: Dialect = Dialect::Postgres;

/// Values in one statement: a list is one value, an array.
pub(super) const MAX_VALUES: usize = usize::MAX;

/// A sequence gives no key twice.
pub(super) const REUSES_KEYS: bool = false;

/// What makes rows of a JSON array of keys, around the array.
pub(super) const KEYS: (&str, &str) = ("IN (SELECT value::bigint FROM json_array_elements_text(CAST(", " AS json)))");

/// Begins the condition that a line holds a text; the pattern follows. The case of ASCII letters alone, as on
/// SQLite, whatever the database's locale is.
pub(super) const LINE_LIKE: &str = "logs.line COLLATE \"C\" ILIKE ";

/// A query whose rows no other transaction changes until this one ends.
macro_rules! locked {
    ($query:expr) => {
        $query.for_update()
    };
}
pub(super) use locked;

/// How to run a query again whose exact sums do not fit: they do, in numbers of any size.
pub(super) fn saturating(_: &diesel::result::Error) -> Option<Dialect> {
    None
}

/// Keeps other changes of what an environment should run away until the transaction ends. Nodes can still enrol.
pub(super) async fn lock_environment(
    connection: &mut AsyncPgConnection,
    environment: EnvironmentKey,
) -> Result<(), StoreError> {
    environments::table
        .find(environment.0)
        .select(environments::id)
        .for_no_key_update()
        .first::<i64>(connection)
        .await?;
    Ok(())
}
