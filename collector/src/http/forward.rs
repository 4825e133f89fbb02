//! Hands a request to another collector of the cluster, and its answer back.
//!
//! Some requests need the collector that leads, or the one that hears a node. A client does not have to know which
//! that is. The other collector checks the client's token itself.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderName, RETRY_AFTER,
};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::TryStreamExt;
use reqwest::RequestBuilder;
use systole_shared::Token;

use crate::app::App;
use crate::cluster::members::MemberView;
use crate::cluster::peers::PEER_HEADER;
use crate::cluster::{Role, members};
use crate::http::error::ApiError;
use crate::model::NodeKey;
use crate::telemetry::logging::chain;

/// Headers of a request that the other collector needs.
const REQUEST_HEADERS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, ACCEPT, CONTENT_TYPE];

/// Headers of its answer.
const ANSWER_HEADERS: [HeaderName; 4] = [CONTENT_TYPE, CACHE_CONTROL, CONTENT_ENCODING, RETRY_AFTER];

/// Whether another collector of this database sends it. Headers of other senders mean nothing.
pub(crate) fn is_from_peer(app: &App, request: &HttpRequest) -> bool {
    let sent = request.headers().get(PEER_HEADER).and_then(|value| value.to_str().ok());
    match (sent, app.cluster.secret.as_deref()) {
        (Some(sent), Some(own)) => Token::new(own).hash().matches(&Token::new(sent).hash()),
        _ => false,
    }
}

/// The answer of the collector that leads; `None` when this one does.
///
/// # Errors
///
/// When no collector leads, or the leader does not answer.
pub(crate) async fn to_leader(
    app: &App,
    request: &HttpRequest,
    body: Option<Vec<u8>>,
) -> Result<Option<HttpResponse>, ApiError> {
    let Some(store) = app.cluster_store.as_ref().filter(|_| app.cluster.role() != Role::Leader) else {
        return Ok(None);
    };
    if is_from_peer(app, request) {
        return Err(ApiError::no_leader());
    }
    let members = members::list(&**store).await?;
    let leader = members.into_iter().filter(|member| member.leads()).max_by_key(|member| member.state.term);
    let leader = leader.filter(|leader| leader.id != app.cluster.id).ok_or_else(ApiError::no_leader)?;
    forward(app, request, &leader, body).await.map(Some)
}

/// Lets the collector that leads answer a request of any method, its body included.
pub(crate) async fn by_leader(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let app = request.app_data::<Data<App>>().expect("every route is configured with the app").clone();
    if app.cluster_store.is_some() && app.cluster.role() != Role::Leader {
        // Short bodies of JSON: the extractor has a bound.
        let body = request.extract::<Bytes>().await?.to_vec();
        if let Some(answer) = to_leader(&app, request.request(), Some(body)).await? {
            return Ok(request.into_response(answer));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The answer of the collector that hears a node; `None` when this one does, or none.
///
/// # Errors
///
/// When the other collector does not answer.
pub(crate) async fn to_hearing(
    app: &App,
    request: &HttpRequest,
    node: NodeKey,
    body: Option<Vec<u8>>,
) -> Result<Option<HttpResponse>, ApiError> {
    if is_from_peer(app, request) {
        return Ok(None);
    }
    let has_push = app.delivery.push.has_stream(node);
    match app.cluster.hearing(app.cluster_store.as_ref(), node, has_push).await? {
        Some(member) => forward(app, request, &member, body).await.map(Some),
        None => Ok(None),
    }
}

/// The same request to another collector, to be sent; `None` when it cannot be made.
pub(crate) fn to_member(app: &App, request: &HttpRequest, member: &MemberView) -> Option<RequestBuilder> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut forwarded = app.cluster.request_to(member, request.method().as_str().parse().ok()?, target).ok()?;
    for name in REQUEST_HEADERS {
        if let Some(value) = request.headers().get(&name) {
            forwarded = forwarded.header(name.as_str(), value.as_bytes());
        }
    }
    Some(forwarded)
}

async fn forward(
    app: &App,
    request: &HttpRequest,
    member: &MemberView,
    body: Option<Vec<u8>>,
) -> Result<HttpResponse, ApiError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        tracing::warn!(url = member.url, error = %chain(error), "another collector does not answer");
        ApiError::unavailable("the collector that has to do this does not answer; try again")
    };
    let mut forwarded = to_member(app, request, member).ok_or_else(ApiError::no_leader)?;
    if let Some(body) = body {
        forwarded = forwarded.body(body);
    }
    let answer = forwarded.send().await.map_err(|error| failed(&error))?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for name in ANSWER_HEADERS {
        if let Some(value) = answer.headers().get(name.as_str()) {
            response.insert_header((name, value.as_bytes()));
        }
    }
    let body = answer.bytes_stream().map_err(std::io::Error::other);
    Ok(response.streaming(body))
}
