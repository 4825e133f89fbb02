//! A whole number with bounds and a default.

use serde::{Deserialize, Deserializer, de::Error};
use utoipa::PartialSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// From `MIN` to `MAX`; `DEFAULT` when the parameter is absent. ReadAccess and description have the same bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<const MIN: i64, const MAX: i64, const DEFAULT: i64>(pub i64);

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> Default for Number<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Number(DEFAULT)
    }
}

impl<'de, const MIN: i64, const MAX: i64, const DEFAULT: i64> Deserialize<'de> for Number<MIN, MAX, DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            number if (MIN..=MAX).contains(&number) => Ok(Number(number)),
            number => Err(D::Error::custom(format!("{number} is not between {MIN} and {MAX}"))),
        }
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> PartialSchema for Number<MIN, MAX, DEFAULT> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Integer))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .default(Some(DEFAULT.into()))
            .into()
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> utoipa::ToSchema for Number<MIN, MAX, DEFAULT> {}
