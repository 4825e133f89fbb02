//! `POST /api/agent/replay`: there is never anything to replay here. The Go agent does not call it.

use actix_web::HttpResponse;

use super::Agent;

pub(in crate::http) async fn replay(_agent: Agent) -> HttpResponse {
    HttpResponse::NoContent().finish()
}
