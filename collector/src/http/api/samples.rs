//! The ring of a pipeline or a component.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::{ComponentId, NodeId, PipelineId, RateSample};
use tokio::time::Instant;

use crate::app::App;
use crate::clock;
use crate::http::dto::Page;
use crate::http::error::ApiError;
use crate::http::extract::ReadAccess;
use crate::http::openapi::parameters::{InEnvironment, InFormat, SamplesOf};
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::{Params, find_node};
use crate::http::render::{ListRequest, Row};

/// Longest wait for a new sample.
const MAX_WAIT_MS: u64 = 30_000;

impl Row for RateSample {
    const COLUMNS: &'static [&'static str] = &[
        "timestamp",
        "receivedEventsRate",
        "sentEventsRate",
        "receivedBytesRate",
        "sentBytesRate",
        "errorCount",
        "errorsRate",
        "discardedRate",
        "latencyMeanMs",
    ];
}

/// Rates of the last 720 reports of a pipeline or a component, oldest first
///
/// With `wait` an empty answer waits that long for a sample to come.
#[utoipa::path(
    get,
    path = "/api/v1/samples",
    tag = "queries",
    params(InEnvironment, SamplesOf, InFormat),
    responses((status = 200, description = "All of them", content((Page<RateSample>), (String = "text/csv"))), QueryOfOne),
)]
pub(crate) async fn list_samples(
    app: Data<App>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let params = Params::read(&request)?;
    let list = ListRequest::read(&request, &params)?;
    let scope = params.scope(&app, &reader.0)?;
    let missing = |name: &str| ApiError::bad_parameter(name, "is missing");
    let node: NodeId = params.get("node")?.ok_or_else(|| missing("node"))?;
    let pipeline = params.text("pipeline").ok_or_else(|| missing("pipeline"))?;
    let pipeline = PipelineId::parse(pipeline).map_err(|fault| ApiError::bad_parameter("pipeline", fault))?;
    let component = params
        .text("component")
        .map(|id| ComponentId::parse(id).map_err(|fault| ApiError::bad_parameter("component", fault)))
        .transpose()?;
    let since = params.get("since")?.unwrap_or(0);
    let wait = match params.get("wait")?.unwrap_or(0) {
        wait @ 0..=MAX_WAIT_MS => Duration::from_millis(wait),
        wait => return Err(ApiError::bad_parameter("wait", format!("{wait} is above {MAX_WAIT_MS}"))),
    };
    let node = find_node(&app, scope, node).await?.key;
    let until = Instant::now() + wait;
    let mut pushed = app.recent_samples.subscribe();
    loop {
        pushed.borrow_and_update();
        let samples = app.recent_samples.since(node, &pipeline, component.as_ref(), since);
        let waited = tokio::time::timeout_at(until, pushed.changed());
        // A token may have ended in the meantime.
        if !app.auth.is_valid(&reader.0, clock::now_ms()) {
            return Err(ApiError::unauthorized("the token is unknown, revoked or expired"));
        }
        if !samples.is_empty() || wait.is_zero() || !matches!(waited.await, Ok(Ok(()))) {
            return list.page("samples", &Page::complete(samples));
        }
    }
}
