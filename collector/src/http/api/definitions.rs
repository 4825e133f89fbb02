//! Pipelines of the centre: apply, compare, go back, pause and remove.

use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::PipelineId;

use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::clock;
use crate::control::audit::{self, Actor, DONE};
use crate::control::versions::{self, Change as DefinitionChange, ChangeError};
use crate::http::dto::Page;
use crate::http::dto::control::{Applied, Paused, PipelineDefinition, PipelineVersion, VersionDiff};
use crate::http::error::ApiError;
use crate::http::extract::{AdminAccess, QueryAccess, parse_json, read_small_body};
use crate::http::forward;
use crate::http::openapi::problems::{Change, Query, QueryOfPipeline};
use crate::http::params::{
    ApplyOptions, BetweenVersions, EventPagination, InEnvironment, InFormat, Pagination, RollBackTo, only, read,
};
use crate::http::render::ListRequest;
use crate::model::EnvironmentKey;
use crate::model::definition::{Definition, VersionBody};
use crate::query::list;
use crate::store::{Author, DefinitionQuery, StoredDefinition};

/// Bytes of a definition as JSON: a configuration of 1 MiB whose every character needs an escape of two, and more.
const MAX_DEFINITION_BYTES: usize = 4 * 1024 * 1024;

/// The token of a request, as the author of what it changes.
pub(super) fn author(app: &App, identity: &Identity) -> Author {
    let Actor { token, name } = Actor::of(&app.auth, identity);
    Author { name, id: token.map(|token| token.to_string()) }
}

/// Writes an action into the audit.
pub(super) async fn audit(
    app: &App,
    identity: &Identity,
    environment: Option<EnvironmentKey>,
    action: &str,
    subject: &str,
    result: &str,
) {
    let actor = Actor::of(&app.auth, identity);
    audit::record(&*app.store, &actor, environment, action, subject, result).await;
}

/// The pipeline of the centre with this id in the scope.
async fn find(app: &App, scope: Scope, id: &str) -> Result<StoredDefinition, ApiError> {
    let query = DefinitionQuery {
        environments: scope.environments(),
        slug: Some(id.to_owned()),
        limit: 2,
        ..DefinitionQuery::default()
    };
    only(app.store.list_definitions(query).await?, id)
}

/// The content of a version that must exist.
async fn body_of(app: &App, pipeline: &StoredDefinition, version: i64) -> Result<VersionBody, ApiError> {
    let body = versions::body(&*app.store, pipeline, version).await?;
    Ok(body.ok_or(ChangeError::UnknownVersion(version))?)
}

