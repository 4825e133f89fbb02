//! Secrets. A value comes in here, and none goes out.

use actix_web::web::{Data, Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::definitions::{audit, author};
use crate::app::App;
use crate::auth::Scope;
use crate::clock;
use crate::control::audit::DONE;
use crate::control::secrets::MAX_SECRET_BYTES;
use crate::http::dto::Page;
use crate::http::dto::control::{KeyRotated, Secret, SecretInput, SecretSet};
use crate::http::error::ApiError;
use crate::http::extract::{AdminAccess, QueryAccess, read_small_body};
use crate::http::openapi::problems::{Change, Query};
use crate::http::params::{InEnvironment, InFormat, read};
use crate::http::render::ListRequest;
use crate::store::SecretRemoval;

/// Bytes of a value as JSON: each byte may need six.
const MAX_BODY_BYTES: usize = 6 * MAX_SECRET_BYTES + 1_024;

/// Secrets by name, without their values
#[utoipa::path(
    get,
    path = "/api/v1/secrets",
    tag = "control",
    params(InEnvironment, InFormat),
    responses((status = 200, description = "All of them", content((Page<Secret>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_secrets(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, format) = read::<(InEnvironment, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let secrets = app.store.list_secrets(scope.environments()).await?;
    let items = secrets.into_iter().map(|info| Secret::new(&app, info)).collect();
    answer.page("secrets", &Page::complete(items))
}

/// Set a secret
///
/// Each pipeline that uses it gets a new version with the new value, and a rollout.
#[utoipa::path(
    put,
    path = "/api/v1/secrets/{name}",
    tag = "control",
    params(("name" = String, Path, description = "The secret; a slash in it is `%2F`"), InEnvironment),
    request_body = SecretInput,
    responses((status = 200, description = "It is stored", body = SecretSet), Change),
)]
pub(crate) async fn set_secret(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<Json<SecretSet>, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let environment = environment.one(&app, &admin.0).await?;
    let body = read_small_body(&app, &request, payload, MAX_BODY_BYTES).await?;
    // The parser's own message can contain a part of the value.
    let input: SecretInput = serde_json::from_slice(&body.bytes)
        .map_err(|_| ApiError::bad_request("the body must be {\"value\": \"…\"} with a text"))?;
    drop(body);
    let author = author(&app, &admin.0);
    let result = app.secrets.set(environment, &name, &input.value, author, clock::now_ms()).await;
    let outcome = match &result {
        Ok((revision, versions)) => format!("value {revision}, new versions: {}", versions.len()),
        Err(error) => error.to_string(),
    };
    audit(&app, &admin.0, Some(environment), "secret.set", &name, &outcome).await;
    let (revision, versions) = result?;
    if !versions.is_empty() {
        app.rollouts.notify_one();
    }
    Ok(Json(SecretSet { revision, versions: versions.into_iter().map(Into::into).collect() }))
}

/// Remove a secret that no pipeline uses
#[utoipa::path(
    delete,
    path = "/api/v1/secrets/{name}",
    tag = "control",
    params(("name" = String, Path, description = "The secret; a slash in it is `%2F`"), InEnvironment),
    responses((status = 204, description = "It is removed"), Change),
)]
pub(crate) async fn remove_secret(
    app: Data<App>,
    admin: AdminAccess,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let environment = environment.one(&app, &admin.0).await?;
    match app.store.remove_secret(environment, name.clone()).await? {
        SecretRemoval::Removed => {
            audit(&app, &admin.0, Some(environment), "secret.remove", &name, DONE).await;
            Ok(HttpResponse::NoContent().finish())
        }
        SecretRemoval::Unknown => Err(ApiError::not_found(format!("secret {:?}", *name))),
        SecretRemoval::Used(users) => {
            let detail = format!("pipelines use the secret {}: {}", *name, users.join(", "));
            audit(&app, &admin.0, Some(environment), "secret.remove", &name, &detail).await;
            Err(ApiError::conflict(detail))
        }
    }
}

/// Change the key that encrypts the secrets
///
/// Every value is encrypted again with a new key. Needs an admin's token for all environments.
#[utoipa::path(
    post,
    path = "/api/v1/secret-key/rotate",
    tag = "control",
    responses((status = 200, description = "The new key is in use", body = KeyRotated), Change),
)]
pub(crate) async fn rotate_key(app: Data<App>, admin: AdminAccess) -> Result<Json<KeyRotated>, ApiError> {
    if admin.0.scope != Scope::All {
        return Err(ApiError::forbidden("an admin token for all environments is required: they share the key"));
    }
    let result = app.secrets.rotate().await;
    let outcome = match &result {
        Ok(rotation) => format!("{} values", rotation.values),
        Err(error) => error.to_string(),
    };
    audit(&app, &admin.0, None, "secret.rotate-key", "key", &outcome).await;
    let rotation = result?;
    Ok(Json(KeyRotated { key_id: rotation.key_id, values: rotation.values }))
}
