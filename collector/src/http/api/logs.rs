//! Log lines.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::app::App;
use crate::clock;
use crate::http::dto::{LogLine, Page};
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::{
    Between, EventPagination, InEnvironment, InFormat, InOrder, LogFilter, OfPipeline, OnNode, WithLabels, read,
};
use crate::http::render::ListRequest;
use crate::query::list;
use crate::store::LogQuery;

/// Log lines, oldest first or newest first
#[utoipa::path(
    get,
    path = "/api/v1/logs",
    tag = "queries",
    params(InEnvironment, OnNode, WithLabels, OfPipeline, LogFilter, Between, InOrder, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<LogLine>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_logs(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, node, labels, pipeline, filter, between, order, pagination, format) = read::<(
        InEnvironment,
        OnNode,
        WithLabels,
        OfPipeline,
        LogFilter,
        Between,
        InOrder,
        EventPagination,
        InFormat,
    )>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let (from, to) = between.times(clock::now_ms())?;
    let query = LogQuery {
        environments: scope.environments(),
        node: node.key(&app, scope).await?,
        among: labels.among(&app, scope)?,
        pipelines: pipeline.keys(&app, scope).await?,
        min_level: filter.level,
        text: filter.q,
        from,
        to,
        order: order.order.into(),
        after: pagination.after()?,
        limit: pagination.limit(),
    };
    let lines = list::logs(&*app.store, query).await?;
    answer.page("logs", &Page::new(lines, LogLine::from))
}
