//! What agents ask beside their reports: what to run, and what to do now.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use systole_shared::DesiredState;
use systole_shared::action::{ActionOutput, PushMessage};
use systole_shared::limits::MAX_BODY_BYTES;
use uuid::Uuid;

use super::events::event_stream;
use crate::app::App;
use crate::auth::Identity;
use crate::control::delivery::encode::Encoding;
use crate::control::delivery::{PushStream, Unresolved, desired_state};
use crate::http::body_budget::Sender;
use crate::http::error::ApiError;
use crate::http::extract::{Node, NodeIdentity, parse_json, read_body};
use crate::http::openapi::problems::{OfAgent, PostAnswer};
use crate::ingest::decompress;
use crate::model::NodeKey;
use crate::telemetry::logging::chain;

/// A body below this is sent as it is: compression gains nothing.
const SMALL_BODY_BYTES: usize = 1_024;

/// What the node should run
///
/// With the values of secrets. Its `ETag` is the generation: an agent that has this one sends it as `If-None-Match`.
#[utoipa::path(
    get,
    path = "/api/v1/agent/desired",
    tag = "agents",
    security(("bearer" = [])),
    params(
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the state that the agent has"),
        ("Accept-Encoding" = Option<String>, Header, description = "zstd or gzip; plain without it"),
    ),
    responses(
        (status = 200, description = "The desired state", body = DesiredState, headers(("ETag" = String))),
        (status = 304, description = "The agent has it"),
        OfAgent,
    ),
)]
pub(crate) async fn get_desired_state(
    app: Data<App>,
    node: Node,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let assignments = app.store.node_assignments(node.0).await?.ok_or_else(ApiError::unknown_token)?;
    let tag = format!("\"{}\"", assignments.generation);
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, tag)).finish());
    }
    let state = desired_state(assignments, &app.secrets).await.map_err(unresolved)?;
    let body = serde_json::to_vec(&state).map_err(ApiError::unwritable)?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/json")
        .insert_header((header::ETAG, tag))
        // It has secrets.
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept-Encoding"));
    let packed = pack(body, request.headers()).map_err(ApiError::unwritable)?;
    if let Some(encoding) = packed.encoding {
        response.insert_header((header::CONTENT_ENCODING, encoding));
    }
    Ok(response.body(packed.body))
}

/// Why a desired state cannot be sent.
pub(super) fn unresolved(error: Unresolved) -> ApiError {
    match error {
        Unresolved::Store(error) => error.into(),
        error => {
            tracing::error!(error = %chain(&error), "a desired state cannot be made");
            ApiError::unavailable(error.to_string())
        }
    }
}

/// A body as it is sent.
pub(super) struct Packed {
    pub body: Vec<u8>,
    pub encoding: Option<&'static str>,
}

/// Compresses as the agent accepts it.
pub(super) fn pack(body: Vec<u8>, headers: &HeaderMap) -> std::io::Result<Packed> {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepts =
        |encoding| accepted.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == encoding);
    if body.len() < SMALL_BODY_BYTES {
        Ok(Packed { body, encoding: None })
    } else if accepts("zstd") {
        Ok(Packed { body: zstd::encode_all(&*body, 3)?, encoding: Some("zstd") })
    } else if accepts("gzip") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body)?;
        Ok(Packed { body: encoder.finish()?, encoding: Some("gzip") })
    } else {
        Ok(Packed { body, encoding: None })
    }
}

/// What the node is to do, as it happens
///
/// Server-Sent Events for one agent; the schema is that of the `data` of each event. The newest stream of a node ends the
/// one before. 404 when `agent_push` is off: the agent then fetches the desired state when the answer to a report
/// has another generation.
#[utoipa::path(
    get,
    path = "/api/v1/agent/push",
    tag = "agents",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A stream of messages", content((PushMessage = "text/event-stream"))),
        OfAgent,
    ),
)]
pub(crate) async fn stream_push(app: Data<App>, agent: NodeIdentity) -> Result<HttpResponse, ApiError> {
    open_push(&app, agent.node, agent.identity, Encoding::Native)
}

/// Opens the push stream of a node, in the form that its agent reads.
///
/// # Errors
///
/// 404 when `agent_push` is off.
pub(super) fn open_push(
    app: &App,
    node: NodeKey,
    identity: Identity,
    encoding: Encoding,
) -> Result<HttpResponse, ApiError> {
    if !app.config.agent_push {
        return Err(ApiError::off("this collector has no push streams (agent_push = false); poll the desired state"));
    }
    let (delivery, auth) = (Arc::clone(&app.delivery), Arc::clone(&app.auth));
    let stream = PushStream::open(delivery, auth, identity, node, encoding);
    let writes = stream::unfold(stream, |mut stream| async {
        stream.next_write().await.map(|write| (Ok::<Bytes, Infallible>(write), stream))
    });
    Ok(event_stream().streaming(Box::pin(writes)))
}

/// Answer an action
///
/// A tap has many answers, any other action has one; the last one is `done`. 404 when no one waits for it any more: the
/// agent then stops.
#[utoipa::path(
    post,
    path = "/api/v1/agent/actions/{id}",
    tag = "agents",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The action"),
        ("Content-Encoding" = Option<String>, Header, description = "zstd or gzip; plain without it"),
    ),
    request_body = ActionOutput,
    responses((status = 204, description = "Handed to the request that waits for it"), PostAnswer),
)]
pub(crate) async fn answer_action(
    app: Data<App>,
    node: Node,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let unknown = || ApiError::not_found(format!("action {:?} of this node", id.as_str()));
    let action: Uuid = id.parse().map_err(|_| unknown())?;
    let body = read_body(&app, Sender::Node(node.0), &request, payload, MAX_BODY_BYTES).await?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let output: ActionOutput = decompress::open(&body.bytes, encoding, |body| parse_json(body))??;
    if app.actions.answer(node.0, action, output) { Ok(HttpResponse::NoContent().finish()) } else { Err(unknown()) }
}
