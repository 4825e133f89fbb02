//! `POST /api/agent/logs`: lines of pipelines. Answered after the commit; the same lines again are other lines.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Payload};

use super::{Agent, Answer, Taken};
use crate::app::App;
use crate::clock;
use crate::http::api::report_body;
use crate::http::error::ApiError;
use crate::ingest::protocol::vectorflow::{DecodedLogs, decode_logs};
use crate::model::report::{Content, Submission};

pub(in crate::http) async fn submit_logs(
    app: Data<App>,
    agent: Agent,
    request: HttpRequest,
    payload: Payload,
) -> Answer<Taken> {
    let result = try_submit(&app, agent, &request, payload).await;
    Ok(Json(result.inspect_err(|error| report_body::count_rejected(&app, error))?))
}

async fn try_submit(app: &App, agent: Agent, request: &HttpRequest, payload: Payload) -> Result<Taken, ApiError> {
    let received_at = clock::now_ms();
    let decode = move |body: &[u8]| decode_logs(body, received_at);
    // The room is held until the lines are committed.
    let (decoded, _room) = report_body::read(app, agent.node, request, payload, decode).await?;
    let submission = Submission {
        node: agent.node,
        received_at,
        address: request.peer_addr().map(|peer| peer.ip()),
        content: Content::Lines(decoded.lines),
        refusals: decoded.refusals,
        heard_by: None,
    };
    Ok(app.cluster.submit(submission).await?.refusals.into())
}

impl report_body::Decoded for DecodedLogs {
    fn bytes(&self) -> usize {
        DecodedLogs::bytes(self)
    }

    fn refused_count(&self) -> u64 {
        self.refusals.count
    }
}
