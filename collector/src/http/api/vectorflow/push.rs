//! `GET /api/agent/push`: what the agent is to do, as it happens.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Agent;
use super::config::report_every_ms;
use crate::app::App;
use crate::control::delivery::encode::Encoding;
use crate::http::api::delivery::open_push;
use crate::http::error::VectorFlowError;

pub(in crate::http) async fn stream_push(app: Data<App>, agent: Agent) -> Result<HttpResponse, VectorFlowError> {
    let encoding = Encoding::VectorFlow { report_every_ms: report_every_ms(&app) };
    let response = open_push(&app, agent.node, agent.identity, encoding)?;
    // Its polls can do little of it.
    app.actions.send_waiting(agent.node);
    Ok(response)
}
