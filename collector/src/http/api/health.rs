//! Health checks: liveness and readiness.
//!
//! The canary of `/readyz` takes the path of an event through the hub to the subscribers of a worker. It
//! is no event: it has no sequence number and wakes no other subscriber.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::app::App;
use crate::cluster::Role;
use crate::feed::WorkerNotifier;
use crate::http::error::ApiError;

/// Longest time for an answer of the database.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Longest time for a publication to reach subscribers.
const FEED_WITHIN: Duration = Duration::from_secs(1);

/// `GET /healthz`: the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "collector",
    summary = "Whether the process answers",
    description = "It does nothing but answer.",
    security(()),
    responses((status = 200, description = "It does", body = String)),
)]
pub(crate) async fn get_health() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `GET /readyz`: the committer and the database answer, and have room to write; what is published is
/// received.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "collector",
    summary = "Whether the collector can work",
    description = "The committer and the database answer, what the feed publishes is received, and there is room on the disk. Background tasks that fail are \
                   listed; they do not change the status.",
    security(()),
    responses((status = 200, description = "It can", body = String), crate::http::openapi::problems::Open),
)]
pub(crate) async fn get_readiness(app: Data<App>, notifier: Data<WorkerNotifier>) -> Result<HttpResponse, ApiError> {
    if app.disk.is_full() {
        return Err(ApiError::disk_full());
    }
    let ready = async {
        let position = app.store.feed_position().await.ok()?;
        // What is committed is published: the feed's head may only be behind for as long as that
        // takes.
        app.cluster.is_ready().await.then_some(position.head)
    };
    let head =
        tokio::time::timeout(READY_WITHIN, ready).await.ok().flatten().ok_or_else(|| {
            ApiError::unavailable("the database or the committer does not answer, or no collector leads")
        })?;
    // Another collector's commits take a moment to be here.
    if app.feed.head() < head && app.cluster.role() == Role::Leader {
        return Err(ApiError::unavailable("the feed is behind the database"));
    }
    if tokio::time::timeout(FEED_WITHIN, notifier.hear_canary()).await.is_err() {
        return Err(ApiError::unavailable("what the feed publishes does not reach its subscribers"));
    }
    let mut text = "ready\n".to_owned();
    for (task, since) in app.tasks.failing() {
        text.push_str(&format!("task {task} has been failing for {} s\n", since.as_secs()));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}
