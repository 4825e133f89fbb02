//! Who sent a request, and its body within a bound.

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
use crate::auth::{Identity, Scope};
use crate::clock;
use crate::http::error::ApiError;
use crate::model::NodeKey;
use crate::query::share::QueryPermit;

/// The cookie of a browser's session.
pub(crate) const SESSION_COOKIE: &str = "systole_session";

/// What is read and thrown away of a body that is too large, so that the client can read why.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Time for a whole body: a client that sends a byte now and then must not hold its memory for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body as it comes in.
pub(crate) trait BodyStream: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<T: Stream<Item = Result<Bytes, PayloadError>> + Unpin> BodyStream for T {}

/// The token of a request: the Authorization header, else the session cookie.
fn token(request: &HttpRequest) -> Option<Token> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Token::new(token));
    }
    request.cookie(SESSION_COOKIE).map(|cookie| Token::new(cookie.value()))
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
    Box::pin(async move {
        let token = token.ok_or_else(|| ApiError::unauthorized("this needs a token: Authorization: Bearer <token>"))?;
        let identity = app.auth.identify(&*app.store, &token, address, clock::now_ms()).await?;
        check(identity.ok_or_else(ApiError::unknown_token)?)
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
                Err(ApiError::forbidden(format!("a token of kind {} can not read", identity.kind)))
            }
        })
    }
}

/// The same for what the database is asked: it waits for its turn among the token's queries, and has it for
/// as long as this is held.
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

/// A request of somebody who may see every environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator;

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request, |identity| match identity.scope {
            Scope::All if identity.is_reader() => Ok(Operator),
            _ => Err(ApiError::forbidden("this needs a viewer or admin token of every environment")),
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
            (kind, _) => Err(ApiError::forbidden(format!("a token of kind {kind} can not report; enrol first"))),
        })
    }
}

/// The body as it was sent, at most `cap` bytes.
pub(crate) async fn read_body(payload: impl BodyStream, cap: usize) -> Result<Bytes, ApiError> {
    let late = |_| ApiError::timed_out(format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()));
    tokio::time::timeout(BODY_TIMEOUT, collect_body(payload, cap)).await.map_err(late)?
}

async fn collect_body(mut payload: impl BodyStream, cap: usize) -> Result<Bytes, ApiError> {
    // Most bodies come in one piece, which is taken as it is.
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    let mut total = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body could not be read: {error}")))?;
        total += chunk.len();
        if total == chunk.len() {
            first = chunk;
        } else if total <= cap {
            if body.is_empty() {
                body.extend_from_slice(&first);
            }
            body.extend_from_slice(&chunk);
        } else if total > MAX_DRAINED_BYTES {
            break;
        }
    }
    if total > cap {
        return Err(ApiError::too_large(format!("the body is larger than {cap} bytes; split it")));
    }
    Ok(if body.is_empty() { first } else { body.freeze() })
}

/// A small JSON body.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(payload: impl BodyStream) -> Result<T, ApiError> {
    /// Bodies of people and of enrolments; labels are the largest part.
    const MAX_JSON_BYTES: usize = 64 * 1024;

    let body = read_body(payload, MAX_JSON_BYTES).await?;
    let mut deserializer = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    deserializer.end().map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn something_behind_the_json_is_refused() {
        let body = |text: &'static str| stream::iter([Ok(Bytes::from_static(text.as_bytes()))]);
        assert_eq!(read_json::<Vec<u8>>(body("[1] ")).await.unwrap(), [1]);
        assert_eq!(read_json::<Vec<u8>>(body("[1]x")).await.unwrap_err().status().as_u16(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let begun = stream::iter([Ok(Bytes::from_static(b"{"))]).chain(stream::pending());
        let refused = read_body(begun, 10).await.unwrap_err();
        assert_eq!(refused.status(), actix_web::http::StatusCode::REQUEST_TIMEOUT);
        let whole = stream::iter([Ok(Bytes::from_static(b"{")), Ok(Bytes::from_static(b"}"))]);
        assert_eq!(read_body(whole, 10).await.unwrap(), "{}");
    }
}
