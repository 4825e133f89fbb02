//! The routes of Go agents: VectorFlow's agent protocol under `/api/agent/`. `shared::vectorflow` has its types,
//! `docs/vectorflow.md` what is different here.
//!
//! A handler takes [`Agent`] and returns [`Answer`]: errors then have that system's form, `{error, details?}`.
//! The routes are VectorFlow's, so they are not in our OpenAPI document.

mod answers;
mod config;
mod enroll;
mod heartbeat;
mod logs;
mod push;
mod replay;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::web::Json;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use systole_shared::vectorflow::Accepted;
use systole_shared::vectorflow::token::{DEFAULT_SLUG, slug_of};
use systole_shared::{RefusalCode, Refused, Token};

pub(in crate::http) use self::answers::{submit_samples, submit_tap_events};
pub(in crate::http) use self::config::get_config;
pub(in crate::http) use self::enroll::enroll;
pub(in crate::http) use self::heartbeat::submit_heartbeat;
pub(in crate::http) use self::logs::submit_logs;
pub(in crate::http) use self::push::stream_push;
pub(in crate::http) use self::replay::replay;
use crate::auth::Identity;
use crate::http::error::{ApiError, VectorFlowError};
use crate::http::extract::{NodeIdentity, token};
use crate::model::NodeKey;
use crate::model::report::Refusals;

/// The paths of these routes, for the comparison with the document.
#[cfg(test)]
pub(in crate::http) const PATHS: &str = "/api/agent/";

/// What a handler returns.
pub(in crate::http) type Answer<T> = Result<Json<T>, VectorFlowError>;

/// The answer to a body whose items are judged one by one: `{ok: true}`, and what was refused, if anything. The Go agent
/// reads only the status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Taken {
    #[serde(flatten)]
    accepted: Accepted,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_count: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedItem>,
}

/// An item that was left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusedItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component_id: Option<String>,
    code: RefusalCode,
    detail: String,
}

impl From<Refusals> for Taken {
    fn from(refusals: Refusals) -> Self {
        let item = |refused: Refused| RefusedItem {
            pipeline_id: refused.pipeline_id,
            component_id: refused.component_id,
            code: refused.code,
            detail: refused.detail,
        };
        Taken {
            accepted: Accepted::OK,
            refused_count: Some(refusals.count).filter(|count| *count > 0),
            refused: refusals.listed.into_iter().map(item).collect(),
        }
    }
}

/// The organisation that an ingress in front of several ones has found by the name of the host.
const ORGANISATION: &str = "X-VF-Org-Slug";

/// A request of a node's agent.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Agent {
    pub node: NodeKey,
    pub identity: Identity,
}

impl FromRequest for Agent {
    type Error = VectorFlowError;
    type Future = LocalBoxFuture<'static, Result<Self, VectorFlowError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let organisation = token(request).map_or(Ok(()), |token| check_organisation(request.headers(), &token));
        let identity = NodeIdentity::from_request(request, payload);
        Box::pin(async move {
            let NodeIdentity { node, identity } = identity.await?;
            organisation?;
            Ok(Agent { node, identity })
        })
    }
}

/// A request that an ingress has sorted to an organisation must have a token of it. A token without a slug is of the
/// default one.
fn check_organisation(headers: &HeaderMap, token: &Token) -> Result<(), ApiError> {
    let Some(asked) = headers.get(ORGANISATION) else { return Ok(()) };
    if asked.as_bytes() == slug_of(token).unwrap_or(DEFAULT_SLUG).as_bytes() {
        return Ok(());
    }
    Err(ApiError::unauthorized(format!("{ORGANISATION} names another organisation than this token")))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use systole_shared::vectorflow::token::node_token;

    use super::*;

    #[test]
    fn organisation_of_the_ingress_must_be_that_of_the_token() {
        let headers = |slug: &'static str| {
            let name = HeaderName::from_bytes(ORGANISATION.as_bytes()).unwrap();
            HeaderMap::from_iter([(name, HeaderValue::from_static(slug))])
        };
        let token = node_token("acme", &[1; 8], &[2; 32]);
        assert!(check_organisation(&HeaderMap::new(), &token).is_ok());
        assert!(check_organisation(&headers("acme"), &token).is_ok());
        assert_eq!(check_organisation(&headers("other"), &token).unwrap_err().status().as_u16(), 401);
        let without_slug = Token::new("vf_enroll_00");
        assert!(check_organisation(&headers(DEFAULT_SLUG), &without_slug).is_ok());
        assert!(check_organisation(&headers("acme"), &without_slug).is_err());
    }
}
