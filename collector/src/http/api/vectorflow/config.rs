//! `GET /api/agent/config`: what the node should run. An agent polls it before each heartbeat.
//!
//! - A node of which nothing was ever wanted is answered without the database.
//! - A node in maintenance keeps what it runs: the answer is as always. VectorFlow's server answers an empty list then,
//!   which stops every pipeline.
//! - Agents are not updated from here, so there is no `pendingAction`.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::action::{ActionRequest, AgentAction};
use systole_shared::vectorflow::{ConfigPipeline, ConfigResponse, SampleRequest};

use super::Agent;
use crate::app::App;
use crate::clock;
use crate::control::delivery::encode::vectorflow;
use crate::control::delivery::{Unresolved, desired_state};
use crate::http::api::delivery::{pack, unresolved};
use crate::http::error::{ApiError, VectorFlowError};
use crate::model::NodeKey;

/// The only kind of secrets that this collector has: they come with the pipeline.
const SECRET_BACKEND: &str = "BUILTIN";

pub(in crate::http) async fn get_config(
    app: Data<App>,
    agent: Agent,
    request: HttpRequest,
) -> Result<HttpResponse, VectorFlowError> {
    let node = agent.node;
    let mut pipelines = desired_pipelines(&app, node).await?;
    let sample_requests = app.actions.take_for_poll(node).iter().filter_map(sample_request).collect();
    let left_out = app.delivery.take_left_out(node);
    if !left_out.is_empty() {
        pipelines.retain(|pipeline| left_out.iter().all(|left_out| left_out.as_str() != pipeline.pipeline_id));
        // They come back with the next answer.
        app.delivery.push.repeat(node);
    }
    let config = ConfigResponse {
        pipelines,
        poll_interval_ms: Some(report_every_ms(&app)),
        secret_backend: Some(SECRET_BACKEND.to_owned()),
        secret_backend_config: None,
        push_url: app.config.agent_push.then(|| push_url(&app, &request)),
        sample_requests,
        pending_action: None,
    };
    let body = serde_json::to_vec(&config).map_err(ApiError::unwritable)?;
    let packed = pack(body, request.headers()).map_err(ApiError::unwritable)?;
    let mut response = HttpResponse::Ok();
    // It has secrets.
    response.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(encoding) = packed.encoding {
        response.insert_header((header::CONTENT_ENCODING, encoding));
    }
    Ok(response.body(packed.body))
}

/// How often agents report and poll.
pub(super) fn report_every_ms(app: &App) -> u64 {
    u64::try_from(app.config.interval.as_millis()).unwrap_or(u64::MAX)
}

/// The pipelines of the node, and remembers what it gets.
async fn desired_pipelines(app: &App, node: NodeKey) -> Result<Vec<ConfigPipeline>, ApiError> {
    if app.delivery.generation(node).is_none() {
        app.delivery.set_given(node, 0, Vec::new());
        return Ok(Vec::new());
    }
    let assignments = app.store.node_assignments(node).await?.ok_or_else(ApiError::unknown_token)?;
    let state = desired_state(assignments, &app.secrets).await.map_err(unresolved)?;
    let mut pipelines = Vec::with_capacity(state.pipelines.len());
    let mut given = Vec::with_capacity(state.pipelines.len());
    let now = clock::now_ms();
    for desired in state.pipelines {
        let (pipeline, version) = (desired.id.to_string(), desired.version);
        let (pipeline, given_version) = vectorflow::pipeline(desired, now)
            .map_err(|source| unresolved(Unresolved::Version { pipeline, version, source: source.into() }))?;
        pipelines.extend(pipeline);
        given.push(given_version);
    }
    app.delivery.set_given(node, state.generation, given);
    Ok(pipelines)
}

fn sample_request(action: &AgentAction) -> Option<SampleRequest> {
    match &action.request {
        ActionRequest::Sample { components, limit, .. } => Some(vectorflow::sample_request(action, components, *limit)),
        _ => None,
    }
}

/// The push channel under the address by which the agent has come: it accepts no other. A proxy in front says with
/// `X-Forwarded-Proto` and `X-Forwarded-Host` what that is.
fn push_url(app: &App, request: &HttpRequest) -> String {
    let connection = request.connection_info();
    let scheme = if app.config.tls.is_some() { "https" } else { connection.scheme() };
    format!("{scheme}://{}/api/agent/push", connection.host())
}