/// Pipelines of the centre, by id
#[utoipa::path(
    get,
    path = "/api/v1/definitions",
    tag = "control",
    params(InEnvironment, Pagination, InFormat),
    responses((status = 200, description = "A page", content((Page<PipelineDefinition>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_definitions(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, pagination, format) = read::<(InEnvironment, Pagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let query = DefinitionQuery {
        environments: environment.scope(&app, &reader.0)?.environments(),
        slug: None,
        after: pagination.after()?,
        limit: pagination.limit(),
    };
    let found = list::definitions(&*app.store, query).await?;
    answer.page("definitions", &Page::new(found, |stored| PipelineDefinition::new(&app, stored)))
}

/// Say what a pipeline should be
///
/// A new content is a new version, and begins a rollout. Nothing is written when nothing has changed.
#[utoipa::path(
    put,
    path = "/api/v1/pipelines/{id}/definition",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, ApplyOptions),
    request_body = Definition,
    responses((status = 200, description = "What has changed, or would change", body = Applied), Change),
)]
pub(crate) async fn apply_definition(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
) -> Result<Json<Applied>, ApiError> {
    let (environment, options) = read::<(InEnvironment, ApplyOptions)>(&request)?;
    let environment = environment.one(&app, &admin.0).await?;
    let id = PipelineId::parse(&id).map_err(|fault| ApiError::bad_parameter("id", fault))?;
    let note = options.note()?;
    let body = read_small_body(&app, &request, payload, MAX_DEFINITION_BYTES).await?;
    let definition: Definition = parse_json(&body.bytes)?;
    drop(body);
    let change = change_of(author(&app, &admin.0), environment, id, definition, &options, note);
    make(&app, &admin.0, "pipeline.apply", change).await
}

fn change_of(
    author: Author,
    environment: EnvironmentKey,
    id: PipelineId,
    definition: Definition,
    options: &ApplyOptions,
    note: String,
) -> DefinitionChange {
    let ApplyOptions { expected_version, dry_run, .. } = *options;
    DefinitionChange { environment, id, definition, note, expected_version, dry_run, author, now: clock::now_ms() }
}

/// Makes a change, and records it as `action` in the audit.
async fn make(
    app: &App,
    identity: &Identity,
    action: &'static str,
    change: DefinitionChange,
) -> Result<Json<Applied>, ApiError> {
    let result = versions::apply(&*app.store, &change).await;
    if !change.dry_run {
        let outcome = match &result {
            Ok(applied) if applied.changed => format!("version {}", applied.version),
            Ok(_) => "unchanged".to_owned(),
            Err(error) => error.to_string(),
        };
        audit(app, identity, Some(change.environment), action, change.id.as_str(), &outcome).await;
    }
    let applied = result?;
    if applied.rollout.is_some() {
        app.rollouts.notify_one();
    }
    Ok(Json(applied.into()))
}

/// What a pipeline should be
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/definition",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 200, description = "The newest version", body = PipelineDefinition), QueryOfPipeline),
)]
pub(crate) async fn get_definition(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<PipelineDefinition>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let pipeline = find(&app, environment.scope(&app, &reader.0)?, &id).await?;
    let body = body_of(&app, &pipeline, pipeline.version.version).await?;
    Ok(Json(PipelineDefinition::new(&app, pipeline).with_body(body)))
}

/// Versions of a pipeline, newest first
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/versions",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<PipelineVersion>), (String = "text/csv"))), QueryOfPipeline),
)]
pub(crate) async fn list_versions(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment, pagination, format) = read::<(InEnvironment, EventPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let pipeline = find(&app, environment.scope(&app, &reader.0)?, &id).await?;
    let found = list::versions(&*app.store, pipeline.key, pagination.after()?, pagination.limit()).await?;
    answer.page("versions", &Page::new(found, PipelineVersion::new))
}

/// One version of a pipeline
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/versions/{version}",
    tag = "control",
    params(
        ("id" = inline(PipelineId), Path, description = "The pipeline"),
        ("version" = i64, Path, description = "Its number"),
        InEnvironment,
    ),
    responses((status = 200, description = "The version", body = PipelineVersion), QueryOfPipeline),
)]
pub(crate) async fn get_version(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<Json<PipelineVersion>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let (id, version) = path.into_inner();
    let pipeline = find(&app, environment.scope(&app, &reader.0)?, &id).await?;
    let number = version.parse().map_err(|_| ApiError::not_found(format!("version {version:?}")))?;
    let stored = app.store.definition_version(pipeline.key, number).await?;
    let stored = stored.ok_or(ChangeError::UnknownVersion(number))?;
    let body = body_of(&app, &pipeline, number).await?;
    Ok(Json(PipelineVersion::new(stored.info).with_body(body)))
}

