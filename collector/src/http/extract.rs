//! Extracts the sender and the size-limited body of a request.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt};
use systole_shared::{Token, TokenKind};

use crate::app::App;
use crate::auth::rate_limit::ClientAddress;
use crate::auth::{Identity, Role, Scope};
use crate::clock;
use crate::http::body_budget::{Charge, Sender};
use crate::http::error::ApiError;
use crate::http::forward::is_from_peer;
use crate::http::same_site;
use crate::model::NodeKey;
use crate::query::share::QueryPermit;

/// The cookie of a browser's session.
pub(crate) const SESSION_COOKIE: &str = "systole_session";

/// Bytes of a too large body that are read and dropped, so that the client can read the reason.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Time in which a body without a place in the budget is still read and dropped, so that the client can
/// read the reason.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for a whole body: a client that sends a byte now and then must not hold its memory for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body as it comes in.
pub(crate) trait BodyStream: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<T: Stream<Item = Result<Bytes, PayloadError>> + Unpin> BodyStream for T {}

/// The token of a request: the Authorization header, else the session cookie.
pub(crate) fn token(request: &HttpRequest) -> Option<Token> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Token::new(token));
    }
    request.cookie(SESSION_COOKIE).map(|cookie| Token::new(cookie.value()))
}

/// A 401, with a line in the log.
pub(crate) fn refuse(app: &App, request: &HttpRequest, refusal: ApiError) -> ApiError {
    app.auth.refused_log.note(request.peer_addr().map(|peer| peer.ip()), request.path());
    refusal
}

/// Where the connection comes from. Headers of proxies do not count: anybody can write them.
pub(crate) fn client_address(request: &HttpRequest) -> ClientAddress {
    request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip()).into()
}

type Extracted<T> = LocalBoxFuture<'static, Result<T, ApiError>>;

/// Identifies the sender and lets `check` decide whether that is enough.
fn identify<T: 'static>(
    request: &HttpRequest,
    check: impl FnOnce(Identity) -> Result<T, ApiError> + 'static,
) -> Extracted<T> {
    let app = request.app_data::<Data<App>>().expect("every route is configured with the app").clone();
    let token = token(request);
    let address = client_address(request);
    let request = request.clone();
    Box::pin(async move {
        let token = token.ok_or_else(|| {
            refuse(&app, &request, ApiError::unauthorized("a token is required: Authorization: Bearer <token>"))
        })?;
        let identity = app.auth.identify(&*app.store, &token, address, clock::now_ms()).await?;
        check(identity.ok_or_else(|| refuse(&app, &request, ApiError::unknown_token()))?)
    })
}

/// A request of a viewer, an admin or a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAccess(pub Identity);

impl FromRequest for ReadAccess {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request, |identity| {
            if identity.is_reader() {
                Ok(ReadAccess(identity))
            } else {
                Err(ApiError::forbidden(format!("a token of kind {} cannot read", identity.kind)))
            }
        })
    }
}

/// The same for database queries: the request waits for its turn among the token's queries, and keeps it
/// until this is dropped.
#[derive(Debug)]
pub(crate) struct QueryAccess(pub Identity, #[expect(dead_code, reason = "its drop ends the turn")] QueryPermit);

impl FromRequest for QueryAccess {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let app = request.app_data::<Data<App>>().expect("every route is configured with the app").clone();
        let reader = ReadAccess::from_request(request, payload);
        Box::pin(async move {
            let ReadAccess(identity) = reader.await?;
            let permit = app.query_shares.enter(identity.root).await?;
            Ok(QueryAccess(identity, permit))
        })
    }
}

/// A request of an operator or admin, for what acts on the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperatorAccess(pub Identity);

impl FromRequest for OperatorAccess {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        identify(&request.clone(), move |identity| require(identity, Role::Operator, &request).map(OperatorAccess))
    }
}

/// A request of an admin, for what decides what runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminAccess(pub Identity);

impl FromRequest for AdminAccess {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        identify(&request.clone(), move |identity| require(identity, Role::Admin, &request).map(AdminAccess))
    }
}

/// Checks the role. A request that changes something must not come from a page of another site with the cookie of
/// this one.
fn require(identity: Identity, least: Role, request: &HttpRequest) -> Result<Identity, ApiError> {
    if identity.role < Some(least) {
        let needed = match least {
            Role::Viewer => "a viewer, operator or admin token",
            Role::Operator => "an operator or admin token",
            Role::Admin => "an admin token",
        };
        return Err(ApiError::forbidden(format!("{needed} is required; this one is of kind {}", identity.kind)));
    }
    let app = request.app_data::<Data<App>>().expect("every route is configured with the app");
    // The collector that hands it on has checked it.
    if identity.kind == TokenKind::Session && !request.method().is_safe() && !is_from_peer(app, request) {
        same_site::check_origin(request)?;
    }
    Ok(identity)
}

/// A request for the collector's own metrics, which are of all environments: a token that scrapes, or one that reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsAccess;

impl FromRequest for MetricsAccess {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request, |identity| {
            let Identity { kind, scope, .. } = identity;
            if kind != TokenKind::Scrape && !identity.is_reader() {
                return Err(ApiError::forbidden(format!(
                    "a scrape, viewer, operator or admin token is required; this one is of kind {kind}"
                )));
            }
            match scope {
                Scope::All => Ok(MetricsAccess),
                Scope::One(_) => Err(ApiError::forbidden("a token for all environments is required")),
            }
        })
    }
}

/// A request of a node's agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node(pub NodeKey);

impl FromRequest for Node {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request, |identity| match (identity.kind, identity.node) {
            (TokenKind::Node, Some(node)) => Ok(Node(node)),
            (kind, _) => Err(ApiError::forbidden(format!("a token of kind {kind} cannot send reports; enrol first"))),
        })
    }
}

