//! Steps of versions on nodes, as they were sent by the feed.

use std::fmt::Display;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use systole_shared::events::{Deployment, Event, EventType};
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

/// A step of a version on a node: the event of the feed with its sequence number.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NumberedDeployment {
    /// Its place in the sequence of the feed.
    seq: u64,
    /// Always `deployment`.
    r#type: EventType,
    #[serde(flatten)]
    deployment: Deployment,
}

impl NumberedDeployment {
    fn read(event: &StoredEvent) -> Result<Self, StoreError> {
        let fault = |fault: &dyn Display| StoreError::Corrupt(format!("event {}: {fault}", event.seq));
        match serde_json::from_str(&event.payload) {
            Ok(Event::Deployment(deployment)) => {
                Ok(NumberedDeployment { seq: event.seq, r#type: EventType::Deployment, deployment })
            }
            Ok(_) => Err(fault(&"is no deployment")),
            Err(error) => Err(fault(&error)),
        }
    }
}

impl Row for NumberedDeployment {
    const COLUMNS: &'static [&'static str] =
        &["seq", "type", "timestamp", "nodeId", "pipelineId", "version", "phase", "reason"];
}

/// Steps of versions on nodes, oldest first or newest first
#[utoipa::path(
    get,
    path = "/api/v1/deployments",
    tag = "queries",
    params(InEnvironment, OnNode, WithLabels, OfPipeline, Between, InOrder, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<NumberedDeployment>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_deployments(
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
        events: ListedEvents::Deployments,
        environments: scope.environments(),
        node: node.key(&app, scope).await?,
        among: labels.among(&app, scope)?,
        // A pipeline that no node has reported yet is deployed, too.
        pipelines: None,
        pipeline_id: pipeline.pipeline.map(|id| id.to_string()),
        from,
        to,
        order: order.order.into(),
        after: pagination.after()?,
        limit: pagination.limit(),
    };
    let found = list::events(&*app.store, query).await?;
    let items = found.items.iter().map(NumberedDeployment::read).collect::<Result<Vec<_>, _>>()?;
    answer.page("deployments", &Page { items, next: found.next })
}
