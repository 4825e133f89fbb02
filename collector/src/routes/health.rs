//! Whether the process lives, and whether it can work.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::app::App;
use crate::error::ApiError;

/// How long the database may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(crate) async fn get_health() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `GET /readyz`: the committer and the database answer, and have room to write.
pub(crate) async fn get_readiness(app: Data<App>) -> Result<HttpResponse, ApiError> {
    if app.disk.is_full() {
        return Err(ApiError::disk_full());
    }
    let ready = async {
        let position = app.store.feed_position().await.ok()?;
        // What is committed is published: the feed's head may only be behind for as long as that
        // takes.
        app.committer.settle().await.then_some(position.head)
    };
    let head = tokio::time::timeout(READY_WITHIN, ready)
        .await
        .ok()
        .flatten()
        .ok_or_else(|| ApiError::unavailable("the database or the committer does not answer"))?;
    if app.feed.head() < head {
        return Err(ApiError::unavailable("the feed is behind the database"));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n"))
}
