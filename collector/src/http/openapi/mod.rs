//! The contract for programs: `GET /api/v1/openapi.json`, made from the handlers and the types that
//! they read and write, so that it always describes the real routes.
//!
//! It needs no token: it is the same for every collector of this version, and its readers learn nothing
//! about the fleet.
//!
//! The schema of the feed is the schema of each event's `data`: OpenAPI 3.1 has none for the items of a
//! stream (3.2 has). See docs/adr/0012-contract-from-code.md.

pub(super) mod problems;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Value, json};
use systole_shared::events::{Control, Event};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as Document};
use utoipa::{Modify, OpenApi, ToSchema};

use super::extract::SESSION_COOKIE;
use super::openapi;
use crate::http::api::{
    actions, agent, alerts, audit, badge, cluster, definitions, delivery, deployments, events, fleet, graph, health,
    logs, metrics, node_settings, nodes, pipelines, rollouts, samples, secrets, session, silences, status_changes,
};
use crate::http::error::Problem;

/// Everything that is served, but for the pages for people.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "systole-collector",
        description = include_str!("overview.md"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    servers((url = "/", description = "The collector that this document is of")),
    security(("bearer" = []), ("session" = [])),
    tags(
        (name = "feed", description = "What happens, as it happens: Server-Sent Events"),
        (name = "queries", description = "What is stored, for a viewer's or an admin's token"),
        (name = "alerts", description = "What fires, what fired, and which targets receive messages. Changes need an operator's token"),
        (name = "control", description = "What should run: pipelines of the centre and their secrets. Changes need an admin's token"),
        (name = "administration", description = "What an admin's token decides, and the audit of it"),
        (name = "rollouts", description = "How versions get to nodes"),
        (name = "actions", description = "What operators ask of a node at once"),
        (name = "session", description = "How a browser keeps a token"),
        (name = "agents", description = "What agents call"),
        (name = "collector", description = "The collector itself"),
    ),
    paths(
        events::stream_events,
        events::stream_events_for_vectorflow,
        nodes::list_environments,
        nodes::list_nodes,
        nodes::get_node,
        nodes::list_node_minutes,
        node_settings::change_node,
        node_settings::remove_node,
        fleet::list_fleet_nodes,
        fleet::list_fleet_pipelines,
        fleet::get_fleet_map,
        pipelines::list_pipelines,
        pipelines::get_pipeline,
        pipelines::list_pipeline_minutes,
        pipelines::list_component_minutes,
        samples::list_samples,
        logs::list_logs,
        status_changes::list_status_changes,
        deployments::list_deployments,
        alerts::list_alerts,
        alerts::list_alert_history,
        alerts::list_alert_rules,
        alerts::preview_alert_rule,
        alerts::test_alert_rule,
        alerts::list_alert_targets,
        alerts::test_alert_target,
        silences::list_silences,
        silences::add_silence,
        silences::end_silence,
        definitions::list_definitions,
        definitions::apply_definition,
        definitions::get_definition,
        definitions::remove_definition,
        definitions::list_versions,
        definitions::get_version,
        definitions::diff_versions,
        definitions::roll_back,
        definitions::pause_pipeline,
        definitions::resume_pipeline,
        graph::get_graph,
        badge::get_pipeline_badge,
        secrets::list_secrets,
        secrets::set_secret,
        secrets::remove_secret,
        secrets::rotate_key,
        audit::list_audit,
        session::get_session,
        session::create_session,
        session::end_session,
        agent::enroll_node,
        agent::submit_reports,
        delivery::get_desired_state,
        delivery::stream_push,
        delivery::answer_action,
        rollouts::list_rollouts,
        rollouts::get_rollout,
        rollouts::resume_rollout,
        rollouts::abort_rollout,
        rollouts::create_agent_update,
        actions::restart_pipeline,
        actions::sample_pipeline,
        actions::tap_pipeline,
        openapi::get_openapi,
        cluster::get_cluster,
        health::get_health,
        health::get_readiness,
        metrics::get_metrics,
    ),
    components(schemas(Problem)),
    modifiers(&Access),
)]
struct Contract;

