//! What an administrator sets of a node, and its removal.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use systole_shared::limits::MAX_SHORT_TEXT_BYTES;
use systole_shared::{NodeId, UnixMillis};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::clock;
use crate::control::audit::{self, Actor, DONE};
use crate::http::dto::Node;
use crate::http::error::ApiError;
use crate::http::extract::{AdminAccess, read_json};
use crate::http::openapi::problems::{ChangeOfOne, QueryOfOne};
use crate::http::params::{InEnvironment, find_node, find_node_named, read};
use crate::ingest::committer::{AdministerError, NodeAction};
use crate::model::node::{LabelUpdate, Maintenance, NodeUpdate};
use crate::store::NodeView;

/// Longest name of a node, in characters: it is a column of tables.
const MAX_NAME_CHARS: usize = 64;

/// Longest name and value of a label, in characters.
const MAX_LABEL_CHARS: usize = 128;

/// Longest maintenance: one that is forgotten must end.
const LONGEST_MAINTENANCE: Duration = Duration::from_secs(366 * 86_400);

/// A change of what is set of a node. A field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeNode {
    /// 1 to 64 characters. `null`: the name that the agent reports.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 64)]
    name: Option<Option<String>>,
    /// Labels to set; `null` as a value removes a label that is set here. `null` for all of them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    labels: Option<Option<BTreeMap<String, Option<String>>>>,
    /// `null`: it ends.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<StartMaintenance>)]
    maintenance: Option<Option<StartMaintenance>>,
}

/// A time in which people work on a node: rollouts leave it out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StartMaintenance {
    /// When it ends by itself; at most 366 days from now.
    until: UnixMillis,
    /// For people, at most 1024 bytes.
    #[schema(max_length = 1024)]
    note: Option<String>,
}

/// `null` is a value; a field that is left out is none.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl ChangeNode {
    /// The change, if each value is within its bounds.
    fn check(self, now: UnixMillis) -> Result<NodeUpdate, ApiError> {
        let ChangeNode { name, labels, maintenance } = self;
        if name.is_none() && labels.is_none() && maintenance.is_none() {
            return Err(ApiError::bad_request("nothing to change, expected name, labels or maintenance"));
        }
        let name = name.map(|name| name.map(|name| line("name", &name, MAX_NAME_CHARS)).transpose()).transpose()?;
        let labels = match labels {
            None => None,
            Some(None) => Some(LabelUpdate::Clear),
            Some(Some(labels)) => Some(LabelUpdate::Merge(labels.into_iter().map(label).collect::<Result<_, _>>()?)),
        };
        let maintenance = maintenance.map(|it| it.map(|it| it.check(now)).transpose()).transpose()?;
        Ok(NodeUpdate { name, labels, maintenance })
    }
}

impl StartMaintenance {
    fn check(self, now: UnixMillis) -> Result<Maintenance, ApiError> {
        let longest = i64::try_from(LONGEST_MAINTENANCE.as_millis()).unwrap_or(i64::MAX);
        if self.until <= now || self.until > now.saturating_add(longest) {
            let detail = "must be a time in the next 366 days, in Unix milliseconds";
            return Err(ApiError::bad_parameter("maintenance.until", detail));
        }
        let note = self.note.map(|note| line("maintenance.note", &note, MAX_SHORT_TEXT_BYTES)).transpose()?;
        Ok(Maintenance { until: self.until, note })
    }
}

/// Texts are printed in tables and log lines.
fn line(field: &str, text: &str, most: usize) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_SHORT_TEXT_BYTES || text.chars().count() > most {
        return Err(ApiError::bad_parameter(field, format!("expected 1 to {most} characters")));
    }
    if text.contains(char::is_control) {
        return Err(ApiError::bad_parameter(field, "has a control character"));
    }
    Ok(text.to_owned())
}

