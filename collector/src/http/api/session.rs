//! A browser's session: the token goes in once and comes back as a cookie that scripts cannot read.

use std::time::Duration;

use actix_web::cookie::time;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use systole_shared::{Token, TokenKind, UnixMillis};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{self, Role, Scope};
use crate::clock;
use crate::http::error::ApiError;
use crate::http::extract::{ReadAccess, SESSION_COOKIE, client_address, read_json, refuse};
use crate::http::openapi::problems::{Owned, Post};
use crate::http::same_site::FromThisSite;
use crate::store::{NewToken, TokenLabel};

/// Lifetime of a session.
const SESSION: Duration = Duration::from_secs(12 * 3_600);

/// Open sessions of one token: each is a row and a place in memory for 12 hours.
const MAX_SESSIONS_PER_TOKEN: usize = 2_000;

/// Retry time for a token with too many sessions: they end one by one.
const SESSIONS_RETRY: Duration = Duration::from_secs(60);

/// Opens a session.
#[derive(Deserialize, ToSchema)]
struct CreateSession {
    /// A viewer's or admin's token.
    token: Token,
}

/// What a session or a token may do.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// `viewer`, `operator` or `admin`; of a session, the kind of the token that opened it.
    role: &'static str,
    /// The only environment that it sees. Null when it sees all of them.
    environment_name: Option<String>,
    /// When it ends. Null when it does not.
    expires_at: Option<UnixMillis>,
}

/// What the session or token of this request may do
#[utoipa::path(
    get,
    path = "/api/v1/session",
    tag = "session",
    responses((status = 200, description = "The session", body = Session), Owned),
)]
pub(crate) async fn get_session(app: Data<App>, reader: ReadAccess) -> Result<HttpResponse, ApiError> {
    let ReadAccess(identity) = reader;
    let role = match identity.role {
        Some(Role::Admin) => "admin",
        Some(Role::Operator) => "operator",
        Some(Role::Viewer) | None => "viewer",
    };
    let environment_name = match identity.scope {
        Scope::All => None,
        Scope::One(key) => app.auth.environment_by_key(key).map(|environment| environment.name),
    };
    let session = Session { role, environment_name, expires_at: identity.expires_at };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(session))
}

/// Give a browser a cookie for a viewer's or admin's token
///
/// The cookie is HttpOnly and SameSite=Strict, and ends after 12 hours or with the token.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    tag = "session",
    security(()),
    request_body = CreateSession,
    responses((status = 204, description = "The cookie is set", headers(("Set-Cookie" = String))), Post),
)]
pub(crate) async fn create_session(
    app: Data<App>,
    _: FromThisSite,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let CreateSession { token } = read_json(&app, &request, payload).await?;
    let now = clock::now_ms();
    let address = client_address(&request);
    let identity = app
        .auth
        .identify(&*app.store, &token, address, now)
        .await?
        .ok_or_else(|| refuse(&app, &request, ApiError::unknown_token()))?;
    if identity.role.is_none() || identity.kind == TokenKind::Session {
        return Err(ApiError::forbidden(format!("a token of kind {} cannot open a session", identity.kind)));
    }
    app.auth.limits.sessions.take(identity.token, address, Instant::now())?;
    if app.auth.count_sessions(identity.token, now) >= MAX_SESSIONS_PER_TOKEN {
        return Err(ApiError::too_many("this token has too many open sessions", SESSIONS_RETRY));
    }
    let ends = now + i64::try_from(SESSION.as_millis()).unwrap_or(i64::MAX);
    let secret = auth::new_token(TokenKind::Session);
    let stored = app
        .store
        .create_token(NewToken {
            kind: TokenKind::Session,
            environment: match identity.scope {
                Scope::All => None,
                Scope::One(environment) => Some(environment),
            },
            parent: Some(identity.token),
            label: TokenLabel::default(),
            hash: secret.hash(),
            hint: secret.hint(),
            created_at: now,
            expires_at: Some(identity.expires_at.map_or(ends, |end| end.min(ends))),
        })
        .await?;
    app.auth.learn([stored]);
    let max_age = time::Duration::seconds(i64::try_from(SESSION.as_secs()).unwrap_or(i64::MAX));
    let cookie = cookie(&app, &request, secret.reveal()).max_age(max_age).finish();
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// End a session and take its cookie away
///
/// A token that came in the Authorization header stays valid.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    tag = "session",
    responses((status = 204, description = "There is no session any more", headers(("Set-Cookie" = String))), Owned),
)]
pub(crate) async fn end_session(
    app: Data<App>,
    request: HttpRequest,
    reader: ReadAccess,
) -> Result<HttpResponse, ApiError> {
    if reader.0.kind == TokenKind::Session {
        app.store.revoke_token(reader.0.token, clock::now_ms()).await?;
        app.auth.refresh(&*app.store).await?;
    }
    let mut cookie = cookie(&app, &request, "").finish();
    cookie.make_removal();
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

fn cookie<'a>(app: &App, request: &HttpRequest, value: &'a str) -> actix_web::cookie::CookieBuilder<'a> {
    // Behind a proxy that ends TLS the scheme is what the proxy says.
    let is_secure = app.config.tls.is_some() || request.connection_info().scheme() == "https";
    Cookie::build(SESSION_COOKIE, value).path("/").http_only(true).same_site(SameSite::Strict).secure(is_secure)
}
