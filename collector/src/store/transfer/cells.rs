//! Values on their way from one database to another.

use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::Pg;
use diesel::row::{Field, NamedRow};
use diesel::sql_types::{BigInt, Binary, Double, Text};
use diesel::sqlite::{Sqlite, SqliteType};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The values of a row in the order of its columns.
pub(crate) type Row = Vec<Cell>;

impl Cell {
    /// The number of a column of numbers; 0 for null.
    pub(crate) fn as_int(&self) -> i64 {
        if let Cell::Int(value) = self { *value } else { 0 }
    }

    /// The text of a column of texts; empty for null.
    pub(crate) fn as_text(&self) -> &str {
        if let Cell::Text(value) = self { value } else { "" }
    }

    /// A key as one text, which [`Cell::read_key`] reads.
    pub(super) fn write_key(key: &[Cell]) -> String {
        let values = key.iter().map(|cell| match cell {
            Cell::Int(value) => serde_json::Value::from(*value),
            Cell::Text(value) => serde_json::Value::from(value.as_str()),
            Cell::Null | Cell::Float(_) | Cell::Bytes(_) => serde_json::Value::Null,
        });
        serde_json::Value::from_iter(values).to_string()
    }

    pub(super) fn read_key(text: &str) -> Row {
        let values: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
        let cell = |value| match value {
            serde_json::Value::String(value) => Cell::Text(value),
            value => value.as_i64().map_or(Cell::Null, Cell::Int),
        };
        values.into_iter().map(cell).collect()
    }
}

/// A row of any query.
pub(crate) struct AnyRow(pub Row);

impl QueryableByName<Sqlite> for AnyRow {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let cell = |index| -> deserialize::Result<Cell> {
            let field = diesel::row::Row::get(row, index).ok_or("a row has as many fields as it says")?;
            let Some(value) = Field::<Sqlite>::value(&field) else { return Ok(Cell::Null) };
            Ok(match value.value_type() {
                Some(SqliteType::Text) => Cell::Text(FromSql::<Text, Sqlite>::from_sql(value)?),
                Some(SqliteType::Double | SqliteType::Float) => {
                    Cell::Float(FromSql::<Double, Sqlite>::from_sql(value)?)
                }
                Some(SqliteType::Binary) => Cell::Bytes(FromSql::<Binary, Sqlite>::from_sql(value)?),
                _ => Cell::Int(FromSql::<BigInt, Sqlite>::from_sql(value)?),
            })
        };
        Ok(AnyRow((0..row.field_count()).map(cell).collect::<Result<_, _>>()?))
    }
}

impl QueryableByName<Pg> for AnyRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        const INT8: u32 = 20;
        const FLOAT8: u32 = 701;
        const BYTEA: u32 = 17;
        let cell = |index| -> deserialize::Result<Cell> {
            let field = diesel::row::Row::get(row, index).ok_or("a row has as many fields as it says")?;
            let Some(value) = Field::<Pg>::value(&field) else { return Ok(Cell::Null) };
            Ok(match value.get_oid().get() {
                INT8 => Cell::Int(FromSql::<BigInt, Pg>::from_sql(value)?),
                BYTEA => Cell::Bytes(FromSql::<Binary, Pg>::from_sql(value)?),
                FLOAT8 => Cell::Float(FromSql::<Double, Pg>::from_sql(value)?),
                _ => Cell::Text(FromSql::<Text, Pg>::from_sql(value)?),
            })
        };
        Ok(AnyRow((0..row.field_count()).map(cell).collect::<Result<_, _>>()?))
    }
}
