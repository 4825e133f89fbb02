//! The HTTP surface. Only this module knows HTTP: handlers read a request, call the domain, and
//! write the answer.

mod agent;
mod events;
mod extract;
mod health;
mod logs;
mod metrics;
mod nodes;
mod params;
mod pipelines;
mod samples;
mod session;
mod status_changes;
mod views;

use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, Route};

use crate::error::ApiError;

/// Every route. A path without the method asked for is 405, everything else 404, both as problems.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .service(at("/healthz", [web::get().to(health::get_health)]))
        .service(at("/readyz", [web::get().to(health::get_readiness)]))
        .service(at("/metrics", [web::get().to(metrics::get_metrics)]))
        .service(at("/api/v1/agent/enroll", [web::post().to(agent::enroll_node)]))
        .service(at("/api/v1/agent/reports", [web::post().to(agent::submit_reports)]))
        .service(at("/api/v1/events", [web::get().to(events::stream_events)]))
        .service(at(
            "/api/v1/session",
            [web::post().to(session::create_session), web::delete().to(session::end_session)],
        ))
        .service(at("/api/v1/environments", [web::get().to(nodes::list_environments)]))
        .service(at("/api/v1/nodes", [web::get().to(nodes::list_nodes)]))
        .service(at("/api/v1/nodes/{id}", [web::get().to(nodes::get_node)]))
        .service(at("/api/v1/nodes/{id}/minutes", [web::get().to(nodes::list_node_minutes)]))
        .service(at("/api/v1/pipelines", [web::get().to(pipelines::list_pipelines)]))
        .service(at("/api/v1/pipelines/{id}", [web::get().to(pipelines::get_pipeline)]))
        .service(at("/api/v1/pipelines/{id}/minutes", [web::get().to(pipelines::list_pipeline_minutes)]))
        .service(at("/api/v1/pipelines/{id}/components/minutes", [web::get().to(pipelines::list_component_minutes)]))
        .service(at("/api/v1/samples", [web::get().to(samples::list_samples)]))
        .service(at("/api/v1/logs", [web::get().to(logs::list_logs)]))
        .service(at("/api/v1/status-changes", [web::get().to(status_changes::list_status_changes)]))
        .default_service(web::to(no_such_path));
}

fn at<const N: usize>(path: &str, routes: [Route; N]) -> Resource {
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    resource.default_service(web::to(no_such_method))
}

async fn no_such_path(request: actix_web::HttpRequest) -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::not_found(format!("the path {}", request.path())))
}

async fn no_such_method() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed())
}
