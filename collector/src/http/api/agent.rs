//! The routes of agents: enrolment and reports.
//!
//! Clock skew is measured when the head of a request arrives, not its body, so that a slow upload is
//! not a wrong clock.

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Data, Json, Payload};
use systole_shared::enroll::PROTOCOL;
use systole_shared::limits::{
    MAX_BODY_BYTES, MAX_COMPONENTS_PER_REPORT, MAX_LABELS, MAX_LABELS_BYTES, MAX_SHORT_TEXT_BYTES, cut,
};
use systole_shared::{EnrollRequest, EnrollResponse, ReportAck, ReportRequest, TokenKind};
use tokio::time::Instant;

use crate::app::App;
use crate::auth;
use crate::clock;
use crate::http::body_budget::{BudgetError, Charge, Sender};
use crate::http::error::ApiError;
use crate::http::extract::{Body, Node, client_address, read_body, read_json, refuse};
use crate::http::openapi::problems::{Post, PostReports};
use crate::ingest::decompress;
use crate::ingest::enrolment::{self, EnrolError, Enrolled};
use crate::ingest::long_work::Verdict;
use crate::ingest::protocol::native::{self, Decoded};
use crate::model::report::Submission;
use crate::store::NewEnrolment;
use crate::telemetry::ReasonLabel;

/// Time for which a node's older token stays valid after a new enrolment: a request that is under
/// way with it still arrives.
const OLD_TOKEN_GRACE_MS: i64 = 3_600_000;

/// A long body of which more items were refused is a waste of work: as many as a report may have components.
const MAX_REFUSED_OF_USEFUL: u64 = MAX_COMPONENTS_PER_REPORT as u64;

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
    refuse_when_full(&app)?;
    let now = clock::now_ms();
    let refused = || refuse(&app, &http, ApiError::unknown_token());
    let address = client_address(&http);
    let identity = app.auth.identify(&*app.store, &request.token, address, now).await?.ok_or_else(refused)?;
    let (TokenKind::Enroll, auth::Scope::One(environment)) = (identity.kind, identity.scope) else {
        return Err(ApiError::forbidden(format!("a token of kind {} cannot enrol nodes", identity.kind)));
    };
    app.auth.limits.enrolments.take(identity.token, address, Instant::now())?;
    let environment = app.auth.environment_by_key(environment).ok_or_else(refused)?;
    // Names appear in log lines and tables.
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
    let enrolled = enrolment::enroll(
        &*app.store,
        &app.fleet,
        NewEnrolment {
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
        },
    )
    .await
    .map_err(|error| match error {
        EnrolError::Undecided => ApiError::unavailable(error.to_string()),
        EnrolError::Store(error) => error.into(),
    })?;
    let Enrolled { node: enrolled, twin_of } = enrolled;
    app.auth.learn(enrolled.old_tokens.into_iter().chain([enrolled.token]));
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
    Ok(Json(EnrollResponse {
        node_id: enrolled.id,
        node_token: token,
        environment_id: environment.id,
        environment_name: environment.name,
        protocol: PROTOCOL,
        notice,
    }))
}

/// Takes nothing that the database has no room for.
fn refuse_when_full(app: &App) -> Result<(), ApiError> {
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
    let sender = Sender::Node(node);
    let body = read_body(app, sender, request, payload, MAX_BODY_BYTES).await?;
    app.telemetry.body_bytes.inc_by(body.bytes.len() as u64);
    // After the body: a client that still sends cannot read an answer.
    refuse_when_full(app).inspect_err(|_| app.fleet.excuse(node, Instant::now()))?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let room = &app.report_room;
    let short = decompress::open_short(&body.bytes, encoding, |opened| read_in_room(room.charge(sender), opened))?;
    // The room is held until the reports are committed.
    let (_room, decoded) = match short {
        Some(read) => {
            drop(body);
            read?
        }
        None => {
            let (encoding, charge) = (encoding.map(str::to_owned), room.charge(sender));
            app.telemetry.long_bodies.inc();
            let share = room.share();
            app.long_work.run(node, move || read_long(charge, share, &body, encoding.as_deref())).await??
        }
    };
    let last_seq = decoded.reports.last().map(|report| report.seq);
    let committed = app
        .committer
        .submit(Submission {
            node,
            boot: decoded.boot,
            sent_at: decoded.sent_at,
            received_at,
            address: request.peer_addr().map(|peer| peer.ip()),
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
        desired_generation: app.delivery.generation(node),
        actions: app.actions.take_waiting(node),
    })
}

type Read = Result<(Charge, Decoded), ApiError>;

fn no_room(_: BudgetError) -> ApiError {
    ApiError::unavailable("too many bytes of reports wait for the database")
}

/// Reads an opened body if there is room for it.
fn read_in_room(mut room: Charge, opened: &[u8]) -> Read {
    room.grow_to(opened.len()).map_err(no_room)?;
    Ok((room, native::decode(opened)?))
}

/// Opens and reads a long body, and judges whether that was worth it.
fn read_long(room: Charge, share: usize, body: &Body, encoding: Option<&str>) -> (Read, Verdict) {
    let opened = decompress::open(&body.bytes, encoding, |opened| {
        let (mut room, decoded) = read_in_room(room, opened)?;
        // Many small items take several times their text. One body alone always has room.
        room.grow_to(decoded.bytes().min(share)).map_err(no_room)?;
        Ok((room, decoded))
    });
    let read = opened.map_err(ApiError::from).and_then(|read| read);
    let verdict = match &read {
        Ok((_, decoded)) if decoded.refusals.count > MAX_REFUSED_OF_USEFUL => Verdict::Useless,
        // Not the sender's fault.
        Err(error) if error.status().as_u16() < 500 => Verdict::Useless,
        Ok(_) | Err(_) => Verdict::Useful,
    };
    (read, verdict)
}
