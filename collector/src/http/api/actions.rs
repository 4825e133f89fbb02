//! What operators ask of a pipeline on a node at once.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use systole_shared::action::{
    ACTION_TIMEOUT_MS, ActionRequest, MAX_SAMPLE_COMPONENTS, MAX_SAMPLE_EVENTS, MAX_SAMPLE_MS, MAX_TAP_MS, TapMessage,
    TappedEvent,
};
use systole_shared::{ComponentId, NodeId, PipelineId};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::events::event_stream;
use super::tap::Tap;
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::control::actions::{ActionError, OpenAction};
use crate::control::audit::{self, Actor, DONE};
use crate::http::error::ApiError;
use crate::http::extract::{OperatorAccess, read_json};
use crate::http::forward;
use crate::http::openapi::problems::{PostAction, QueryOfPipeline};
use crate::http::params::{InEnvironment, TapOf, find_node, read};
use crate::model::{EnvironmentKey, NodeKey};

/// Where to restart a pipeline.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartRequest {
    /// The node.
    node: NodeId,
}

/// A restarted pipeline.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestartResult {
    node_id: NodeId,
    pipeline_id: PipelineId,
}

/// What to sample.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SampleRequest {
    /// The node.
    node: NodeId,
    /// Components, at most 16.
    components: Vec<ComponentId>,
    /// Events in all, at most 1,000. Default: 100.
    limit: Option<usize>,
    /// The time that it takes at most, up to 15,000 ms. Default: 5,000.
    duration_ms: Option<u64>,
}

/// Events that passed components.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SampleResult {
    node_id: NodeId,
    pipeline_id: PipelineId,
    /// In order.
    events: Vec<TappedEvent>,
    /// Events beyond the limit.
    dropped: u64,
}

/// A pipeline on a node that can be asked.
struct Subject {
    node: NodeKey,
    node_id: NodeId,
    node_name: String,
    environment: EnvironmentKey,
    pipeline: PipelineId,
    /// Its process, as last reported.
    pid: Option<i64>,
}

impl Subject {
    /// In the scope of an operator.
    async fn find(app: &App, scope: Scope, node: NodeId, pipeline: &str) -> Result<Self, ApiError> {
        let view = find_node(app, scope, node).await?;
        let on_node = view.pipelines.iter().find(|status| status.pipeline == pipeline);
        let pid = on_node.and_then(|status| status.row.pid);
        let id = PipelineId::parse(pipeline).ok().filter(|_| on_node.is_some());
        let pipeline = id.ok_or_else(|| ApiError::not_found(format!("pipeline {pipeline:?} on node {}", view.name)))?;
        if app.fleet.is_silent(view.key) {
            return Err(ApiError::conflict(format!("node {} does not report ({})", view.name, view.status_reason)));
        }
        Ok(Subject {
            node: view.key,
            node_id: node,
            node_name: view.name,
            environment: view.environment,
            pipeline,
            pid,
        })
    }

    fn begin(&self, app: &App, request: ActionRequest) -> Result<OpenAction, ApiError> {
        Ok(app.actions.begin(self.node, self.pipeline.clone(), request)?)
    }

    /// Writes an action into the audit, with what came of it.
    async fn record(&self, app: &App, identity: &Identity, action: &str, of: &str, error: Option<&ApiError>) {
        let Subject { pipeline, node_name, node_id, .. } = self;
        let place = if of.is_empty() { pipeline.to_string() } else { format!("{of} of {pipeline}") };
        let result = error.map_or(DONE, ApiError::detail);
        let actor = Actor::of(&app.auth, identity);
        let subject = format!("{place} on {node_name} {node_id}");
        audit::record(&*app.store, &actor, Some(self.environment), action, &subject, result).await;
    }

