//! Every route, in one flat list.

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route};

use super::api::{
    actions, agent, alerts, audit, badge, cluster, definitions, delivery, deployments, events, fleet, graph, health,
    logs, metrics, node_settings, nodes, pipelines, rollouts, samples, secrets, session, silences, status_changes,
    vectorflow,
};
use super::error::ApiError;
use super::{assets, forward, openapi, suggest};

/// Every route. A path without the method asked for is 405, everything else 404, both as problems.
pub(crate) fn configure(config: &mut ServiceConfig) {
    for spec in route_specs() {
        // What fires is known where rules are evaluated.
        if spec.path.starts_with("/api/v1/alerts") || spec.path.starts_with("/api/v1/silences") {
            config.service(spec.into_resource().wrap(from_fn(forward::by_leader)));
        } else {
            config.service(spec.into_resource());
        }
    }
    config.default_service(web::to(no_such_path));
}

pub(super) fn route_specs() -> Vec<RouteSpec> {
    vec![
        at("/healthz", [get(health::get_health), on(Method::HEAD, health::get_health)]),
        at("/readyz", [get(health::get_readiness), on(Method::HEAD, health::get_readiness)]),
        at("/metrics", [get(metrics::get_metrics)]),
        at("/", [get(assets::get_index), on(Method::HEAD, assets::get_index)]),
        at("/assets/{file}", [get(assets::get_dashboard_asset)]),
        at("/docs", [get(assets::get_page)]),
        at("/docs/{file}", [get(assets::get_asset)]),
        at("/api/v1/openapi.json", [get(openapi::get_openapi)]),
        at("/api/v1/agent/enroll", [on(Method::POST, agent::enroll_node)]),
        at("/api/v1/agent/reports", [on(Method::POST, agent::submit_reports)]),
        at("/api/v1/agent/desired", [get(delivery::get_desired_state)]),
        at("/api/v1/agent/push", [get(delivery::stream_push)]),
        at("/api/v1/agent/actions/{id}", [on(Method::POST, delivery::answer_action)]),
        at("/api/agent/enroll", [on(Method::POST, vectorflow::enroll)]),
        at("/api/agent/heartbeat", [on(Method::POST, vectorflow::submit_heartbeat)]),
        at("/api/agent/logs", [on(Method::POST, vectorflow::submit_logs)]),
        at("/api/agent/config", [get(vectorflow::get_config)]),
        at("/api/agent/push", [get(vectorflow::stream_push)]),
        at("/api/agent/samples", [on(Method::POST, vectorflow::submit_samples)]),
        at("/api/agent/tap-events", [on(Method::POST, vectorflow::submit_tap_events)]),
        at("/api/agent/replay", [on(Method::POST, vectorflow::replay)]),
        at("/api/v1/events", [get(events::stream_events)]),
        at("/api/sse", [get(events::stream_events_for_vectorflow)]),
        at(
            "/api/v1/session",
            [
                get(session::get_session),
                on(Method::POST, session::create_session),
                on(Method::DELETE, session::end_session),
            ],
        ),
        at("/api/v1/environments", [get(nodes::list_environments)]),
        at("/api/v1/nodes", [get(nodes::list_nodes)]),
        at(
            "/api/v1/nodes/{id}",
            [
                get(nodes::get_node),
                on(Method::PATCH, node_settings::change_node),
                on(Method::DELETE, node_settings::remove_node),
            ],
        ),
        at("/api/v1/nodes/{id}/minutes", [get(nodes::list_node_minutes)]),
        at("/api/v1/fleet/nodes", [get(fleet::list_fleet_nodes)]),
        at("/api/v1/fleet/pipelines", [get(fleet::list_fleet_pipelines)]),
        at("/api/v1/fleet/map", [get(fleet::get_fleet_map)]),
        at("/api/v1/pipelines", [get(pipelines::list_pipelines)]),
        at("/api/v1/pipelines/{id}", [get(pipelines::get_pipeline)]),
        at("/api/v1/pipelines/{id}/minutes", [get(pipelines::list_pipeline_minutes)]),
        at("/api/v1/pipelines/{id}/components/minutes", [get(pipelines::list_component_minutes)]),
        at("/api/v1/pipelines/{id}/graph", [get(graph::get_graph)]),
        at("/api/v1/badge/pipelines/{id}.svg", [get(badge::get_pipeline_badge)]),
        at(
            "/api/v1/pipelines/{id}/definition",
            [
                get(definitions::get_definition),
                on(Method::PUT, definitions::apply_definition),
                on(Method::DELETE, definitions::remove_definition),
            ],
        ),
        at("/api/v1/pipelines/{id}/versions", [get(definitions::list_versions)]),
        at("/api/v1/pipelines/{id}/versions/{version}", [get(definitions::get_version)]),
        at("/api/v1/pipelines/{id}/diff", [get(definitions::diff_versions)]),
        at("/api/v1/pipelines/{id}/rollback", [on(Method::POST, definitions::roll_back)]),
        at("/api/v1/pipelines/{id}/pause", [on(Method::POST, definitions::pause_pipeline)]),
        at("/api/v1/pipelines/{id}/resume", [on(Method::POST, definitions::resume_pipeline)]),
        at("/api/v1/definitions", [get(definitions::list_definitions)]),
        at("/api/v1/secrets", [get(secrets::list_secrets)]),
        at(
            "/api/v1/secrets/{name}",
            [on(Method::PUT, secrets::set_secret), on(Method::DELETE, secrets::remove_secret)],
        ),
        at("/api/v1/secret-key/rotate", [on(Method::POST, secrets::rotate_key)]),
        at("/api/v1/pipelines/{id}/actions/restart", [on(Method::POST, actions::restart_pipeline)]),
        at("/api/v1/pipelines/{id}/actions/sample", [on(Method::POST, actions::sample_pipeline)]),
        at("/api/v1/pipelines/{id}/tap", [get(actions::tap_pipeline)]),
        at("/api/v1/rollouts", [get(rollouts::list_rollouts)]),
        at("/api/v1/rollouts/{id}", [get(rollouts::get_rollout)]),
        at("/api/v1/rollouts/{id}/resume", [on(Method::POST, rollouts::resume_rollout)]),
        at("/api/v1/rollouts/{id}/abort", [on(Method::POST, rollouts::abort_rollout)]),
        at("/api/v1/agent-updates", [on(Method::POST, rollouts::create_agent_update)]),
        at("/api/v1/samples", [get(samples::list_samples)]),
        at("/api/v1/logs", [get(logs::list_logs)]),
        at("/api/v1/audit", [get(audit::list_audit)]),
        at("/api/v1/cluster", [get(cluster::get_cluster)]),
        at(crate::cluster::peers::HEARS_PATH, [get(cluster::get_hears)]),
        at("/api/v1/cluster/entries", [get(cluster::stream_entries)]),
        at("/api/v1/cluster/submissions", [on(Method::POST, cluster::take_submissions)]),
        at("/api/v1/status-changes", [get(status_changes::list_status_changes)]),
        at("/api/v1/deployments", [get(deployments::list_deployments)]),
        at("/api/v1/alerts", [get(alerts::list_alerts)]),
        at("/api/v1/alerts/history", [get(alerts::list_alert_history)]),
        at("/api/v1/alerts/rules", [get(alerts::list_alert_rules)]),
        at("/api/v1/alerts/rules/{name}/preview", [get(alerts::preview_alert_rule)]),
        at("/api/v1/alerts/rules/{name}/test", [on(Method::POST, alerts::test_alert_rule)]),
        at("/api/v1/alerts/targets", [get(alerts::list_alert_targets)]),
        at("/api/v1/alerts/targets/{name}/test", [on(Method::POST, alerts::test_alert_target)]),
        at("/api/v1/silences", [get(silences::list_silences), on(Method::POST, silences::add_silence)]),
        at("/api/v1/silences/{id}", [on(Method::DELETE, silences::end_silence)]),
    ]
}

