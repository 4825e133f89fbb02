//! A PostgreSQL database as one side of a copy.

use async_trait::async_trait;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use super::connect::Connector;
use super::rows::{Column, Template, storable};
use super::{copy, lock, open};
use crate::config::PostgresUrl;
use crate::store::StoreError;
use crate::store::transfer::{Bound, Cell, Kind, Row, Side, Table, TransferStep};

/// A connection: one that holds the lock, which keeps collectors away, or one that sees one moment only.
pub(crate) struct PostgresSide(AsyncPgConnection);

impl PostgresSide {
    /// Connects, and brings the database to this version.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or is of another version.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, StoreError> {
        let connector = Connector::new(url)?;
        let mut connection = connector.connect().await?;
        lock(&mut connection, &connector).await?;
        Ok(PostgresSide(open::migrate(connection, connector.shown()).await?))
    }

    /// Reads the database as it is now, whatever a collector writes meanwhile. Nothing is migrated.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    pub(crate) async fn snapshot(url: &PostgresUrl) -> Result<Self, StoreError> {
        let connector = Connector::new(url)?;
        let mut connection = connector.connect().await?;
        connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        open::refuse_other_version(&mut connection, connector.shown()).await?;
        open::refuse_incomplete(&mut connection, connector.shown()).await?;
        Ok(PostgresSide(connection))
    }
}

pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    table: &Table,
    rows: Vec<Row>,
) -> Result<(), StoreError> {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let column = |(index, (_, kind)): (usize, &(String, Kind))| {
        let cells = rows.iter().map(|row| &row[index]);
        match kind {
            Kind::Int => Column::MaybeInt(
                cells.map(|cell| if let Cell::Int(value) = cell { Some(*value) } else { None }).collect(),
            ),
            Kind::Float => Column::MaybeFloat(
                cells.map(|cell| if let Cell::Float(value) = cell { Some(*value) } else { None }).collect(),
            ),
            Kind::Text => Column::MaybeText(
                cells.map(|cell| if let Cell::Text(value) = cell { Some(storable(value)) } else { None }).collect(),
            ),
            Kind::Bytes => Column::Bytes(
                cells.map(|cell| if let Cell::Bytes(value) = cell { value.as_slice() } else { &[] }).collect(),
            ),
        }
    };
    let columns = table.columns.iter().enumerate().map(column).collect();
    Template::insert(table.name, &names).with(columns).run(connection).await?;
    Ok(())
}

#[async_trait]
impl Side for PostgresSide {
    async fn query(&mut self, query: Bound) -> Result<Vec<Row>, StoreError> {
        copy::query(&mut self.0, query).await
    }

    async fn write(&mut self, steps: Vec<TransferStep<'_>>) -> Result<(), StoreError> {
        self.0.transaction(async move |connection: &mut AsyncPgConnection| copy::write(connection, steps).await).await
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>, StoreError> {
        let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns \
            WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
        let types = [("bigint", Kind::Int), ("double precision", Kind::Float), ("bytea", Kind::Bytes)];
        copy::columns(&mut self.0, sql, types, table).await
    }

    async fn adopt_keys(&mut self) -> Result<(), StoreError> {
        for table in ["environments", "nodes", "definitions", "rollouts", "audit", "silences"] {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 1), max(id) IS NOT NULL) \
                 FROM {table}"
            );
            self.query((sql, Vec::new())).await?;
        }
        Ok(())
    }
}
