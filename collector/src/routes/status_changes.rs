//! When nodes and pipelines changed their state.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use systole_shared::events::Event;
use utoipa::ToSchema;

use super::extract::Reader;
use super::lists::{ListRequest, Row};
use super::openapi::parameters::{Between, InEnvironment, InFormat, OfPipeline, OnNode, PageOf500};
use super::openapi::problems::QueryOfOne;
use super::params::Params;
use super::views::Page;
use crate::app::App;
use crate::error::ApiError;
use crate::store::{StatusChangeQuery, StoreError};

/// A status change: the event of the feed with its sequence number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberedStatusChange)]
pub(crate) struct NumberedEvent {
    /// Its place in the sequence of the feed.
    seq: u64,
    #[serde(flatten)]
    event: Event,
}

impl Row for NumberedEvent {
    const COLUMNS: &'static [&'static str] =
        &["seq", "type", "timestamp", "nodeId", "pipelineId", "pipelineName", "fromStatus", "toStatus", "reason"];
}

/// When nodes and pipelines changed their state, oldest first
#[utoipa::path(
    get,
    path = "/api/v1/status-changes",
    tag = "queries",
    params(InEnvironment, OnNode, OfPipeline, Between, PageOf500, InFormat),
    responses((status = 200, description = "A page", content((Page<NumberedEvent>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_status_changes(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let list = ListRequest::read(&request, &params)?;
    let scope = params.scope(&app, &reader.0)?;
    let limit = params.limit(500)?;
    let (from, to) = params.times()?;
    let query = StatusChangeQuery {
        environments: scope.environments(),
        node: params.node(&app, scope).await?,
        pipelines: params.pipelines(&app, scope).await?,
        from,
        to,
        after: params.get("cursor")?.unwrap_or(0),
        limit: limit + 1,
    };
    let mut changes = app.store.list_status_changes(query).await?;
    let more = changes.len() as i64 > limit;
    changes.truncate(limit as usize);
    let next = changes.last().filter(|_| more).map(|change| change.seq.to_string());
    let items = changes
        .into_iter()
        .map(|change| {
            let event = serde_json::from_str(&change.payload)
                .map_err(|error| StoreError::Corrupt(format!("event {}: {error}", change.seq)))?;
            Ok(NumberedEvent { seq: change.seq, event })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    list.page("status-changes", &Page { items, next })
}