fn label((key, value): (String, Option<String>)) -> Result<(String, Option<String>), ApiError> {
    let field = format!("labels.{key}");
    let name = line("labels", &key, MAX_LABEL_CHARS)?;
    if name.starts_with('!') || name.contains(['=', ':', ',']) || name == "*" {
        return Err(ApiError::bad_parameter(
            &field,
            "a name of a label has no '=', ':' or ',', and is not '*' or '!…'",
        ));
    }
    let value = match value {
        // A label without a value is one that a node just has.
        Some(value) if value.is_empty() => Some(value),
        value => value.map(|value| line(&field, &value, MAX_LABEL_CHARS)).transpose()?,
    };
    Ok((name, value))
}

/// Rename a node, set its labels, begin or end its maintenance
///
/// Each change is a `status_change` with the node's own state and a reason. What is set here wins over what the agent
/// reports. Maintenance ends by itself.
#[utoipa::path(
    patch,
    path = "/api/v1/nodes/{id}",
    tag = "administration",
    params(("id" = inline(NodeId), Path, description = "The node"), InEnvironment),
    request_body = ChangeNode,
    responses((status = 200, description = "The node as it is now", body = Node), ChangeOfOne),
)]
pub(crate) async fn change_node(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<Json<Node>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let scope = environment.scope(&app, &admin.0)?;
    let body: ChangeNode = read_json(&app, &request, payload).await?;
    let update = body.check(clock::now_ms())?;
    let node = find_node_named(&app, scope, &id).await?;
    let action = action_of(&update);
    administer(&app, &admin.0, &node, action, NodeAction::Change(update)).await?;
    let id = id.parse().map_err(|_| ApiError::not_found(format!("node {id:?}")))?;
    Ok(Json(Node::new(&app, find_node(&app, scope, id).await?)))
}

/// The action's name in the audit: of the first setting that changes.
fn action_of(update: &NodeUpdate) -> &'static str {
    match update {
        NodeUpdate { name: Some(_), labels: None, maintenance: None } => "node.rename",
        NodeUpdate { name: None, labels: Some(_), maintenance: None } => "node.label",
        NodeUpdate { name: None, labels: None, maintenance: Some(_) } => "node.maintenance",
        _ => "node.change",
    }
}

/// Remove a node with all its data
///
/// Its token is revoked, and each subscriber receives a `status_change` to REMOVED. Its minutes, lines and samples are
/// in no answer any more; their rows are removed in the background. An agent that has an enrolment token enrols
/// again, as a new node.
#[utoipa::path(
    delete,
    path = "/api/v1/nodes/{id}",
    tag = "administration",
    params(("id" = inline(NodeId), Path, description = "The node"), InEnvironment),
    responses((status = 204, description = "It is removed"), QueryOfOne),
)]
pub(crate) async fn remove_node(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let scope: Scope = environment.scope(&app, &admin.0)?;
    let node = find_node_named(&app, scope, &id).await?;
    administer(&app, &admin.0, &node, "node.remove", NodeAction::Remove).await?;
    app.delivery.forget(node.key);
    app.actions.forget(node.key);
    // Its token is gone from the database.
    app.auth.refresh(&*app.store).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Does it, and writes it down with what came of it.
async fn administer(
    app: &App,
    identity: &Identity,
    node: &NodeView,
    action: &'static str,
    what: NodeAction,
) -> Result<Vec<String>, AdministerError> {
    let is_removal = what == NodeAction::Remove;
    let done = app.cluster.administer(node.key, what).await;
    let result = match &done {
        Ok(changed) if changed.is_empty() => "nothing to change".to_owned(),
        Ok(_) if is_removal => DONE.to_owned(),
        Ok(changed) => changed.join("; "),
        Err(error) => error.to_string(),
    };
    let actor = Actor::of(&app.auth, identity);
    let subject = format!("{} {}", node.name, node.id);
    audit::record(&*app.store, &actor, Some(node.environment), action, &subject, &result).await;
    done
}
