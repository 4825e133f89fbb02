//! `GET /api/v1/events` and `GET /api/sse`: the feed as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream;
use rand::RngExt;
use systole_shared::EventId;
use systole_shared::events::{Control, GoodbyeReason};
use systole_shared::vectorflow::ErrorBody;

use crate::app::App;
use crate::feed::{Encoding, Resume, Subscription, WorkerNotifier, control};
use crate::http::error::{ApiError, VectorFlowError};
use crate::http::extract::ReadAccess;
use crate::http::params::{InEnvironment, StreamHeaders, StreamOf, WithLabels, read, read_known};
use crate::model::directory::LabelFilter;

/// `GET /api/v1/events?types&environment&node&pipeline&snapshot&after&every`
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "feed",
    summary = "The feed: what happens, as it happens",
    description = include_str!("../openapi/feed.md"),
    params(InEnvironment, StreamOf, StreamHeaders),
    responses(
        (
            status = 200,
            description = "A stream of events. The schema is that of the `data` of each event, which names its type again.",
            content((crate::http::openapi::FeedData = "text/event-stream", example = json!({
                "type": "status_change", "nodeId": "01890a5d-ac96-774b-bcce-b302099a8057", "pipelineId": "orders",
                "pipelineName": "Orders", "fromStatus": "RUNNING", "toStatus": "CRASHED", "reason": "exit 1",
                "timestamp": 1_790_000_000_000_i64,
            }))),
        ),
        crate::http::openapi::problems::Query,
    ),
)]
pub(crate) async fn stream_events(
    app: Data<App>,
    notifier: Data<WorkerNotifier>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let subscription = subscription(&app, &reader, read(&request)?, request.headers(), Encoding::Native)?;
    stream(&notifier, &reader, subscription, request.headers())
}

/// `GET /api/sse`: the same in VectorFlow's form.
#[utoipa::path(
    get,
    path = "/api/sse",
    tag = "feed",
    summary = "The feed as VectorFlow's dashboards read it",
    description = "The same stream and parameters as `/api/v1/events`, but one `metric_update` per component, with \
                   `componentId` and `sample`, and `log_entry` with `lines`. Errors are `{\"error\": \"…\"}`.",
    params(InEnvironment, StreamOf, StreamHeaders),
    responses(
        (status = 200, description = "A stream of events.", content((String = "text/event-stream"))),
        (status = 400, description = "A parameter has a value that it cannot have", body = ErrorBody),
        (status = 401, description = "No valid token", body = ErrorBody),
        (status = 403, description = "No right to the environment", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody),
    ),
)]
pub(crate) async fn stream_events_for_vectorflow(
    app: Data<App>,
    notifier: Data<WorkerNotifier>,
    reader: Result<ReadAccess, ApiError>,
    request: HttpRequest,
) -> Result<HttpResponse, VectorFlowError> {
    let reader = reader?;
    // Dashboards of VectorFlow and polyfills of EventSource add parameters of their own.
    let subscription = subscription(&app, &reader, read_known(&request)?, request.headers(), Encoding::VectorFlow)?;
    Ok(stream(&notifier, &reader, subscription, request.headers())?)
}

fn stream(
    notifier: &WorkerNotifier,
    reader: &ReadAccess,
    subscription: Subscription,
    headers: &HeaderMap,
) -> Result<HttpResponse, ApiError> {
    match notifier.subscribe(reader.0, subscription) {
        Ok(subscriber) => {
            let writes = stream::unfold(subscriber, |mut subscriber| async {
                subscriber.next_write().await.map(|write| (Ok::<Bytes, Infallible>(write), subscriber))
            });
            Ok(event_stream().streaming(Box::pin(writes)))
        }
        // A native EventSource gives up for ever at any status but 200.
        Err(overloaded) if is_browser(headers) => {
            let retry_ms = rand::rng().random_range(overloaded.retry_ms());
            let goodbye = Control::Goodbye { reason: GoodbyeReason::Overloaded, retry_ms };
            let retry = format!("retry: {retry_ms}\n\n");
            Ok(event_stream().body([Bytes::from(retry), control(&goodbye)].concat()))
        }
        Err(overloaded) => Err(overloaded.into()),
    }
}

/// The head of a stream.
pub(super) fn event_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store, no-transform"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/event-stream")) && !headers.contains_key("X-Systole-Client")
}

fn subscription(
    app: &App,
    reader: &ReadAccess,
    (environment, asked): (InEnvironment, StreamOf),
    headers: &HeaderMap,
    encoding: Encoding,
) -> Result<Subscription, ApiError> {
    Ok(Subscription {
        types: asked.types,
        nodes: asked.node.into_iter().collect(),
        labels: WithLabels { label: asked.label }
            .selector()?
            .map(|selector| LabelFilter { selector, directory: Arc::clone(&app.directory) }),
        pipelines: asked.pipeline.into_iter().collect(),
        scope: environment.scope(app, &reader.0)?,
        every: Duration::from_millis(asked.every.0.unsigned_abs()),
        snapshot: asked.snapshot.parts(),
        resume: read_resume(asked.after, headers),
        encoding,
    })
}

/// The header wins over `after`. A browser cannot change the header and would give up at a 400, so the answer to an
/// unreadable id in it is a reset.
fn read_resume(after: Option<EventId>, headers: &HeaderMap) -> Resume {
    if let Some(value) = headers.get("Last-Event-ID").filter(|value| !value.is_empty()) {
        let id = value.to_str().ok().and_then(|text| text.parse::<EventId>().ok());
        return id.map_or(Resume::Unreadable, Resume::After);
    }
    after.map_or(Resume::Live, Resume::After)
}