    /// Waits for the only answer of an action.
    async fn answer(&self, mut action: OpenAction, timeout_ms: u64) -> Result<(Vec<TappedEvent>, u64), ApiError> {
        let timeout = Duration::from_millis(timeout_ms);
        let mut deadline = Instant::now() + timeout;
        let (mut events, mut dropped) = (Vec::new(), 0);
        loop {
            let Ok(output) = tokio::time::timeout_at(deadline, action.next()).await else {
                return Err(ApiError::unavailable(format!(
                    "node {} did not answer within {} s; it may have done it all the same",
                    self.node_name,
                    timeout_ms / 1_000
                )));
            };
            let Some(output) = output else {
                return Err(ApiError::conflict(format!("node {} was removed", self.node_name)));
            };
            if let Some(error) = output.error {
                return Err(ApiError::conflict(format!("node {}: {error}", self.node_name)));
            }
            events.extend(output.events);
            dropped += output.dropped;
            if output.done {
                return Ok((events, dropped));
            }
            // An agent that answers in parts is at it.
            deadline = Instant::now() + timeout;
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        ApiError::too_many(error.to_string(), Duration::from_secs(5))
    }
}

/// Restart a pipeline on a node
///
/// Answered when the agent has started the process again.
#[utoipa::path(
    post,
    path = "/api/v1/pipelines/{id}/actions/restart",
    tag = "actions",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    request_body = RestartRequest,
    responses((status = 200, description = "It was restarted", body = RestartResult), PostAction),
)]
pub(crate) async fn restart_pipeline(
    app: Data<App>,
    operator: OperatorAccess,
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let asked: RestartRequest = read_json(&app, &request, payload).await?;
    let scope = environment.scope(&app, &operator.0)?;
    let subject = Subject::find(&app, scope, asked.node, &id).await?;
    if let Some(answer) = forward::to_hearing(&app, &request, subject.node, serde_json::to_vec(&asked).ok()).await? {
        return Ok(answer);
    }
    let action = app.actions.begin_restart(subject.node, subject.pipeline.clone(), subject.pid)?;
    let answered = subject.answer(action, ACTION_TIMEOUT_MS).await;
    subject.record(&app, &operator.0, "pipeline.restart", "", answered.as_ref().err()).await;
    answered?;
    Ok(HttpResponse::Ok().json(RestartResult { node_id: subject.node_id, pipeline_id: subject.pipeline }))
}

/// Collect events that pass components of a pipeline on a node
#[utoipa::path(
    post,
    path = "/api/v1/pipelines/{id}/actions/sample",
    tag = "actions",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    request_body = SampleRequest,
    responses((status = 200, description = "What passed", body = SampleResult), PostAction),
)]
pub(crate) async fn sample_pipeline(
    app: Data<App>,
    operator: OperatorAccess,
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let asked: SampleRequest = read_json(&app, &request, payload).await?;
    let components = asked.components.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !(1..=MAX_SAMPLE_COMPONENTS).contains(&components.len()) {
        let detail = format!("{} components, expected 1 to {MAX_SAMPLE_COMPONENTS}", components.len());
        return Err(ApiError::bad_parameter("components", detail));
    }
    let limit = asked.limit.unwrap_or(100);
    if !(1..=MAX_SAMPLE_EVENTS).contains(&limit) {
        return Err(ApiError::bad_parameter("limit", format!("{limit}, expected 1 to {MAX_SAMPLE_EVENTS}")));
    }
    let duration_ms = asked.duration_ms.unwrap_or(5_000);
    if !(1..=MAX_SAMPLE_MS).contains(&duration_ms) {
        return Err(ApiError::bad_parameter("durationMs", format!("{duration_ms}, expected 1 to {MAX_SAMPLE_MS}")));
    }
    let scope = environment.scope(&app, &operator.0)?;
    let subject = Subject::find(&app, scope, asked.node, &id).await?;
    if let Some(answer) = forward::to_hearing(&app, &request, subject.node, serde_json::to_vec(&asked).ok()).await? {
        return Ok(answer);
    }
    let of = components.join(", ");
    let action = subject.begin(&app, ActionRequest::Sample { components, limit, duration_ms })?;
    let answered = subject.answer(action, ACTION_TIMEOUT_MS + duration_ms).await;
    subject.record(&app, &operator.0, "pipeline.sample", &of, answered.as_ref().err()).await;
    let (mut events, mut dropped) = answered?;
    let excess = events.len().saturating_sub(limit);
    events.truncate(limit);
    dropped += excess as u64;
    let (node_id, pipeline_id) = (subject.node_id, subject.pipeline);
    Ok(HttpResponse::Ok().json(SampleResult { node_id, pipeline_id, events, dropped }))
}

/// Watch the events of a component as they pass
///
/// Server-Sent Events for the client that asked; the schema is that of the `data` of each event. The tap ends with its
/// client, after 5 minutes, or with the node.
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/tap",
    tag = "actions",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, TapOf),
    responses(
        (status = 200, description = "A stream of messages", content((TapMessage = "text/event-stream"))),
        QueryOfPipeline,
    ),
)]
pub(crate) async fn tap_pipeline(
    app: Data<App>,
    operator: OperatorAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment, asked) = read::<(InEnvironment, TapOf)>(&request)?;
    let scope = environment.scope(&app, &operator.0)?;
    let subject = Subject::find(&app, scope, asked.node, &id).await?;
    if let Some(answer) = forward::to_hearing(&app, &request, subject.node, None).await? {
        return Ok(answer);
    }
    let component = asked.component.to_string();
    let of = component.clone();
    let action = subject.begin(&app, ActionRequest::Tap { component, duration_ms: MAX_TAP_MS })?;
    subject.record(&app, &operator.0, "pipeline.tap", &of, None).await;
    let tap = Tap::new(app.into_inner(), operator.0, subject.node, action);
    let writes = stream::unfold(tap, |mut tap| async {
        tap.next_write().await.map(|write| (Ok::<Bytes, Infallible>(write), tap))
    });
    Ok(event_stream().streaming(Box::pin(writes)))
}