/// The data of an event of the feed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes, and holds nothing")]
#[serde(untagged)]
pub(super) enum FeedData {
    Event(Event),
    Control(Control),
}

/// The ways to send a token.
struct Access;

impl Modify for Access {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `systole-collector token create`, or one that a node got when it enrolled."));
        let session = ApiKeyValue::with_description(
            SESSION_COOKIE,
            "The cookie of a browser's session: see `POST /api/v1/session`. The Authorization header wins over it.",
        );
        let components = document.components.get_or_insert_with(Components::new);
        components.responses.extend(problems::all().map(|(name, response)| (name.to_owned(), response.into())));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    }
}

/// The document, written once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The document as text: JSON.
pub(crate) fn text() -> &'static str {
    &DOCUMENT
}

/// This document
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "collector",
    description = "OpenAPI 3.1. Needs no token. A page for people is at `/docs`.",
    security(()),
    responses((status = 200, description = "The contract of this version", body = Value)),
)]
pub(crate) async fn get_openapi() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(DOCUMENT.as_str())
}

fn document() -> Value {
    let mut document = serde_json::to_value(Contract::openapi()).expect("a document of strings and numbers is JSON");
    speak_to_everybody(&mut document);
    let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") else { return document };
    schemas.remove("i64");
    let time = json!({"type": "integer", "format": "int64", "description": "Milliseconds since the Unix epoch."});
    schemas.insert("UnixMillis".to_owned(), time);
    // What lists are of, by its name.
    for (name, list) in schemas.iter_mut() {
        if let Some((_, item)) = name.split_once('_') {
            list["properties"]["items"]["items"] = json!({"$ref": format!("#/components/schemas/{item}")});
        }
    }
    document
}

/// What is written for readers of the source in the words of readers of the document: times by their
/// own name, and no links into the source.
fn speak_to_everybody(value: &mut Value) {
    match value {
        Value::String(text) if text == "#/components/schemas/i64" => "#/components/schemas/UnixMillis".clone_into(text),
        Value::Object(fields) => {
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = without_links(description);
            }
            fields.values_mut().for_each(speak_to_everybody);
        }
        Value::Array(items) => items.iter_mut().for_each(speak_to_everybody),
        _ => {}
    }
}

/// A link in parentheses only says where in the source something is; another one is its text.
fn without_links(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" ([`") {
        told.push_str(before);
        rest = after.split_once("`])").map_or("", |(_, rest)| rest);
    }
    told.push_str(rest);
    told.replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::http::Method;

    use super::*;

    /// Pages for people, which are no part of the contract.
    const PAGES: [&str; 4] = ["/", "/assets/{file}", "/docs", "/docs/{file}"];

    /// Whether the contract has it. VectorFlow defines the routes of its agents, and collectors have some for each other.
    fn is_ours(path: &str) -> bool {
        !PAGES.contains(&path)
            && !cluster::PEER_PATHS.contains(&path)
            && !path.starts_with(crate::http::api::vectorflow::PATHS)
    }

    #[test]
    fn document_lists_exactly_the_served_routes() {
        let mut route_specs = BTreeSet::new();
        for route in crate::http::routes::route_specs().iter().filter(|route| is_ours(route.path)) {
            // HEAD is GET without the body.
            let methods = route.methods().into_iter().filter(|method| method != Method::HEAD);
            route_specs.extend(methods.map(|method| format!("{method} {}", route.path)));
        }
        let mut told = BTreeSet::new();
        for (path, operations) in document()["paths"].as_object().unwrap() {
            told.extend(
                operations.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())),
            );
        }
        assert_eq!(told, route_specs, "give the handler a #[utoipa::path(…)] and name it in Contract's paths");
    }

    #[test]
    fn document_references_resolve_and_hide_source_names() {
        fn walk(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        let found = document.pointer(target.strip_prefix('#').expect("a reference into the document"));
                        assert!(found.is_some(), "{target} is not there");
                    }
                    for key in ["description", "summary"] {
                        let text = fields.get(key).and_then(Value::as_str).unwrap_or_default();
                        assert!(!text.contains("::") && !text.contains("[`"), "{text}");
                    }
                    fields.values().for_each(|value| walk(document, value));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
