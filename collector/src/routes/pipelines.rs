//! Pipelines and what they counted.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};

use super::extract::Reader;
use super::nodes::read_cursor;
use super::params::{Params, find_pipeline};
use super::views::{ComponentMinute, History, Page, Pipeline, PipelineMinute};
use crate::app::App;
use crate::error::ApiError;
use crate::store::PipelineQuery;

/// `GET /api/v1/pipelines?environment&limit&cursor`
pub(crate) async fn list_pipelines(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
) -> Result<Json<Page<Pipeline>>, ApiError> {
    let params = Params::read(&request)?;
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
    Ok(Json(Page { items: pipelines.into_iter().map(|pipeline| Pipeline::new(&app, pipeline)).collect(), next }))
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

/// `GET /api/v1/pipelines/{id}/minutes?environment&from&to&step&node`
pub(crate) async fn list_pipeline_minutes(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<History<PipelineMinute>>, ApiError> {
    let params = Params::read(&request)?;
    let scope = params.scope(&app, &reader.0)?;
    let range = params.steps(&app.config.retention)?;
    let node = params.node(&app, scope).await?;
    let pipeline = find_pipeline(&app, scope, &id).await?;
    let minutes = app.journal.pipeline_minutes(pipeline.key, node, range).await?;
    Ok(Json(History::new(range.step, minutes.iter().map(|view| PipelineMinute::new(range.step, view)).collect())))
}

/// `GET /api/v1/pipelines/{id}/components/minutes?environment&from&to&step&node`
pub(crate) async fn list_component_minutes(
    app: Data<App>,
    reader: Reader,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<History<ComponentMinute>>, ApiError> {
    let params = Params::read(&request)?;
    let scope = params.scope(&app, &reader.0)?;
    let range = params.steps(&app.config.retention)?;
    let node = params.node(&app, scope).await?;
    let pipeline = find_pipeline(&app, scope, &id).await?;
    let minutes = app.journal.component_minutes(pipeline.key, node, range).await?;
    Ok(Json(History::new(range.step, minutes.into_iter().map(|view| ComponentMinute::new(range.step, view)).collect())))
}
