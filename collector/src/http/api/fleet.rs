//! Lists of a whole fleet in small forms, out of memory: what tables and maps show.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::app::App;
use crate::clock;
use crate::http::dto::fleet::{CountedPage, FleetMap, FleetNode, FleetPipeline};
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::Query;
use crate::http::params::{
    GroupBy, InEnvironment, InFormat, NodeFilter, NodeOrder, Pagination, PipelineFilter, PipelineOrder, WithLabels,
    read,
};
use crate::http::render::{ListRequest, compressed};

/// Nodes with their last sample, in the form of a table
///
/// Out of memory, and ten times smaller than the nodes of `/api/v1/nodes`.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/nodes",
    tag = "queries",
    params(InEnvironment, NodeFilter, WithLabels, NodeOrder, Pagination, InFormat),
    responses((status = 200, description = "A page", content((CountedPage<FleetNode>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_fleet_nodes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, labels, order, pagination, format) =
        read::<(InEnvironment, NodeFilter, WithLabels, NodeOrder, Pagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let now = clock::now_ms();
    let found = filter.page(&app, (&environment, &labels, &reader.0), &order, &pagination, now)?;
    let names = app.directory.pipelines();
    answer.counted_page("nodes", &CountedPage::new(found, |node| FleetNode::new(&app, &names, &node, now)))
}

/// Pipelines over the nodes that have them, in the form of a table
///
/// With `label`: over nodes that match. Out of memory.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/pipelines",
    tag = "queries",
    params(InEnvironment, PipelineFilter, WithLabels, PipelineOrder, Pagination, InFormat),
    responses((status = 200, description = "A page", content((CountedPage<FleetPipeline>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_fleet_pipelines(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, labels, order, pagination, format) =
        read::<(InEnvironment, PipelineFilter, WithLabels, PipelineOrder, Pagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let now = clock::now_ms();
    let found = filter.page(&app, (&environment, &labels, &reader.0), &order, &pagination, now)?;
    answer.counted_page("pipelines", &CountedPage::new(found, |pipeline| FleetPipeline::new(&app, pipeline)))
}

/// All nodes with their state, in columns
///
/// Ids, names, states and a group of each node in one answer, by name.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/map",
    tag = "queries",
    params(InEnvironment, NodeFilter, WithLabels, GroupBy),
    responses((status = 200, description = "All of them", body = FleetMap), Query),
)]
pub(crate) async fn get_fleet_map(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, labels, group) = read::<(InEnvironment, NodeFilter, WithLabels, GroupBy)>(&request)?;
    let nodes = filter.all(&app, (&environment, &labels, &reader.0), clock::now_ms())?;
    compressed(&request, &FleetMap::new(&nodes, group.group.as_deref()))
}
