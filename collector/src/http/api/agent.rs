//! The routes of agents: enrolment and reports.
//!
//! Clock skew is measured when the head of a request arrives, not its body, so that a slow upload is
//! not a wrong clock.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Payload};
use systole_shared::enroll::PROTOCOL;
use systole_shared::limits::{MAX_LABELS, MAX_LABELS_BYTES, MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{EnrollRequest, EnrollResponse, ReportAck, ReportRequest, Token, TokenKind};
use tokio::time::Instant;

use super::report_body;
use crate::app::App;
use crate::auth;
use crate::clock;
use crate::http::error::ApiError;
use crate::http::extract::{Node, client_address, read_json, refuse};
use crate::http::openapi::problems::{Post, PostReports};
use crate::ingest::enrolment::{self, EnrolError, Enrolled};
use crate::ingest::protocol::native;
use crate::model::directory::NodeEntry;
use crate::model::live::LiveNode;
use crate::model::node::Labels;
use crate::model::report::{Content, Submission};
use crate::store::{ENROLLED, EnrolledNode, NewEnrolment, StoredEnvironment};

/// Time for which a node's older token stays valid after a new enrolment: a request that is under
/// way with it still arrives.
const OLD_TOKEN_GRACE_MS: i64 = 3_600_000;

/// Make a host a node
///
/// The token of the request is one for enrolment. A host of a known `machineId` becomes the node that it was, unless
/// another agent reports as that node: then it becomes a new node, and `notice` says why. The answer may take 15 s,
/// and a 503 asks to try again.
#[utoipa::path(
    post,
    path = "/api/v1/agent/enroll",
    tag = "agents",
    security(()),
    request_body = EnrollRequest,
    responses((status = 200, description = "It is a node", body = EnrollResponse), Post),
)]
pub(crate) async fn enroll_node(
    app: Data<App>,
    http: HttpRequest,
    payload: Payload,
) -> Result<Json<EnrollResponse>, ApiError> {
    let request: EnrollRequest = read_json(&app, &http, payload).await?;
    let environment = enrolment_environment(&app, &http, &request.token).await?;
    let host = HostToEnroll {
        hostname: &request.hostname,
        machine_id: request.machine_id.as_deref(),
        os: &request.os,
        agent_version: &request.agent_version,
        labels: &request.labels,
        token: auth::new_token(TokenKind::Node),
    };
    let node_token = host.token.clone();
    let (enrolled, notice) = enroll_host(&app, &http, &environment, host).await?;
    Ok(Json(EnrollResponse {
        node_id: enrolled.id,
        node_token,
        environment_id: environment.id,
        environment_name: environment.name,
        protocol: PROTOCOL,
        notice,
    }))
}

/// The environment that a token of an enrolment is for. Counts the request.
pub(super) async fn enrolment_environment(
    app: &App,
    http: &HttpRequest,
    token: &Token,
) -> Result<StoredEnvironment, ApiError> {
    refuse_when_full(app)?;
    let refused = || refuse(app, http, ApiError::unknown_token());
    let address = client_address(http);
    let identity = app.auth.identify(&*app.store, token, address, clock::now_ms()).await?.ok_or_else(refused)?;
    let (TokenKind::Enroll, auth::Scope::One(environment)) = (identity.kind, identity.scope) else {
        return Err(ApiError::forbidden(format!("a token of kind {} cannot enrol nodes", identity.kind)));
    };
    app.auth.limits.enrolments.take(identity.token, address, Instant::now())?;
    app.auth.environment_by_key(environment).ok_or_else(refused)
}

/// A host as it asks to become a node.
pub(super) struct HostToEnroll<'a> {
    pub hostname: &'a str,
    pub machine_id: Option<&'a str>,
    pub os: &'a str,
    pub agent_version: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    /// The token that the node gets.
    pub token: Token,
}

