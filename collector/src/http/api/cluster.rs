//! The collectors of this database, and the connection between a follower and the leader.

use std::convert::Infallible;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use systole_shared::{Token, UnixMillis};
use utoipa::ToSchema;

use crate::app::App;
use crate::cluster::members::{self, MemberView};
use crate::cluster::peers::Hears;
use crate::cluster::serve::{self, RefusedFollower};
use crate::http::error::ApiError;
use crate::http::extract::{QueryAccess, refuse, token};
use crate::http::forward::is_from_peer;
use crate::http::openapi::problems;
use crate::model::NodeKey;

/// Paths that only collectors of the same database call. Their form is no part of the contract.
#[cfg(test)]
pub(crate) const PEER_PATHS: [&str; 3] =
    ["/api/v1/cluster/entries", "/api/v1/cluster/submissions", crate::cluster::peers::HEARS_PATH];

/// The collectors of a database.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    /// The id of the collector that answers.
    id: String,
    /// Grows by one each time another collector leads.
    term: u64,
    /// The address of the collector that leads; null when none does.
    leader: Option<String>,
    members: Vec<ClusterMember>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterMember {
    /// Made at each start.
    id: String,
    /// Where the others reach it.
    url: String,
    version: String,
    /// `leader`, `follower`, `no leader`, or `silent` when it has written nothing for 3 s.
    role: String,
    term: u64,
    /// Highest sequence number that it has published.
    head: u64,
    /// Milliseconds since it heard of the leader; null when it has heard of none.
    lag_ms: Option<u64>,
    /// Streams of subscribers.
    streams: u64,
    started_at: UnixMillis,
    /// Milliseconds since it last wrote to the database.
    silent_ms: i64,
}

impl From<MemberView> for ClusterMember {
    fn from(view: MemberView) -> Self {
        let is_silent = view.is_silent();
        ClusterMember {
            id: view.id,
            url: view.url,
            version: view.version,
            role: if is_silent { "silent".to_owned() } else { view.state.role },
            term: view.state.term,
            head: view.state.head,
            lag_ms: view.state.lag_ms,
            streams: view.state.streams,
            started_at: view.started_at,
            silent_ms: view.silent_ms.max(0),
        }
    }
}

/// The collectors of this database
///
/// With their roles, as each of them wrote within the last 10 s. A collector on SQLite is the only one, and leads.
#[utoipa::path(
    get,
    path = "/api/v1/cluster",
    tag = "collector",
    responses((status = 200, description = "All of them", body = ClusterStatus), problems::Query),
)]
pub(crate) async fn get_cluster(app: Data<App>, _reader: QueryAccess) -> Result<HttpResponse, ApiError> {
    let members: Vec<ClusterMember> = match &app.cluster_store {
        Some(store) => members::list(&**store).await?.into_iter().map(Into::into).collect(),
        None => vec![alone(&app)],
    };
    let leader = members.iter().filter(|member| member.role == "leader").max_by_key(|member| member.term);
    let status = ClusterStatus {
        id: app.cluster.id.clone(),
        term: members.iter().map(|member| member.term).fold(app.cluster.term(), u64::max),
        leader: leader.map(|leader| leader.url.clone()),
        members,
    };
    Ok(HttpResponse::Ok().json(status))
}

fn alone(app: &App) -> ClusterMember {
    ClusterMember {
        id: app.cluster.id.clone(),
        url: app.cluster.url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: app.cluster.role().as_str().to_owned(),
        term: app.cluster.term(),
        head: app.feed.head(),
        lag_ms: Some(0),
        streams: u64::try_from(app.telemetry.feed_subscribers.get()).unwrap_or(0),
        started_at: app.started_at,
        silent_ms: 0,
    }
}

/// What a follower says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Following {
    format: u32,
}

/// The connection that submissions belong to.
#[derive(Debug, Deserialize)]
pub(crate) struct Handed {
    follower: u64,
}

/// What this collector commits from now on, for a collector that follows it.
pub(crate) async fn stream_entries(
    app: Data<App>,
    request: HttpRequest,
    following: Query<Following>,
) -> Result<HttpResponse, ApiError> {
    require_peer(&app, &request)?;
    let entries = serve::follow(&app.cluster, &app.timeseries, following.format).map_err(|refused| match refused {
        RefusedFollower::NotLeader => ApiError::unavailable(refused.to_string()),
        RefusedFollower::Format(_) => ApiError::conflict(refused.to_string()),
    })?;
    let entries = entries.map(Ok::<Bytes, Infallible>);
    Ok(HttpResponse::build(StatusCode::OK).content_type("application/octet-stream").streaming(Box::pin(entries)))
}

/// What a collector that follows this one hands in, for as long as it does.
pub(crate) async fn take_submissions(
    app: Data<App>,
    request: HttpRequest,
    handed: Query<Handed>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    require_peer(&app, &request)?;
    let taken = serve::take_submissions(&app.cluster, handed.follower, &app.rollouts, payload).await;
    taken.map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(HttpResponse::NoContent().finish())
}

/// Which node another collector asks about.
#[derive(Debug, Deserialize)]
pub(crate) struct AskedNode {
    node: i64,
}

/// Whether this collector hears a node.
pub(crate) async fn get_hears(
    app: Data<App>,
    request: HttpRequest,
    asked: Query<AskedNode>,
) -> Result<HttpResponse, ApiError> {
    if !is_from_peer(&app, &request) {
        return Err(refuse(&app, &request, not_a_peer()));
    }
    let node = NodeKey(asked.node);
    let heard_ms = app.cluster.peers.heard(node).and_then(|since| u64::try_from(since.as_millis()).ok());
    Ok(HttpResponse::Ok().json(Hears { push: app.delivery.push.has_stream(node), heard_ms }))
}

fn not_a_peer() -> ApiError {
    ApiError::unauthorized("only a collector of the same database can call this")
}

/// Collectors of one database know a secret of it.
fn require_peer(app: &App, request: &HttpRequest) -> Result<(), ApiError> {
    let sent = token(request).map(|token| token.hash());
    let own = app.cluster.secret.as_deref().map(|secret| Token::new(secret).hash());
    match (sent, own) {
        (Some(sent), Some(own)) if own.matches(&sent) => Ok(()),
        _ => Err(refuse(app, request, not_a_peer())),
    }
}
