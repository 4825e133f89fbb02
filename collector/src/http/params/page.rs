//! Pages of lists.

use serde::Deserialize;
use utoipa::IntoParams;

use super::lists::read_cursor;
use super::number::Number;
use crate::http::error::ApiError;
use crate::query::fleet::order::Place;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Pagination {
    /// Items of a page.
    #[param(inline)]
    #[serde(default)]
    limit: Number<1, 1_000, 100>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Which page of a list whose items are small.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventPagination {
    /// Items of a page.
    #[param(inline)]
    #[serde(default)]
    limit: Number<1, 1_000, 500>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Which page of a list whose cursor is a text.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyPagination {
    /// Items of a page.
    #[param(inline)]
    #[serde(default)]
    limit: Number<1, 1_000, 500>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl KeyPagination {
    /// Items of a page.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit.0).unwrap_or(1)
    }
}

impl Pagination {
    /// Items of a page.
    pub(crate) fn limit(&self) -> i64 {
        self.limit.0
    }

    /// Items of a page, as a length.
    pub(crate) fn items(&self) -> usize {
        usize::try_from(self.limit.0).unwrap_or(0)
    }

    /// The place of the last item of the page before, in a sorted list.
    ///
    /// # Errors
    ///
    /// A 400 problem when this list has not returned this cursor.
    pub(super) fn place(&self, list: &str) -> Result<Option<Place>, ApiError> {
        self.cursor.as_deref().map(|text| read_cursor(list, text).ok_or_else(bad_cursor)).transpose()
    }

    /// The name and the key of the last item of the page before.
    ///
    /// # Errors
    ///
    /// A 400 problem when no list has returned this cursor.
    pub(crate) fn after(&self) -> Result<Option<(String, i64)>, ApiError> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let parsed = text.split_once('.').and_then(|(key, name)| Some((name.to_owned(), key.parse().ok()?)));
        parsed.map(Some).ok_or_else(bad_cursor)
    }
}

impl EventPagination {
    /// Items of a page.
    pub(crate) fn limit(&self) -> i64 {
        self.limit.0
    }

    /// The sequence number of the last item of the page before.
    ///
    /// # Errors
    ///
    /// A 400 problem when no list has returned this cursor.
    pub(crate) fn after(&self) -> Result<Option<i64>, ApiError> {
        self.cursor.as_deref().map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
    }
}

/// The answer to a cursor that no list has returned.
pub(super) fn bad_cursor() -> ApiError {
    ApiError::bad_parameter("cursor", "expected the `next` of a page")
}
