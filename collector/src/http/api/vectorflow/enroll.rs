//! `POST /api/agent/enroll`: a Go agent's host becomes a node. It has no machine id, so each enrolment makes a new
//! node.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Payload};
use systole_shared::vectorflow::token::{slug_of, slugify};
use systole_shared::vectorflow::{EnrollRequest, EnrollResponse};

use super::{Answer, check_organisation};
use crate::app::App;
use crate::auth;
use crate::http::api::agent::{HostToEnroll, enroll_host, enrolment_environment};
use crate::http::extract::read_json;

pub(in crate::http) async fn enroll(app: Data<App>, http: HttpRequest, payload: Payload) -> Answer<EnrollResponse> {
    let request: EnrollRequest = read_json(&app, &http, payload).await?;
    check_organisation(http.headers(), &request.token)?;
    let environment = enrolment_environment(&app, &http, &request.token).await?;
    let slug = slug_of(&request.token).map_or_else(|| slugify(&environment.name), str::to_owned);
    let host = HostToEnroll {
        hostname: &request.hostname,
        machine_id: None,
        os: &request.os,
        agent_version: &request.agent_version,
        labels: &request.labels,
        token: auth::new_vectorflow_node_token(&slug),
    };
    let node_token = host.token.clone();
    let (enrolled, _) = enroll_host(&app, &http, &environment, host).await?;
    Ok(Json(EnrollResponse {
        node_id: enrolled.id.to_string(),
        node_token,
        environment_id: environment.id.to_string(),
        environment_name: environment.name,
    }))
}