/// Makes a host a node. Returns it, and a notice for its operator.
pub(super) async fn enroll_host(
    app: &App,
    http: &HttpRequest,
    environment: &StoredEnvironment,
    host: HostToEnroll<'_>,
) -> Result<(EnrolledNode, Option<String>), ApiError> {
    let now = clock::now_ms();
    // Names appear in log lines and tables.
    let clean = |text: &str| cut(text.trim(), MAX_SHORT_TEXT_BYTES).replace(char::is_control, "\u{FFFD}");
    let name = clean(host.hostname);
    if name.is_empty() {
        return Err(ApiError::bad_parameter("hostname", "is empty"));
    }
    // Each is kept for every node: as many as fit.
    let mut labels_bytes = 0;
    let labels = host.labels.iter().take(MAX_LABELS).map(|(key, value)| (clean(key), clean(value)));
    let labels = labels.take_while(|(key, value)| {
        labels_bytes += key.len() + value.len();
        labels_bytes <= MAX_LABELS_BYTES
    });
    let labels: Labels = labels.collect();
    let agent_version = clean(host.agent_version);
    let enrolled = enrolment::enroll(
        &*app.store,
        &app.fleet,
        NewEnrolment {
            environment: environment.key,
            name: name.clone(),
            machine_id: host.machine_id.map(clean).filter(|id| !id.is_empty()),
            os: clean(host.os),
            agent_version: agent_version.clone(),
            labels: labels.clone(),
            hash: host.token.hash(),
            hint: host.token.hint(),
            now,
            old_tokens_until: now + OLD_TOKEN_GRACE_MS,
        },
    )
    .await
    .map_err(|error| match error {
        EnrolError::Undecided => ApiError::unavailable(error.to_string()),
        EnrolError::Store(error) => error.into(),
    })?;
    let Enrolled { node: enrolled, twin_of } = enrolled;
    let listed = NodeEntry {
        key: enrolled.key,
        id: enrolled.id,
        environment: environment.key,
        name: name.clone(),
        reported_name: name.clone(),
        agent_version: Some(agent_version),
        labels,
        maintenance_until: None,
        is_removed: false,
    };
    app.directory.put_new(listed, LiveNode { reason: ENROLLED.into(), ..LiveNode::default() });
    app.auth.learn(enrolled.old_tokens.iter().cloned().chain([enrolled.token.clone()]));
    let address = http.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
    let notice = twin_of.map(|twin| {
        tracing::warn!(
            node = %enrolled.id, %name, address, twin = %twin.id, twin_name = %twin.name,
            "a host with the machine id of a node that is alive has enrolled; it is a new node"
        );
        format!(
            "another host with the same machine id is alive as node {} ({}); this host is a new node. Copies of an image \
             should each have a machine id of their own",
            twin.name, twin.id
        )
    });
    tracing::info!(node = %enrolled.id, %name, address, environment = %environment.name, "node enrolled");
    Ok((enrolled, notice))
}

/// Takes nothing that the database has no room for.
pub(super) fn refuse_when_full(app: &App) -> Result<(), ApiError> {
    if app.disk.is_full() { Err(ApiError::disk_full()) } else { Ok(()) }
}

/// Hand in reports of one boot, oldest first
///
/// Answered once everything up to `durableSeq` is committed; a report that comes again is not counted
/// again. Items are validated one by one, and refused items are listed. Unknown fields are ignored.
#[utoipa::path(
    post,
    path = "/api/v1/agent/reports",
    tag = "agents",
    security(("bearer" = [])),
    params(("Content-Encoding" = Option<String>, Header, description = "zstd or gzip; plain without it")),
    request_body = ReportRequest,
    responses((status = 200, description = "Read and committed", body = ReportAck), PostReports),
)]
pub(crate) async fn submit_reports(
    app: Data<App>,
    node: Node,
    request: HttpRequest,
    payload: Payload,
) -> Result<Json<ReportAck>, ApiError> {
    let result = try_submit(&app, node, &request, payload).await;
    result.inspect_err(|error| report_body::count_rejected(&app, error)).map(Json)
}

async fn try_submit(
    app: &App,
    Node(node): Node,
    request: &HttpRequest,
    payload: Payload,
) -> Result<ReportAck, ApiError> {
    // Before the body: what is slow on its way up must not look like an agent's wrong clock.
    let received_at = clock::now_ms();
    // The room is held until the reports are committed.
    let (decoded, _room) = report_body::read(app, node, request, payload, native::decode).await?;
    let last_seq = decoded.reports.last().map(|report| report.seq);
    let committed = app
        .committer
        .submit(Submission {
            node,
            received_at,
            address: request.peer_addr().map(|peer| peer.ip()),
            content: Content::Growth { boot: decoded.boot, sent_at: decoded.sent_at, reports: decoded.reports },
            refusals: decoded.refusals,
        })
        .await?;
    Ok(ReportAck {
        received_seq: last_seq.unwrap_or(0).max(committed.durable_seq),
        durable_seq: committed.durable_seq,
        refused_count: committed.refusals.count,
        refused: committed.refusals.listed,
        interval_ms: app.config.interval.as_millis() as u64,
        now: clock::now_ms(),
        missing: committed.missing,
        desired_generation: app.delivery.generation(node),
        actions: app.actions.take_waiting(node),
    })
}

impl report_body::Decoded for native::Decoded {
    fn bytes(&self) -> usize {
        native::Decoded::bytes(self)
    }

    fn refused_count(&self) -> u64 {
        self.refusals.count
    }
}
