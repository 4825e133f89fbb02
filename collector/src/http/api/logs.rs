//! Log lines.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::LogLevel;

use crate::app::App;
use crate::http::dto::{LogLine, Page};
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::parameters::{
    Between, EventPagination, InEnvironment, InFormat, LogFilter, OfPipeline, OnNode,
};
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::Params;
use crate::http::render::ListRequest;
use crate::store::LogQuery;

/// Bytes of `q`: every line is searched for it, and the database takes no pattern of any length.
const MAX_TEXT_BYTES: usize = 1_024;

fn read_text(params: &Params) -> Result<Option<String>, ApiError> {
    match params.text("q") {
        Some(text) if text.len() > MAX_TEXT_BYTES => {
            Err(ApiError::bad_parameter("q", format!("is longer than {MAX_TEXT_BYTES} bytes")))
        }
        // No line has one on PostgreSQL, and SQLite's comparison ends there.
        Some(text) if text.contains('\0') => Err(ApiError::bad_parameter("q", "has a NUL")),
        text => Ok(text.map(str::to_owned)),
    }
}

/// Log lines, oldest first
#[utoipa::path(
    get,
    path = "/api/v1/logs",
    tag = "queries",
    params(InEnvironment, OnNode, OfPipeline, LogFilter, Between, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<LogLine>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_logs(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let list = ListRequest::read(&request, &params)?;
    let scope = params.scope(&app, &reader.0)?;
    let limit = params.limit(500)?;
    let min_level = params
        .text("level")
        .map(|text| {
            LogLevel::parse(text).ok_or_else(|| {
                ApiError::bad_parameter("level", format!("{text:?} is none of trace, debug, info, warn, error"))
            })
        })
        .transpose()?;
    let (from, to) = params.times()?;
    let query = LogQuery {
        environments: scope.environments(),
        node: params.node(&app, scope).await?,
        pipelines: params.pipelines(&app, scope).await?,
        min_level,
        text: read_text(&params)?,
        from,
        to,
        after: params.get("cursor")?.unwrap_or(0),
        limit: limit + 1,
    };
    let mut lines = app.store.list_logs(query).await?;
    let more = lines.len() as i64 > limit;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|line| line.seq.to_string());
    list.page("logs", &Page { items: lines.into_iter().map(LogLine::from).collect(), next })
}