/// The same with its identity, for what lasts longer than a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeIdentity {
    pub node: NodeKey,
    pub identity: Identity,
}

impl FromRequest for NodeIdentity {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request, |identity| match (identity.kind, identity.node) {
            (TokenKind::Node, Some(node)) => Ok(NodeIdentity { node, identity }),
            (kind, _) => Err(ApiError::forbidden(format!("a node's token is required; this one is of kind {kind}"))),
        })
    }
}

/// A body as it was sent.
#[derive(Debug)]
pub(crate) struct Body {
    pub bytes: Bytes,
    /// Its part of the budget of bodies, freed when this is dropped.
    _charge: Charge,
}

/// The body as it was sent, at most `cap` bytes. What has come of it counts in the budget of bodies.
///
/// # Errors
///
/// When the body is too large, too slow or cut off, or when there is no room for it.
pub(crate) async fn read_body(
    app: &App,
    sender: Sender,
    request: &HttpRequest,
    payload: impl BodyStream,
    cap: usize,
) -> Result<Body, ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let charge = app.body_budget.charge(sender);
    read_charged(payload, cap, length, charge).await
}

async fn read_charged(
    payload: impl BodyStream,
    cap: usize,
    length: Option<usize>,
    charge: Charge,
) -> Result<Body, ApiError> {
    let late = |_| ApiError::timed_out(format!("the body was not received within {} s", BODY_TIMEOUT.as_secs()));
    tokio::time::timeout(BODY_TIMEOUT, collect_body(payload, cap, length, charge)).await.map_err(late)?
}

async fn collect_body(
    mut payload: impl BodyStream,
    cap: usize,
    length: Option<usize>,
    mut charge: Charge,
) -> Result<Body, ApiError> {
    // Most bodies come in one piece, which is taken as it is.
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    let mut total = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body could not be read: {error}")))?;
        total += chunk.len();
        if total == chunk.len() {
            first = chunk;
            if length == Some(total) {
                // It is whole: nothing of it waits for its sender.
                continue;
            }
        } else if total <= cap {
            if body.is_empty() {
                body.extend_from_slice(&first);
                first = Bytes::new();
            }
            body.extend_from_slice(&chunk);
        } else {
            // Too large: nothing of it is kept.
            (first, body) = (Bytes::new(), BytesMut::new());
            if total > MAX_DRAINED_BYTES {
                break;
            }
        }
        if let Err(error) = charge.grow_to(first.len().max(body.capacity())) {
            drop((first, body, charge));
            drain(payload).await;
            return Err(error.into());
        }
    }
    if total > cap {
        return Err(ApiError::too_large(format!("the body is larger than {cap} bytes; split it")));
    }
    let bytes = if body.is_empty() { first } else { body.freeze() };
    Ok(Body { bytes, _charge: charge })
}

/// Reads and drops a body for a short time.
async fn drain(mut payload: impl BodyStream) {
    let all = async { while let Some(Ok(_)) = payload.next().await {} };
    // A client that has not sent all of it by then cannot read the answer.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, all).await;
}

/// A small JSON body of a sender without a token in its head.
///
/// # Errors
///
/// As [`read_body`], and when the body is not the JSON that is asked for.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(
    app: &App,
    request: &HttpRequest,
    payload: impl BodyStream,
) -> Result<T, ApiError> {
    /// Bodies of people and of enrolments; labels are the largest part.
    const MAX_JSON_BYTES: usize = 64 * 1024;

    parse_json(&read_small_body(app, request, payload, MAX_JSON_BYTES).await?.bytes)
}

/// A body of a person, at most `cap` bytes.
///
/// # Errors
///
/// As [`read_body`].
pub(crate) async fn read_small_body(
    app: &App,
    request: &HttpRequest,
    payload: impl BodyStream,
    cap: usize,
) -> Result<Body, ApiError> {
    let sender = Sender::Address(request.peer_addr().map(|address| address.ip()));
    read_body(app, sender, request, payload, cap).await
}

/// JSON of a body.
///
/// # Errors
///
/// A 400 problem that names the field.
pub(crate) fn parse_json<'de, T: serde::Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    deserializer.end().map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;

    use super::*;
    use crate::http::body_budget::BodyBudget;

    fn charge(total: usize, share: usize) -> Charge {
        Arc::new(BodyBudget::new(total, share)).charge(Sender::Address(None))
    }

    #[test]
    fn trailing_bytes_after_json_are_refused() {
        assert_eq!(parse_json::<Vec<u8>>(b"[1] ").unwrap(), [1]);
        assert_eq!(parse_json::<Vec<u8>>(b"[1]x").unwrap_err().status().as_u16(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_body_is_refused() {
        let begun = stream::iter([Ok(Bytes::from_static(b"{"))]).chain(stream::pending());
        let refused = read_charged(begun, 10, None, charge(100, 100)).await.unwrap_err();
        assert_eq!(refused.status(), actix_web::http::StatusCode::REQUEST_TIMEOUT);
        let whole = stream::iter([Ok(Bytes::from_static(b"{")), Ok(Bytes::from_static(b"}"))]);
        assert_eq!(read_charged(whole, 10, None, charge(100, 100)).await.unwrap().bytes, "{}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unfinished_body_is_charged_from_its_first_byte() {
        let begun = || stream::iter([Ok(Bytes::from_static(b"12345678"))]).chain(stream::pending());
        let refused = read_charged(begun(), 10, Some(9), charge(100, 7)).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 503);
        let whole = stream::iter([Ok(Bytes::from_static(b"12345678"))]);
        let body = read_charged(whole, 10, Some(8), charge(100, 7)).await.unwrap();
        assert_eq!(body.bytes, "12345678", "a whole one is not");
    }
}
