//! Nodes and environments.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};

use systole_shared::NodeId;

use crate::app::App;
use crate::clock;
use crate::http::dto::fleet::CountedPage;
use crate::http::dto::host::HostMinute;
use crate::http::dto::{Environment, History, Node, Page};
use crate::http::error::ApiError;
use crate::http::extract::{QueryAccess, ReadAccess};
use crate::http::openapi::problems::{Query, QueryOfOne};
use crate::http::params::{
    FoundPage, HistoryOf, InEnvironment, InFormat, NodeFilter, NodeOrder, Pagination, WithLabels, find_node_named, read,
};
use crate::http::render::ListRequest;
use crate::model::NodeKey;
use crate::query::{history, list};

/// Environments that the token sees, by name
#[utoipa::path(
    get,
    path = "/api/v1/environments",
    tag = "queries",
    params(InFormat),
    responses((status = 200, description = "All of them", content((Page<Environment>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_environments(
    app: Data<App>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (format,) = read::<(InFormat,)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let visible = app.auth.environments().into_iter().filter(|environment| reader.0.scope.includes(environment.key));
    let environments = visible
        .map(|environment| Environment {
            id: environment.id.to_string(),
            name: environment.name,
            created_at: environment.created_at,
        })
        .collect();
    answer.page("environments", &Page::complete(environments))
}

/// Nodes with their last state, host, health, labels, pipelines and sample
#[utoipa::path(
    get,
    path = "/api/v1/nodes",
    tag = "queries",
    params(InEnvironment, NodeFilter, WithLabels, NodeOrder, Pagination, InFormat),
    responses((status = 200, description = "A page", content((CountedPage<Node>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_nodes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, labels, order, pagination, format) =
        read::<(InEnvironment, NodeFilter, WithLabels, NodeOrder, Pagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let found = filter.page(&app, (&environment, &labels, &reader.0), &order, &pagination, clock::now_ms())?;
    let keys: Vec<NodeKey> = found.items.iter().map(|node| node.entry.key).collect();
    let items = list::nodes(&app.timeseries, found.scope, keys).await?;
    let found = FoundPage { scope: found.scope, items, next: found.next, total: found.total };
    answer.counted_page("nodes", &CountedPage::new(found, |node| Node::new(&app, node)))
}

/// A node, with the reports that its agent could not send any more
#[utoipa::path(
    get,
    path = "/api/v1/nodes/{id}",
    tag = "queries",
    params(("id" = inline(NodeId), Path, description = "The node"), InEnvironment),
    responses((status = 200, description = "The node", body = Node), QueryOfOne),
)]
pub(crate) async fn get_node(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<Node>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let node = find_node_named(&app, scope, &id).await?;
    let gaps = app.store.node_gaps(node.key).await?;
    Ok(Json(Node::new(&app, node).with_gaps(gaps)))
}

/// A host over time: gauges as last seen, counters since its boot, and rates
#[utoipa::path(
    get,
    path = "/api/v1/nodes/{id}/minutes",
    tag = "queries",
    params(("id" = inline(NodeId), Path, description = "The node"), InEnvironment, HistoryOf, InFormat),
    responses((status = 200, description = "A page", content((History<HostMinute>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_node_minutes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment, steps, format) = read::<(InEnvironment, HistoryOf, InFormat)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let answer = ListRequest::new(&request, &format)?;
    let page = steps.page(&app.config.retention, clock::now_ms())?;
    let range = page.range;
    let node = find_node_named(&app, scope, &id).await?;
    let spans = history::host(&app.timeseries, node.key, range).await?;
    let from = range.from.saturating_mul(range.step.ms());
    let items = HostMinute::all(range.step, &spans).filter(|item| item.at() >= from);
    answer.history("node", &History::new(&page, items.collect()))
}