/// The difference of two versions
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/diff",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, BetweenVersions),
    responses((status = 200, description = "A unified diff", body = VersionDiff), QueryOfPipeline),
)]
pub(crate) async fn diff_versions(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<VersionDiff>, ApiError> {
    let (environment, between) = read::<(InEnvironment, BetweenVersions)>(&request)?;
    let pipeline = find(&app, environment.scope(&app, &reader.0)?, &id).await?;
    let to = between.to.unwrap_or(pipeline.version.version);
    let from = between.from.unwrap_or(to.saturating_sub(1));
    let new = body_of(&app, &pipeline, to).await?;
    let old = if from == 0 { None } else { Some((from, body_of(&app, &pipeline, from).await?)) };
    let id = PipelineId::parse(&pipeline.slug).map_err(|fault| ApiError::bad_parameter("id", fault))?;
    let diff = versions::difference(&id, old, &new, &format!("version {to}")).await?;
    Ok(Json(VersionDiff { from, to, diff }))
}

/// Go back to an earlier version
///
/// A new version with the content of an earlier one, and a rollout.
#[utoipa::path(
    post,
    path = "/api/v1/pipelines/{id}/rollback",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, RollBackTo, ApplyOptions),
    responses((status = 200, description = "What has changed, or would change", body = Applied), Change),
)]
pub(crate) async fn roll_back(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<Applied>, ApiError> {
    let (environment, target, mut options) = read::<(InEnvironment, RollBackTo, ApplyOptions)>(&request)?;
    let pipeline = find(&app, environment.scope(&app, &admin.0)?, &id).await?;
    let id = PipelineId::parse(&pipeline.slug).map_err(|fault| ApiError::bad_parameter("id", fault))?;
    let (version, body) = versions::earlier(&*app.store, &pipeline, target.to).await?;
    let note = match options.note()?.as_str() {
        "" => format!("back to version {version}"),
        note => format!("back to version {version}: {note}"),
    };
    // What was read to find the earlier version must still be the newest one.
    options.expected_version = options.expected_version.or(Some(pipeline.version.version));
    let change = change_of(author(&app, &admin.0), pipeline.environment, id, body.definition, &options, note);
    make(&app, &admin.0, "pipeline.rollback", change).await
}

/// Stop a pipeline on every node, without removing it
#[utoipa::path(
    post,
    path = "/api/v1/pipelines/{id}/pause",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 200, description = "It is paused", body = Paused), Change),
)]
pub(crate) async fn pause_pipeline(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some(answer) = forward::to_leader(&app, &request, None).await? {
        return Ok(answer);
    }
    Ok(HttpResponse::Ok().json(set_paused(&app, &admin.0, &request, &id, true).await?))
}

/// Let a paused pipeline run again
#[utoipa::path(
    post,
    path = "/api/v1/pipelines/{id}/resume",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 200, description = "It is not paused", body = Paused), Change),
)]
pub(crate) async fn resume_pipeline(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some(answer) = forward::to_leader(&app, &request, None).await? {
        return Ok(answer);
    }
    Ok(HttpResponse::Ok().json(set_paused(&app, &admin.0, &request, &id, false).await?))
}

async fn set_paused(
    app: &App,
    identity: &Identity,
    request: &HttpRequest,
    id: &str,
    paused: bool,
) -> Result<Paused, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(request)?;
    let pipeline = find(app, environment.scope(app, identity)?, id).await?;
    let generations = app.store.pause_definition(pipeline.key, paused, clock::now_ms()).await?;
    app.delivery.update(&generations);
    app.rollouts.notify_one();
    let action = if paused { "pipeline.pause" } else { "pipeline.resume" };
    audit(app, identity, Some(pipeline.environment), action, id, DONE).await;
    Ok(Paused { paused })
}

/// Remove a pipeline from every node
///
/// Its versions stay, and a pipeline of the same id continues their numbers.
#[utoipa::path(
    delete,
    path = "/api/v1/pipelines/{id}/definition",
    tag = "control",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 204, description = "It is removed"), Change),
)]
pub(crate) async fn remove_definition(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some(answer) = forward::to_leader(&app, &request, None).await? {
        return Ok(answer);
    }
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let pipeline = find(&app, environment.scope(&app, &admin.0)?, &id).await?;
    let generations = app.store.remove_definition(pipeline.key, clock::now_ms()).await?;
    app.delivery.update(&generations);
    app.rollouts.notify_one();
    audit(&app, &admin.0, Some(pipeline.environment), "pipeline.remove", &id, DONE).await;
    Ok(HttpResponse::NoContent().finish())
}
