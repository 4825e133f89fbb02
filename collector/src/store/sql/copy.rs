//! A database as one side of a copy; see [`crate::store::transfer`].

use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text};

use super::backend::{Backend, Connection, RunQueryDsl};
use super::transfer::insert;
use crate::store::StoreError;
use crate::store::transfer::{AnyRow, Bound, Cell, Kind, Row, TransferStep};

/// The rows that a query gives.
pub(super) async fn query(connection: &mut Connection, query: Bound) -> Result<Vec<Row>, StoreError> {
    let rows: Vec<AnyRow> = bound(query).load(connection).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Takes steps. The caller has begun the transaction.
pub(super) async fn write(connection: &mut Connection, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError> {
    for step in steps {
        match step {
            TransferStep::Insert(table, rows) => insert(connection, table, rows).await?,
            TransferStep::Run(statement) => {
                bound(statement).execute(connection).await?;
            }
        }
    }
    Ok(())
}

/// Names and kinds of a table's columns. `sql` asks for names and types of table $1, `types` has the names of types
/// that are not texts.
pub(super) async fn columns(
    connection: &mut Connection,
    sql: &str,
    types: [(&str, Kind); 3],
    table: &str,
) -> Result<Vec<(String, Kind)>, StoreError> {
    let rows = query(connection, (sql.to_owned(), vec![Cell::Text(table.to_owned())])).await?;
    let kind = |name: &str| types.iter().find(|(known, _)| *known == name).map_or(Kind::Text, |(_, kind)| *kind);
    Ok(rows.iter().map(|row| (row[0].as_text().to_owned(), kind(row[1].as_text()))).collect())
}

pub(super) fn bound((sql, values): Bound) -> BoxedSqlQuery<'static, Backend, SqlQuery> {
    values.into_iter().fold(sql_query(sql).into_boxed(), |query, value| match value {
        Cell::Null => query.bind::<Nullable<Text>, _>(None::<String>),
        Cell::Int(value) => query.bind::<BigInt, _>(value),
        Cell::Float(value) => query.bind::<Double, _>(value),
        Cell::Text(value) => query.bind::<Text, _>(value),
        Cell::Bytes(value) => query.bind::<Binary, _>(value),
    })
}
