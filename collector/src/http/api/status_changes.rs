//! Status changes of nodes and pipelines.

use std::fmt::Display;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use systole_shared::events::{Event, EventType, StatusChange};
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::dto::Page;
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::{
    Between, EventPagination, InEnvironment, InFormat, InOrder, OfPipeline, OnNode, WithLabels, read,
};
use crate::http::render::{ListRequest, Row};
use crate::query::list;
use crate::store::{EventQuery, ListedEvents, StoreError, StoredEvent};

/// A status change: the event of the feed with its sequence number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberedStatusChange)]
pub(crate) struct NumberedChange {
    /// Its place in the sequence of the feed.
    seq: u64,
    /// Always `status_change`.
    r#type: EventType,
    #[serde(flatten)]
    change: StatusChange,
}

impl NumberedChange {
    fn read(event: &StoredEvent) -> Result<Self, StoreError> {
        let fault = |fault: &dyn Display| StoreError::Corrupt(format!("event {}: {fault}", event.seq));
        match serde_json::from_str(&event.payload) {
            Ok(Event::StatusChange(change)) => {
                Ok(NumberedChange { seq: event.seq, r#type: EventType::StatusChange, change })
            }
            Ok(_) => Err(fault(&"is no status change")),
            Err(error) => Err(fault(&error)),
        }
    }
}

impl Row for NumberedChange {
    const COLUMNS: &'static [&'static str] = &[
        "seq",
        "type",
        "timestamp",
        "nodeId",
        "nodeName",
        "pipelineId",
        "pipelineName",
        "fromStatus",
        "toStatus",
        "reason",
    ];
}

/// Status changes of nodes and pipelines, oldest first or newest first
#[utoipa::path(
    get,
    path = "/api/v1/status-changes",
    tag = "queries",
    params(InEnvironment, OnNode, WithLabels, OfPipeline, Between, InOrder, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<NumberedChange>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_status_changes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, node, labels, pipeline, between, order, pagination, format) =
        read::<(InEnvironment, OnNode, WithLabels, OfPipeline, Between, InOrder, EventPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let (from, to) = between.times(clock::now_ms())?;
    let query = EventQuery {
        environments: scope.environments(),
        node: node.key(&app, scope).await?,
        among: labels.among(&app, scope)?,
        pipelines: pipeline.keys(&app, scope).await?,
        pipeline_id: None,
        events: ListedEvents::StatusChanges,
        from,
        to,
        order: order.order.into(),
        after: pagination.after()?,
        limit: pagination.limit(),
    };
    let changes = list::events(&*app.store, query).await?;
    let items = changes.items.iter().map(NumberedChange::read).collect::<Result<Vec<_>, _>>()?;
    answer.page("status-changes", &Page { items, next: changes.next })
}
