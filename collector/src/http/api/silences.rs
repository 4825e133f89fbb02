//! Silences of alerts.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::UnixMillis;
use systole_shared::limits::MAX_SHORT_TEXT_BYTES;

use crate::alerts::silence::{self, parse_matchers};
use crate::app::App;
use crate::auth::Scope;
use crate::clock;
use crate::config::parse_duration;
use crate::control::audit::{self, Actor, DONE};
use crate::http::dto::Page;
use crate::http::dto::alerts::{Silence, SilenceInput};
use crate::http::error::ApiError;
use crate::http::extract::{OperatorAccess, ReadAccess, read_json};
use crate::http::openapi::problems::{ChangeOfOne, Post, Query};
use crate::http::params::{InEnvironment, InFormat, read};
use crate::http::render::ListRequest;
use crate::model::EnvironmentKey;
use crate::store::NewSilenceRow;

/// The longest silence: one that is forgotten must end by itself.
const LONGEST_MS: i64 = 366 * 86_400_000;

/// Silences that last or are still to begin
#[utoipa::path(
    get,
    path = "/api/v1/silences",
    tag = "alerts",
    params(InEnvironment, InFormat),
    responses((status = 200, description = "All of them", content((Page<Silence>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_silences(
    app: Data<App>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, format) = read::<(InEnvironment, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let now = clock::now_ms();
    let silences = app.store.list_silences(now).await?.into_iter().map(silence::Silence::read);
    // One of all environments also silences those of this token.
    let visible = silences.filter(|silence| silence.environment.is_none_or(|key| scope.includes(key)));
    let items = visible.map(|silence| Silence::new(&app, silence, now)).collect();
    answer.page("silences", &Page::complete(items))
}

/// Silence alerts
///
/// Alerts that fit all conditions are not reported until the end; they still fire. The end of an alert that was reported
/// before is reported. Without `environment`, a token for all environments silences in all of them.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    tag = "alerts",
    params(InEnvironment),
    request_body = SilenceInput,
    responses((status = 201, description = "The silence", body = Silence), Post),
)]
pub(crate) async fn add_silence(
    app: Data<App>,
    operator: OperatorAccess,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let input: SilenceInput = read_json(&app, &request, payload).await?;
    let environment = match environment.scope(&app, &operator.0)? {
        Scope::All => None,
        Scope::One(key) => Some(key),
    };
    let now = clock::now_ms();
    let actor = Actor::of(&app.auth, &operator.0);
    let row = new_row(&input, environment, actor.name.clone(), now)?;
    let matchers = row.matchers.clone();
    let silence = silence::Silence::read(app.store.add_silence(row).await?);
    app.alerts.silences.set(app.store.list_silences(now).await?.into_iter().map(silence::Silence::read).collect());
    app.alerts.wake();
    audit::record(&*app.store, &actor, environment, "silence.add", &matchers, DONE).await;
    Ok(HttpResponse::Created().json(Silence::new(&app, silence, now)))
}

/// End a silence
#[utoipa::path(
    delete,
    path = "/api/v1/silences/{id}",
    tag = "alerts",
    params(("id" = i64, Path, description = "The number of the silence")),
    responses((status = 204, description = "It has ended"), ChangeOfOne),
)]
pub(crate) async fn end_silence(
    app: Data<App>,
    operator: OperatorAccess,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let missing = || ApiError::not_found(format!("silence {:?}", *id));
    let number: i64 = id.parse().map_err(|_| missing())?;
    let now = clock::now_ms();
    let silences = app.store.list_silences(now).await?;
    let silence = silences.into_iter().find(|silence| silence.id == number).ok_or_else(missing)?;
    let environment = silence.environment.map(EnvironmentKey);
    let may = match environment {
        Some(key) => operator.0.scope.includes(key),
        None => operator.0.scope == Scope::All,
    };
    if !may {
        return Err(match environment {
            Some(_) => missing(),
            None => ApiError::forbidden("a token for all environments is required: the silence is of all of them"),
        });
    }
    if !app.store.end_silence(number, now).await? {
        return Err(missing());
    }
    app.alerts.silences.set(app.store.list_silences(now).await?.into_iter().map(silence::Silence::read).collect());
    app.alerts.wake();
    let actor = Actor::of(&app.auth, &operator.0);
    audit::record(&*app.store, &actor, environment, "silence.end", &silence.matchers, DONE).await;
    Ok(HttpResponse::NoContent().finish())
}

fn new_row(
    input: &SilenceInput,
    environment: Option<EnvironmentKey>,
    author: String,
    now: UnixMillis,
) -> Result<NewSilenceRow, ApiError> {
    let matchers = parse_matchers(&input.matchers).map_err(|fault| ApiError::bad_parameter("matchers", fault))?;
    let starts_at = input.starts_at.unwrap_or(now);
    let ends_at = match (input.duration.as_deref(), input.ends_at) {
        (Some(text), None) => {
            let duration = parse_duration(text)
                .ok_or_else(|| ApiError::bad_parameter("duration", format!("{text:?}, expected e.g. 30m, 2h or 7d")))?;
            starts_at.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
        }
        (None, Some(at)) => at,
        _ => return Err(ApiError::bad_parameter("duration", "give either duration or endsAt")),
    };
    if ends_at <= now.max(starts_at) {
        return Err(ApiError::bad_parameter("endsAt", "must be in the future, and after startsAt"));
    }
    if ends_at.saturating_sub(now) > LONGEST_MS {
        return Err(ApiError::bad_parameter("endsAt", "a silence lasts a year at most"));
    }
    let note = input.note.trim();
    if note.len() > MAX_SHORT_TEXT_BYTES || note.contains(char::is_control) {
        let fault = format!("has at most {MAX_SHORT_TEXT_BYTES} bytes and no control characters");
        return Err(ApiError::bad_parameter("note", fault));
    }
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    Ok(NewSilenceRow {
        environment: environment.map(|key| key.0),
        matchers: serde_json::to_string(&texts).map_err(ApiError::unwritable)?,
        starts_at,
        ends_at,
        author,
        note: note.to_owned(),
        created_at: now,
    })
}
