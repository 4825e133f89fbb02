//! Recent samples of a pipeline or a component.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use systole_shared::{ComponentId, RateSample};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::error::ApiError;
use crate::http::extract::ReadAccess;
use crate::http::forward::{self, is_from_peer};
use crate::http::openapi::problems::QueryOfOne;
use crate::http::params::{InEnvironment, InFormat, SamplesOf, find_node, read};
use crate::http::render::{ListRequest, Row};

/// How long another collector may take to answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// Samples are kept for about so long.
const RING_MS: i64 = 3_600_000;

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
    responses((status = 200, description = "All of them", content((SamplePage), (String = "text/csv"))), QueryOfOne),
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
    let of_others = samples_of_others(&app, &request, component.as_ref()).await;
    let mut pushed = app.recent_samples.subscribe();
    loop {
        pushed.borrow_and_update();
        let samples = app.recent_samples.since(node, &pipeline, component.as_ref(), since);
        let waited = tokio::time::timeout_at(until, pushed.changed());
        // A token may have ended in the meantime.
        if !app.auth.is_valid(&reader.0, clock::now_ms()) {
            return Err(ApiError::unknown_token());
        }
        let samples = of_others.merged_with(samples);
        if !samples.is_empty() || wait.is_zero() || !matches!(waited.await, Ok(Ok(()))) {
            let page = SamplePage { items: samples, next: None, partial: of_others.is_partial };
            return list.all("samples", &page.items, &page);
        }
    }
}

/// Rates, and whether all collectors that may have some have answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SamplePage {
    items: Vec<RateSample>,
    #[schema(required)]
    next: Option<String>,
    /// Whether some may be missing, because another collector of the cluster did not answer.
    partial: bool,
}

/// Samples that other collectors have.
#[derive(Debug, Default)]
struct OfOthers {
    samples: Vec<RateSample>,
    is_partial: bool,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<RateSample>,
}

impl OfOthers {
    /// One sample of each time, the oldest first.
    fn merged_with(&self, mut samples: Vec<RateSample>) -> Vec<RateSample> {
        samples.extend_from_slice(&self.samples);
        samples.sort_by_key(|sample| sample.timestamp);
        samples.dedup_by_key(|sample| sample.timestamp);
        samples
    }
}

/// A collector has the samples of components whose nodes it hears, and those of pipelines since it follows. The others
/// are asked at once.
async fn samples_of_others(app: &App, request: &HttpRequest, component: Option<&ComponentId>) -> OfOthers {
    let Some(store) = app.cluster_store.as_ref().filter(|_| !is_from_peer(app, request)) else {
        return OfOthers::default();
    };
    // It was there for as long as samples are kept.
    let is_whole = component.is_none() && clock::now_ms() - app.started_at > RING_MS;
    if is_whole {
        return OfOthers::default();
    }
    let Ok(others) = app.cluster.others(store).await else {
        return OfOthers { is_partial: true, ..OfOthers::default() };
    };
    let asked = others.iter().map(|member| async move {
        let answer = forward::to_member(app, request, member)?;
        let ask = async { answer.send().await?.error_for_status()?.bytes().await };
        let body = tokio::time::timeout(PEER_TIMEOUT, ask).await.ok()?.ok()?;
        serde_json::from_slice::<Answer>(&body).ok()
    });
    let mut found = OfOthers::default();
    for answer in futures_util::future::join_all(asked).await {
        match answer {
            Some(answer) => found.samples.extend(answer.items),
            // One that does not hear the node may have had nothing.
            None => found.is_partial = true,
        }
    }
    found
}
