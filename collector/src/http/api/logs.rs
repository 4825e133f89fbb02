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
    Between, EventPagination, InEnvironment, InFormat, InOrder, LogFilter, OfPipeline, OnNode, read,
};
use crate::http::render::ListRequest;
use crate::store::LogQuery;

/// Log lines, oldest first or newest first
#[utoipa::path(
    get,
    path = "/api/v1/logs",
    tag = "queries",
    params(InEnvironment, OnNode, OfPipeline, LogFilter, Between, InOrder, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<LogLine>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_logs(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, node, pipeline, filter, between, order, pagination, format) =
        read::<(InEnvironment, OnNode, OfPipeline, LogFilter, Between, InOrder, EventPagination, InFormat)>(&request)?;
    let list = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let limit = pagination.limit();
    let (from, to) = between.times(clock::now_ms())?;
    let query = LogQuery {
        environments: scope.environments(),
        node: node.key(&app, scope).await?,
        pipelines: pipeline.keys(&app, scope).await?,
        min_level: filter.level,
        text: filter.q,
        from,
        to,
        order: order.order.into(),
        after: pagination.after()?,
        limit: limit + 1,
    };
    let mut lines = app.store.list_logs(query).await?;
    let more = lines.len() as i64 > limit;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|line| line.seq.to_string());
    list.page("logs", &Page { items: lines.into_iter().map(LogLine::from).collect(), next })
}
