//! Rollouts: where versions are, and what operators decide about them.

use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use systole_shared::AgentUpdate;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Identity;
use crate::clock;
use crate::control::audit::{self, Actor, DONE};
use crate::control::rollout::agents::AgentRollout;
use crate::control::rollout::changes::ordered;
use crate::control::rollout::overview::{self, Overview};
use crate::control::rollout::state::RolloutState;
use crate::control::rollout::step::{self, Step};
use crate::http::dto::Page;
use crate::http::dto::rollouts::{Rollout, RolloutDetail};
use crate::http::error::ApiError;
use crate::http::extract::{AdminAccess, QueryAccess, read_json};
use crate::http::forward;
use crate::http::openapi::problems::{Decision, Post, Query, QueryOfOne};
use crate::http::params::{EventPagination, InEnvironment, InFormat, OfPipeline, read};
use crate::http::render::ListRequest;
use crate::model::definition::RolloutPolicy;
use crate::model::selector::Selector;
use crate::model::{EnvironmentKey, RolloutKey};
use crate::query::list;
use crate::store::{NewRollout, RolloutQuery};

/// Bytes of the version of an agent.
const MAX_VERSION_BYTES: usize = 64;

/// A version of agents to be rolled out.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewAgentUpdate {
    /// Conditions on the labels of nodes; `["*"]` is every node.
    selector: Vec<String>,
    /// The version that the program answers to `--version`.
    version: String,
    /// Where it is: https.
    url: String,
    /// SHA-256 of the program, 64 hexadecimal digits.
    sha256: String,
    /// Ed25519 signature of the program, base64.
    signature: Option<String>,
    /// How it gets to the nodes.
    #[serde(default)]
    rollout: RolloutPolicy,
}

/// Rollouts, newest first
#[utoipa::path(
    get,
    path = "/api/v1/rollouts",
    tag = "rollouts",
    params(InEnvironment, OfPipeline, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<Rollout>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_rollouts(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, pipeline, pagination, format) =
        read::<(InEnvironment, OfPipeline, EventPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let query = RolloutQuery {
        environments: environment.scope(&app, &reader.0)?.environments(),
        slug: pipeline.pipeline.map(|id| id.to_string()),
        before: pagination.after()?,
        limit: pagination.limit(),
    };
    let rollouts = list::rollouts(&*app.store, query).await?;
    answer.page("rollouts", &Page::new(rollouts, |rollout| Rollout::new(&app, rollout)))
}

/// A rollout with its nodes
#[utoipa::path(
    get,
    path = "/api/v1/rollouts/{id}",
    tag = "rollouts",
    params(("id" = i64, Path, description = "The number of the rollout")),
    responses((status = 200, description = "The rollout", body = RolloutDetail), QueryOfOne),
)]
pub(crate) async fn get_rollout(
    app: Data<App>,
    reader: QueryAccess,
    id: Path<String>,
) -> Result<Json<RolloutDetail>, ApiError> {
    let overview = find(&app, &reader.0, &id).await?;
    Ok(Json(RolloutDetail::new(&app, overview)))
}

/// Let a halted rollout continue
///
/// Nodes on which it failed try again.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{id}/resume",
    tag = "rollouts",
    params(("id" = i64, Path, description = "The number of the rollout")),
    responses((status = 200, description = "It runs", body = RolloutDetail), Decision),
)]
pub(crate) async fn resume_rollout(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some(answer) = forward::to_leader(&app, &request, None).await? {
        return Ok(answer);
    }
    let overview = find(&app, &admin.0, &id).await?;
    require(&overview, &[RolloutState::Halted], "resumed")?;
    let step = step::resume(&overview.rollout, clock::now_ms());
    order(&app, &Actor::of(&app.auth, &admin.0), "rollout.resume", overview, &step).await
}

/// Take a version back from every node
///
/// Nodes go back to the version before. Agents that have a new version keep it.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts/{id}/abort",
    tag = "rollouts",
    params(("id" = i64, Path, description = "The number of the rollout")),
    responses((status = 200, description = "It has ended", body = RolloutDetail), Decision),
)]
pub(crate) async fn abort_rollout(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some(answer) = forward::to_leader(&app, &request, None).await? {
        return Ok(answer);
    }
    let overview = find(&app, &admin.0, &id).await?;
    require(&overview, &[RolloutState::Running, RolloutState::Halted], "aborted")?;
    let author = Actor::of(&app.auth, &admin.0);
    let reason = format!("aborted by {}", author.name);
    let step = step::abort(&overview.rollout, &reason, clock::now_ms());
    order(&app, &author, "rollout.abort", overview, &step).await
}

