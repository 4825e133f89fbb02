//! Recent samples of a pipeline or a component.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::RateSample;
use tokio::time::Instant;

use crate::app::App;
use crate::clock;
use crate::http::dto::Page;
use crate::http::error::ApiError;
use crate::http::extract::ReadAccess;
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::{InEnvironment, InFormat, SamplesOf, find_node, read};
use crate::http::render::{ListRequest, Row};

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
    let (environment, asked, format) = read::<(InEnvironment, SamplesOf, InFormat)>(&request)?;
    let list = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let SamplesOf { pipeline, component, .. } = asked;
    let since = asked.since.map_or(0, |since| since.at(clock::now_ms()));
    let wait = Duration::from_millis(asked.wait.0.unsigned_abs());
    let node = find_node(&app, scope, asked.node).await?.key;
    let until = Instant::now() + wait;
    let mut pushed = app.recent_samples.subscribe();
    loop {
        pushed.borrow_and_update();
        let samples = app.recent_samples.since(node, &pipeline, component.as_ref(), since);
        let waited = tokio::time::timeout_at(until, pushed.changed());
        // A token may have ended in the meantime.
        if !app.auth.is_valid(&reader.0, clock::now_ms()) {
            return Err(ApiError::unknown_token());
        }
        if !samples.is_empty() || wait.is_zero() || !matches!(waited.await, Ok(Ok(()))) {
            return list.page("samples", &Page::complete(samples));
        }
    }
}
