//! What agents call: enrolment and reports.
//!
//! Clock skew is measured when the head of a request arrives, not its body, so that a slow upload is
//! not a wrong clock.

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Data, Json, Payload};
use systole_shared::enroll::PROTOCOL;
use systole_shared::limits::{MAX_BODY_BYTES, MAX_LABELS, MAX_LABELS_BYTES, MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{EnrollRequest, EnrollResponse, ReportAck, ReportRequest, TokenKind};
use tokio::time::Instant;

use crate::app::App;
use crate::auth;
use crate::clock;
use crate::http::error::ApiError;
use crate::http::extract::{Node, client_address, read_body, read_json};
use crate::http::openapi::problems::{Post, PostReports};
use crate::ingest::decompress;
use crate::ingest::protocol::native;
use crate::model::report::Submission;
use crate::store::NewEnrolment;
use crate::telemetry::ReasonLabel;

/// How long a node's earlier token is good for after it has enrolled again: a request that is under
/// way with it still arrives.
const OLD_TOKEN_GRACE_MS: i64 = 3_600_000;

/// Make a host a node
///
/// The token of the request is one for enrolment. A host of a known `machineId` becomes the node that it was.
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
    let request: EnrollRequest = read_json(payload).await?;
    refuse_when_full(&app)?;
    let now = clock::now_ms();
    let refused = ApiError::unknown_token;
    let address = client_address(&http);
    let identity = app.auth.identify(&*app.store, &request.token, address, now).await?.ok_or_else(refused)?;
    let (TokenKind::Enroll, auth::Scope::One(environment)) = (identity.kind, identity.scope) else {
        return Err(ApiError::forbidden(format!("a token of kind {} can not enrol nodes", identity.kind)));
    };
    app.auth.limits.enrolments.take(identity.token, address, Instant::now())?;
    let environment = app.auth.environment_by_key(environment).ok_or_else(refused)?;
    // Names stand in log lines and tables.
    let clean = |text: &str| cut(text.trim(), MAX_SHORT_TEXT_BYTES).replace(char::is_control, "\u{FFFD}");
    let name = clean(&request.hostname);
    if name.is_empty() {
        return Err(ApiError::bad_parameter("hostname", "is empty"));
    }
    let token = auth::new_token(TokenKind::Node);
    // Each is kept for every node: as many as fit.
    let mut labels_bytes = 0;
    let labels = request.labels.iter().take(MAX_LABELS).map(|(key, value)| (clean(key), clean(value)));
    let labels = labels.take_while(|(key, value)| {
        labels_bytes += key.len() + value.len();
        labels_bytes <= MAX_LABELS_BYTES
    });
    let enrolled = app
        .store
        .enroll_node(NewEnrolment {
            environment: environment.key,
            name: name.clone(),
            machine_id: request.machine_id.as_deref().map(clean).filter(|id| !id.is_empty()),
            os: clean(&request.os),
            agent_version: clean(&request.agent_version),
            labels: labels.collect(),
            hash: token.hash(),
            hint: token.hint(),
            now,
            old_tokens_until: now + OLD_TOKEN_GRACE_MS,
        })
        .await?;
    app.auth.learn(enrolled.old_tokens.into_iter().chain([enrolled.token]));
    app.fleet.enrolled(enrolled.key, Instant::now());
    tracing::info!(node = %enrolled.id, %name, environment = %environment.name, "node enrolled");
    Ok(Json(EnrollResponse {
        node_id: enrolled.id,
        node_token: token,
        environment_id: environment.id,
        environment_name: environment.name,
        protocol: PROTOCOL,
    }))
}

/// Takes nothing that the database has no room for.
fn refuse_when_full(app: &App) -> Result<(), ApiError> {
    if app.disk.is_full() { Err(ApiError::disk_full()) } else { Ok(()) }
}

/// Hand in reports of one boot, oldest first
///
/// Answered once everything up to `durableSeq` is committed; a report that comes again is not counted again. Items are
/// judged one by one, and those that were left out are listed. Fields that are not known are passed over.
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
    if let Err(error) = &result {
        let reason = match error.status().as_u16() {
            408 => "too_slow",
            413 => "too_large",
            503 if app.disk.is_full() => "disk_full",
            503 => "unavailable",
            _ => "malformed",
        };
        app.telemetry.requests_rejected.get_or_create(&ReasonLabel { reason }).inc();
    }
    result.map(Json)
}

async fn try_submit(
    app: &App,
    Node(node): Node,
    request: &HttpRequest,
    payload: Payload,
) -> Result<ReportAck, ApiError> {
    // Before the body: what is slow on its way up must not look like an agent's wrong clock.
    let received_at = clock::now_ms();
    let raw = read_body(payload, MAX_BODY_BYTES).await?;
    app.telemetry.body_bytes.inc_by(raw.len() as u64);
    // After the body: who still sends can not read an answer.
    refuse_when_full(app).inspect_err(|_| app.fleet.excuse(node, Instant::now()))?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    // The room is held until the reports are committed.
    let (_room, decoded) = decompress::open(&raw, encoding, |opened| {
        let kib = u32::try_from(opened.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let room = app
            .report_room
            .try_acquire_many(kib)
            .map_err(|_| ApiError::unavailable("too many bytes of reports wait for the database"))?;
        Ok::<_, ApiError>((room, native::decode(opened)?))
    })??;
    let last_seq = decoded.reports.last().map(|report| report.seq);
    let committed = app
        .committer
        .submit(Submission {
            node,
            boot: decoded.boot,
            sent_at: decoded.sent_at,
            received_at,
            reports: decoded.reports,
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
    })
}
