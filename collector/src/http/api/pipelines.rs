//! Pipelines and their counters.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::{PipelineId, UnixMillis};

use crate::app::App;
use crate::clock;
use crate::http::dto::fleet::CountedPage;
use crate::http::dto::{ComponentMinute, History, Pipeline, PipelineMinute};
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::{Query, QueryOfPipeline};
use crate::http::params::{
    FoundPage, HistoryOf, InEnvironment, InFormat, OnNode, Pagination, PipelineFilter, PipelineOrder, StepPage,
    WithLabels, find_pipeline, find_pipeline_view, read,
};
use crate::http::render::ListRequest;
use crate::model::{NodeKey, PipelineKey, Resolution};
use crate::query::history::{self, KeptMinutes};
use crate::query::list;

/// Pipelines with their state on each node
///
/// With `label`: pipelines on nodes that match, and their state on these.
#[utoipa::path(
    get,
    path = "/api/v1/pipelines",
    tag = "queries",
    params(InEnvironment, PipelineFilter, WithLabels, PipelineOrder, Pagination, InFormat),
    responses((status = 200, description = "A page", content((CountedPage<Pipeline>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_pipelines(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, labels, order, pagination, format) =
        read::<(InEnvironment, PipelineFilter, WithLabels, PipelineOrder, Pagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let found = filter.page(&app, (&environment, &labels, &reader.0), &order, &pagination, clock::now_ms())?;
    let keys: Vec<PipelineKey> = found.items.iter().map(|pipeline| pipeline.entry.key).collect();
    let among = labels.among(&app, found.scope)?;
    let items = list::pipelines(&*app.store, found.scope, keys, among).await?;
    let found = FoundPage { scope: found.scope, items, next: found.next, total: found.total };
    answer.counted_page("pipelines", &CountedPage::new(found, |pipeline| Pipeline::new(&app, pipeline)))
}

/// A pipeline with its state on each node
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}",
    tag = "queries",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 200, description = "The pipeline", body = Pipeline), QueryOfPipeline),
)]
pub(crate) async fn get_pipeline(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<Pipeline>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let pipeline = find_pipeline_view(&app, scope, &id).await?;
    Ok(Json(Pipeline::new(&app, pipeline)))
}

/// The counters of a pipeline, by minute, hour or day
///
/// Summed over nodes unless one is named. An item without reports is not there; `samples` counts reports with a
/// sample, `gaps` those whose scrape failed.
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/minutes",
    tag = "queries",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, HistoryOf, OnNode, InFormat),
    responses((status = 200, description = "A page", content((History<PipelineMinute>), (String = "text/csv"))), QueryOfPipeline),
)]
pub(crate) async fn list_pipeline_minutes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let MinutesRequest { answer, page, pipeline, node } = MinutesRequest::read(&app, &reader, &request, &id).await?;
    let now = clock::now_ms();
    let kept = i64::try_from(app.config.retention.minutes.as_millis()).unwrap_or(i64::MAX);
    let minute = |at: UnixMillis| at.div_euclid(Resolution::Minute.ms());
    let kept = KeptMinutes { from: minute(now.saturating_sub(kept)) + 1, to: minute(now) };
    let found = history::pipeline(&app.timeseries, pipeline, node, page.range, kept).await?;
    let item = |(view, extremes)| PipelineMinute::new(page.range.step, view, extremes);
    let items = found.items.into_iter().map(item).collect();
    answer.history("pipeline", &History::new(&page, items).with_extremes(found.extremes))
}

/// The counters of a pipeline's components, by minute, hour or day
///
/// Summed over nodes unless one is named. A page has an item for each component in each of its steps.
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/components/minutes",
    tag = "queries",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, HistoryOf, OnNode, InFormat),
    responses((status = 200, description = "A page", content((History<ComponentMinute>), (String = "text/csv"))), QueryOfPipeline),
)]
pub(crate) async fn list_component_minutes(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let MinutesRequest { answer, page, pipeline, node } = MinutesRequest::read(&app, &reader, &request, &id).await?;
    let found = history::components(&app.timeseries, pipeline, node, page.range).await?;
    let item = |(view, extremes)| ComponentMinute::new(page.range.step, view, extremes);
    let items = found.items.into_iter().map(item).collect();
    answer.history("components", &History::new(&page, items).with_extremes(found.extremes))
}

/// A question for a history of a pipeline or of its components.
struct MinutesRequest {
    answer: ListRequest,
    page: StepPage,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
}

impl MinutesRequest {
    async fn read(app: &App, reader: &QueryAccess, request: &HttpRequest, id: &str) -> Result<Self, ApiError> {
        let (environment, history, node, format) = read::<(InEnvironment, HistoryOf, OnNode, InFormat)>(request)?;
        let scope = environment.scope(app, &reader.0)?;
        let answer = ListRequest::new(request, &format)?;
        let page = history.page(&app.config.retention, clock::now_ms())?;
        let node = node.key(app, scope).await?;
        let pipeline = find_pipeline(app, scope, id).await?.key;
        Ok(MinutesRequest { answer, page, pipeline, node })
    }
}
