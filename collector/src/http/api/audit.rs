//! The actions of administrators, operators and commands.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use systole_shared::UnixMillis;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::dto::Page;
use crate::http::error::ApiError;
use crate::http::extract::AdminAccess;
use crate::http::openapi::problems::Query;
use crate::http::params::{AuditFilter, Between, EventPagination, InEnvironment, InFormat, read};
use crate::http::render::{ListRequest, Row};
use crate::model::EnvironmentKey;
use crate::query::list;
use crate::store::{AuditQuery, AuditRow};

/// An action that was done or refused.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry {
    id: i64,
    at: UnixMillis,
    /// `null`: it concerns all environments.
    environment_name: Option<String>,
    /// The id of the token. `null`: a command on the collector's host, or the collector itself.
    token_id: Option<String>,
    /// The name of the token.
    actor: String,
    /// Such as `node.rename`.
    action: String,
    /// The name and id of what it was done to.
    subject: String,
    /// `ok`, or what came of it.
    result: String,
}

impl Row for AuditEntry {
    const COLUMNS: &'static [&'static str] =
        &["id", "at", "environmentName", "tokenId", "actor", "action", "subject", "result"];
}

impl AuditEntry {
    fn new(app: &App, row: AuditRow) -> Self {
        let environment = row.environment.and_then(|key| app.auth.environment_by_key(EnvironmentKey(key)));
        AuditEntry {
            id: row.id,
            at: row.at,
            environment_name: environment.map(|environment| environment.name),
            token_id: row.token,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            result: row.result,
        }
    }
}

/// What administrators, operators and commands did, newest first
///
/// A token of one environment sees the actions in it.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "administration",
    params(InEnvironment, AuditFilter, Between, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<AuditEntry>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_audit(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, between, pagination, format) =
        read::<(InEnvironment, AuditFilter, Between, EventPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &admin.0)?;
    let (from, to) = between.times(clock::now_ms())?;
    let query = AuditQuery {
        environments: scope.environments(),
        from,
        to,
        action: filter.action,
        token: filter.token.map(|id| id.to_string()),
        before: pagination.after()?,
        limit: pagination.limit(),
    };
    let entries = list::audit(&*app.store, query).await?;
    answer.page("audit", &Page::new(entries, |row| AuditEntry::new(&app, row)))
}
