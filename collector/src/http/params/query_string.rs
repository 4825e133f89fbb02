//! Reads a query string into typed parameters.
//!
//! The type that describes parameters in the OpenAPI document is the type that reads them, so the two cannot differ.
//! Crates for query strings read one struct and do not name the parameter that is wrong; here several structs share
//! one query string, and each parameter that none of them has is an error.

use std::fmt;

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::http::error::ApiError;

/// A query string, with the values of a repeated parameter together.
#[derive(Debug)]
pub(crate) struct QueryString(Vec<(String, Vec<String>)>);

/// An invalid parameter.
#[derive(Debug)]
pub(super) struct ParameterError {
    name: Option<String>,
    detail: String,
}

/// Structs that read one query string together.
pub(crate) trait ParameterSet: Sized {
    /// Reads each struct, and adds the names of its parameters to `known`.
    fn read(query: &QueryString, known: &mut Vec<&'static str>) -> Result<Self, ApiError>;
}

macro_rules! parameter_set {
    ($($part:ident)+) => {
        impl<$($part: DeserializeOwned),+> ParameterSet for ($($part,)+) {
            fn read(query: &QueryString, known: &mut Vec<&'static str>) -> Result<Self, ApiError> {
                Ok(($(read_part::<$part>(query, known)?,)+))
            }
        }
    };
}

parameter_set!(A);
parameter_set!(A B);
parameter_set!(A B C);
parameter_set!(A B C D);
parameter_set!(A B C D E);
parameter_set!(A B C D E F);
parameter_set!(A B C D E F G);
parameter_set!(A B C D E F G H);
parameter_set!(A B C D E F G H I);

/// Reads the parameters of a request.
///
/// # Errors
///
/// A 400 problem that names the parameter: one with a bad, empty or repeated value, one that is missing, or one that
/// no struct of `T` has.
pub(crate) fn read<T: ParameterSet>(request: &HttpRequest) -> Result<T, ApiError> {
    let query = QueryString::of(request)?;
    let mut known = Vec::new();
    let read = T::read(&query, &mut known)?;
    match query.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(ApiError::bad_parameter(name, format!("unknown parameter, expected one of {}", known.join(", "))))
        }
        None => Ok(read),
    }
}

/// Reads the parameters of a request that may also have others, for clients that are not ours.
///
/// # Errors
///
/// As [`read`], without unknown parameters.
pub(crate) fn read_known<T: ParameterSet>(request: &HttpRequest) -> Result<T, ApiError> {
    T::read(&QueryString::of(request)?, &mut Vec::new())
}

fn read_part<T: DeserializeOwned>(query: &QueryString, known: &mut Vec<&'static str>) -> Result<T, ApiError> {
    T::deserialize(Part { query, known }).map_err(|error| match error.name {
        Some(name) => ApiError::bad_parameter(&name, error.detail),
        None => ApiError::bad_request(error.detail),
    })
}

impl QueryString {
    /// Reads the query string of a request.
    ///
    /// # Errors
    ///
    /// A 400 problem when it is not `application/x-www-form-urlencoded`.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| ApiError::bad_request(format!("cannot read the query string: {error}")))?;
        let mut query: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in pairs.into_inner() {
            match query.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => query.push((name, vec![value])),
            }
        }
        Ok(QueryString(query))
    }

    /// Names and values, repeated ones one after the other.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())))
    }
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ParameterError {}