/// Update agents
///
/// In batches, like a version of a pipeline. Agents check the program before they change to it, and go back when it is
/// not healthy.
#[utoipa::path(
    post,
    path = "/api/v1/agent-updates",
    tag = "rollouts",
    params(InEnvironment),
    request_body = NewAgentUpdate,
    responses((status = 201, description = "The rollout", body = Rollout), Post),
)]
pub(crate) async fn create_agent_update(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let new: NewAgentUpdate = read_json(&app, &request, payload).await?;
    let environment = environment.one(&app, &admin.0).await?;
    let agents = AgentRollout { update: new.update()?, selector: new.selector };
    Selector::parse(&agents.selector).map_err(|fault| ApiError::bad_parameter("selector", fault))?;
    if !new.rollout.canary.is_empty() {
        Selector::parse(&new.rollout.canary).map_err(|fault| ApiError::bad_parameter("rollout.canary", fault))?;
    }
    let query = RolloutQuery { environments: Some(vec![environment]), limit: 1_000, ..RolloutQuery::default() };
    let is_open = |state: &str| [RolloutState::Running, RolloutState::Halted].iter().any(|open| open.as_str() == state);
    let others = app.store.list_rollouts(query).await?;
    if let Some(other) = others.iter().find(|other| other.row.definition.is_none() && is_open(&other.row.state)) {
        let detail = format!("rollout {} of agents is {}; abort it first", other.row.id, other.row.state);
        return Err(ApiError::conflict(detail));
    }
    let (now, author) = (clock::now_ms(), Actor::of(&app.auth, &admin.0));
    let key = app
        .store
        .create_rollout(NewRollout {
            environment: environment.0,
            definition: None,
            version: 0,
            from_version: None,
            agent_update: Some(serde_json::to_string(&agents).map_err(ApiError::unwritable)?),
            policy: serde_json::to_string(&new.rollout).map_err(ApiError::unwritable)?,
            state: RolloutState::Running.as_str().to_owned(),
            reason: String::new(),
            stage: 0,
            author: author.name.clone(),
            started_at: now,
            changed_at: now,
        })
        .await?;
    app.rollouts.notify_one();
    tracing::info!(rollout = key.0, version = agents.update.version, author = author.name, "agent update begins");
    let subject = format!("{} to {} (rollout {})", agents.selector.join(","), agents.update.version, key.0);
    audit::record(&*app.store, &author, Some(environment), "agent.update", &subject, DONE).await;
    let detail = app.store.rollout_detail(key).await?.ok_or_else(|| ApiError::not_found("the rollout"))?;
    Ok(HttpResponse::Created().json(Rollout::new(&app, detail.view)))
}

impl NewAgentUpdate {
    fn update(&self) -> Result<AgentUpdate, ApiError> {
        let NewAgentUpdate { version, url, sha256, signature, .. } = self;
        let is_printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable(version) || version.len() > MAX_VERSION_BYTES {
            return Err(ApiError::bad_parameter("version", format!("{version:?}, expected a version such as 0.2.0")));
        }
        if !url.starts_with("https://") || !is_printable(url) {
            return Err(ApiError::bad_parameter("url", format!("{url:?}, expected an https address")));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ApiError::bad_parameter("sha256", "expected 64 hexadecimal digits"));
        }
        let (version, url, sha256) = (version.clone(), url.clone(), sha256.to_ascii_lowercase());
        Ok(AgentUpdate { version, url, sha256, signature: signature.clone() })
    }
}

/// A rollout in the scope of a token. Nothing else exists for its owner.
async fn find(app: &App, identity: &Identity, id: &str) -> Result<Overview, ApiError> {
    let missing = || ApiError::not_found(format!("rollout {id:?}"));
    let key = RolloutKey(id.parse().map_err(|_| missing())?);
    let overview = overview::read(&*app.store, key, clock::now_ms()).await?.ok_or_else(missing)?;
    let environment = EnvironmentKey(overview.view.row.environment);
    if identity.scope.includes(environment) { Ok(overview) } else { Err(missing()) }
}

fn require(overview: &Overview, states: &[RolloutState], what: &str) -> Result<(), ApiError> {
    let state = overview.rollout.state;
    if states.contains(&state) {
        return Ok(());
    }
    let needed = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" or ");
    let id = overview.rollout.key.0;
    Err(ApiError::conflict(format!("rollout {id} is {}; only one that is {needed} can be {what}", state.as_str())))
}

/// Does what an operator has decided.
async fn order(
    app: &App,
    author: &Actor,
    action: &str,
    overview: Overview,
    step: &Step,
) -> Result<HttpResponse, ApiError> {
    let change = ordered(&overview.view.row, step, overview.view.is_paused, clock::now_ms());
    let written = app.store.apply_step(change).await?;
    let Some(generations) = written else {
        return Err(ApiError::conflict("the rollout has changed in this moment; see where it is, and try again"));
    };
    app.delivery.update(&generations);
    app.rollouts.notify_one();
    let key = overview.rollout.key;
    let subject = match &overview.view.slug {
        Some(slug) => format!("{slug} version {} (rollout {})", overview.view.row.version, key.0),
        None => format!("agents (rollout {})", key.0),
    };
    let environment = EnvironmentKey(overview.view.row.environment);
    audit::record(&*app.store, author, Some(environment), action, &subject, DONE).await;
    let overview = overview::read(&*app.store, key, clock::now_ms()).await?;
    let overview = overview.ok_or_else(|| ApiError::not_found(format!("rollout {}", key.0)))?;
    Ok(HttpResponse::Ok().json(RolloutDetail::new(app, overview)))
}
