//! Pipelines and what they counted.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::extract::Reader;
use super::lists::ListRequest;
use super::nodes::read_cursor;
use super::params::{Params, find_pipeline};
use super::views::{ComponentMinute, History, Page, Pipeline, PipelineMinute};
use crate::app::App;
use crate::error::ApiError;
use crate::store::PipelineQuery;

/// `GET /api/v1/pipelines?environment&limit&cursor&format`
pub(crate) async fn list_pipelines(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let list = ListRequest::read(&request, &params)?;
    let limit = params.limit(100)?;
    let query = PipelineQuery {
        environments: params.scope(&app, &reader.0)?.environments(),
        id: None,
        after: params.text("cursor").map(read_cursor).transpose()?,
        limit: limit + 1,
    };
    let mut pipelines = app.store.list_pipelines(query).await?;
    let more = pipelines.len() as i64 > limit;
    pipelines.truncate(limit as usize);
    let next = pipelines.last().filter(|_| more).map(|pipeline| format!("{}.{}", pipeline.key, pipeline.id));
    let items = pipelines.into_iter().map(|pipeline| Pipeline::new(&app, pipeline)).collect();
    list.page("pipelines", &Page { items, next })
}

/// `GET /api/v1/pipelines/{id}?environment`
pub(crate) async fn get_pipeline(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<Pipeline>, ApiError> {
    let scope = Params::read(&request)?.scope(&app, &reader.0)?;
    let pipeline = find_pipeline(&app, scope, &id).await?;
    Ok(Json(Pipeline::new(&app, pipeline)))
}

/// `GET /api/v1/pipelines/{id}/minutes?environment&from&to&step&node&limit&cursor&format`
pub(crate) async fn list_pipeline_minutes(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let scope = params.scope(&app, &reader.0)?;
    let list = ListRequest::read(&request, &params)?;
    let page = params.steps(&app.config.retention)?;
    let node = params.node(&app, scope).await?;
    let pipeline = find_pipeline(&app, scope, &id).await?;
    let minutes = app.journal.pipeline_minutes(pipeline.key, node, page.range).await?;
    let items = minutes.iter().map(|view| PipelineMinute::new(page.range.step, view)).collect();
    list.history("pipeline", &History::new(&page, items))
}

/// `GET /api/v1/pipelines/{id}/components/minutes?environment&from&to&step&node&limit&cursor&format`
pub(crate) async fn list_component_minutes(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let scope = params.scope(&app, &reader.0)?;
    let list = ListRequest::read(&request, &params)?;
    let page = params.steps(&app.config.retention)?;
    let node = params.node(&app, scope).await?;
    let pipeline = find_pipeline(&app, scope, &id).await?;
    let minutes = app.journal.component_minutes(pipeline.key, node, page.range).await?;
    let items = minutes.into_iter().map(|view| ComponentMinute::new(page.range.step, view)).collect();
    list.history("components", &History::new(&page, items))
}