impl serde::de::Error for ParameterError {
    fn custom<T: fmt::Display>(detail: T) -> Self {
        ParameterError { name: None, detail: detail.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        ParameterError { name: Some(field.to_owned()), detail: "is missing".to_owned() }
    }
}

/// The parameters of one struct: serde passes the names of its fields.
struct Part<'a> {
    query: &'a QueryString,
    known: &'a mut Vec<&'static str>,
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = ParameterError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        self.known.extend(fields);
        visitor.visit_map(Fields { query: &self.query.0, fields, value: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ParameterError> {
        Err(ParameterError::custom("parameters are read into structs"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'a> {
    query: &'a [(String, Vec<String>)],
    fields: &'static [&'static str],
    value: Option<&'a (String, Vec<String>)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = ParameterError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ParameterError> {
        while let Some((parameter, rest)) = self.query.split_first() {
            self.query = rest;
            if self.fields.contains(&parameter.0.as_str()) {
                self.value = Some(parameter);
                let name: StrDeserializer<'_, ParameterError> = parameter.0.as_str().into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ParameterError> {
        let Some((name, values)) = self.value.take() else {
            return Err(ParameterError::custom("a value is read after its name"));
        };
        seed.deserialize(Values(values))
            .map_err(|error| ParameterError { name: Some(name.clone()), detail: error.detail })
    }
}

/// The values of one parameter.
struct Values<'a>(&'a [String]);

impl<'a> Values<'a> {
    /// The value of a parameter that may occur once. A filter that a script left empty must not mean "all".
    fn single(&self) -> Result<&'a str, ParameterError> {
        match self.0 {
            [value] if value.is_empty() => Err(ParameterError::custom("is empty; leave the parameter out")),
            [value] => Ok(value),
            _ => Err(ParameterError::custom("occurs more than once")),
        }
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident $type:ty),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
            let text = self.single()?;
            let value = text.parse::<$type>();
            visitor.$visit(value.map_err(|error| ParameterError::custom(format!("{text:?}: {error}")))?)
        }
    )+};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = ParameterError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        visitor.visit_str(self.single()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParameterError> {
        visitor.visit_seq(Repeated(self.0))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParameterError> {
        let name: StrDeserializer<'_, ParameterError> = self.single()?.into_deserializer();
        visitor.visit_enum(name)
    }

    parse! {
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64, deserialize_i64 visit_i64 i64,
        deserialize_f64 visit_f64 f64, deserialize_bool visit_bool bool
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Repeated<'a>(&'a [String]);

impl<'de> SeqAccess<'de> for Repeated<'_> {
    type Error = ParameterError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ParameterError> {
        let Some((_, rest)) = self.0.split_first() else { return Ok(None) };
        let value = Values(&self.0[..1]);
        self.0 = rest;
        seed.deserialize(value).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Page {
        limit: Option<u32>,
        #[serde(default)]
        node: Vec<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Kind {
        format: Option<Format>,
        pipeline: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Json,
        Csv,
    }

    fn request(query: &str) -> HttpRequest {
        TestRequest::with_uri(&format!("/?{query}")).to_http_request()
    }

    fn detail(query: &str) -> String {
        let error = read::<(Page, Kind)>(&request(query)).unwrap_err().to_string();
        error.strip_prefix("400 Bad Request: ").unwrap().to_owned()
    }

    #[test]
    fn structs_share_a_query_string() {
        let (page, kind) = read::<(Page, Kind)>(&request("pipeline=a%20b&node=x&limit=7&node=y&format=csv")).unwrap();
        assert_eq!(page, Page { limit: Some(7), node: vec!["x".to_owned(), "y".to_owned()] });
        assert_eq!(kind, Kind { format: Some(Format::Csv), pipeline: "a b".to_owned() });
    }

    #[test]
    fn error_names_the_parameter() {
        for (query, part) in [
            ("", "pipeline: is missing"),
            ("pipeline=", "pipeline: is empty"),
            ("pipeline=a&node=", "node: is empty"),
            ("pipeline=a&pipeline=b", "pipeline: occurs more than once"),
            ("pipeline=a&limit=x", "limit: \"x\": invalid digit"),
            ("pipeline=a&format=xml", "format: unknown variant `xml`, expected `json` or `csv`"),
            ("pipeline=a&label=x", "label: unknown parameter, expected one of limit, node, format, pipeline"),
        ] {
            assert!(detail(query).starts_with(part), "{query}: {}", detail(query));
        }
    }

    #[test]
    fn read_known_accepts_other_parameters() {
        let (page,) = read_known::<(Page,)>(&request("limit=3&cacheBust=1")).unwrap();
        assert_eq!(page.limit, Some(3));
    }
}