/// A method and what answers it.
type MethodRoute = (Method, Route);

fn on<F, Args>(method: Method, handler: F) -> MethodRoute
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    (method.clone(), web::method(method).to(handler))
}

fn get<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    on(Method::GET, handler)
}

fn at<const N: usize>(path: &'static str, routes: [MethodRoute; N]) -> RouteSpec {
    RouteSpec { path, routes: routes.into() }
}

/// A path with everything that answers there.
pub(super) struct RouteSpec {
    pub(super) path: &'static str,
    routes: Vec<MethodRoute>,
}

impl RouteSpec {
    pub(super) fn methods(&self) -> Vec<Method> {
        self.routes.iter().map(|(method, _)| method.clone()).collect()
    }

    fn into_resource(self) -> Resource {
        let methods = self.methods();
        let resource = self.routes.into_iter().map(|(_, route)| route).fold(web::resource(self.path), Resource::route);
        resource.default_service(web::to(move || {
            let refused = ApiError::method_not_allowed(&methods);
            async { Err::<HttpResponse, _>(refused) }
        }))
    }
}

async fn no_such_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let known: Vec<_> = route_specs().iter().map(|route| route.path).collect();
    let detail = match suggest::nearest(request.path(), &known) {
        Some(path) => format!("there is {path}"),
        None => "/docs lists all paths".to_owned(),
    };
    Err(ApiError::no_such_path(request.path(), &detail))
}
