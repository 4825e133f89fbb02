//! Alerts: what fires, what fired, by which rules, and which targets receive messages.

use std::fmt::Display;

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use systole_shared::events::{Event, EventType};
use systole_shared::{AlertChange, AlertState};
use utoipa::ToSchema;

use crate::alerts::board::ShownAlert;
use crate::alerts::group::MessageKind;
use crate::alerts::message::Message;
use crate::alerts::preview::{self, Past, PreviewError};
use crate::alerts::subject::Properties;
use crate::app::App;
use crate::clock;
use crate::config::alerts::Rule;
use crate::config::alerts::target::Target;
use crate::control::audit::{self, Actor, DONE};
use crate::http::dto::Page;
use crate::http::dto::alerts::{AlertItem, AlertPreview, AlertRule, AlertTarget, TestResult};
use crate::http::error::ApiError;
use crate::http::extract::{OperatorAccess, QueryAccess, ReadAccess};
use crate::http::openapi::problems::{ChangeOfOne, Query, QueryOfOne};
use crate::http::params::{
    AlertFilter, Between, EventPagination, InEnvironment, InFormat, InOrder, KeyPagination, read,
};
use crate::http::render::{ListRequest, Row};
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::query::list;
use crate::store::{AlertEventQuery, StoreError, StoredEvent};

/// How far a preview looks back by default.
const PREVIEW_MS: i64 = 7 * 86_400_000;

/// Alerts that are pending or fire
///
/// With `state=resolved` those that ended in the last minutes; `/api/v1/alerts/history` has all changes.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "alerts",
    params(InEnvironment, AlertFilter, KeyPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<AlertItem>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_alerts(
    app: Data<App>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, filter, pagination, format) =
        read::<(InEnvironment, AlertFilter, KeyPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let alerts = app.alerts.alerts();
    let wanted = |shown: &&ShownAlert| {
        let alert = &shown.alert;
        let is_of_state = match filter.state {
            Some(state) => alert.state == state,
            None => alert.state.is_active(),
        };
        is_of_state
            && scope.includes(alert.about.environment)
            && filter.rule.as_ref().is_none_or(|rule| alert.rule.name == *rule)
            && filter.severity.is_none_or(|severity| alert.rule.severity == severity)
            && filter.node.is_none_or(|node| alert.about.node_id == Some(node))
            && filter.pipeline.as_ref().is_none_or(|id| alert.subject.pipeline() == Some(id))
    };
    let mut found: Vec<(String, &ShownAlert)> =
        alerts.iter().filter(wanted).map(|shown| (shown.alert.key().to_string(), shown)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(after) = &pagination.cursor {
        found.retain(|(key, _)| key > after);
    }
    let limit = pagination.limit();
    let next = found.get(limit.saturating_sub(1)).filter(|_| found.len() > limit).map(|(key, _)| key.clone());
    found.truncate(limit);
    let items = found.into_iter().map(|(_, shown)| AlertItem::new(&app, shown)).collect();
    answer.page("alerts", &Page { items, next })
}

/// A change of an alert: the event of the feed with its sequence number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberedAlertChange)]
pub(crate) struct NumberedAlert {
    /// Its place in the sequence of the feed.
    seq: u64,
    /// Always `alert`.
    r#type: EventType,
    #[serde(flatten)]
    change: AlertChange,
}

impl NumberedAlert {
    fn read(event: &StoredEvent) -> Result<Self, StoreError> {
        let fault = |fault: &dyn Display| StoreError::Corrupt(format!("event {}: {fault}", event.seq));
        match serde_json::from_str(&event.payload) {
            Ok(Event::Alert(change)) => Ok(NumberedAlert { seq: event.seq, r#type: EventType::Alert, change }),
            Ok(_) => Err(fault(&"is no alert")),
            Err(error) => Err(fault(&error)),
        }
    }
}

impl Row for NumberedAlert {
    const COLUMNS: &'static [&'static str] = &[
        "seq",
        "type",
        "timestamp",
        "rule",
        "subject",
        "environmentId",
        "nodeId",
        "pipelineId",
        "state",
        "severity",
        "value",
        "since",
        "text",
    ];
}

/// Changes of alerts, oldest first or newest first
#[utoipa::path(
    get,
    path = "/api/v1/alerts/history",
    tag = "alerts",
    params(InEnvironment, Between, InOrder, EventPagination, InFormat),
    responses((status = 200, description = "A page", content((Page<NumberedAlert>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_alert_history(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, between, order, pagination, format) =
        read::<(InEnvironment, Between, InOrder, EventPagination, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let (from, to) = between.times(clock::now_ms())?;
    let query = AlertEventQuery {
        environments: environment.scope(&app, &reader.0)?.environments(),
        from,
        to,
        order: order.order.into(),
        after: pagination.after()?,
        limit: pagination.limit(),
    };
    let changes = list::alert_events(&*app.store, query).await?;
    let items = changes.items.iter().map(NumberedAlert::read).collect::<Result<Vec<_>, _>>()?;
    answer.page("alert-history", &Page { items, next: changes.next })
}

/// Rules that are on
#[utoipa::path(
    get,
    path = "/api/v1/alerts/rules",
    tag = "alerts",
    params(InEnvironment, InFormat),
    responses((status = 200, description = "All of them", content((Page<AlertRule>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_alert_rules(
    app: Data<App>,
    reader: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (environment, format) = read::<(InEnvironment, InFormat)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let scope = environment.scope(&app, &reader.0)?;
    let alerts = app.alerts.alerts();
    let item = |rule: &Rule| {
        let count = |state| {
            let is_counted = |shown: &&ShownAlert| {
                let alert = &shown.alert;
                alert.rule.name == rule.name && alert.state == state && scope.includes(alert.about.environment)
            };
            alerts.iter().filter(is_counted).count()
        };
        AlertRule::new(rule, count(AlertState::Firing), count(AlertState::Pending))
    };
    let items = app.alerts.settings.rules.iter().map(item).collect();
    answer.page("alert-rules", &Page::complete(items))
}

/// Targets of notifications with their last results
#[utoipa::path(
    get,
    path = "/api/v1/alerts/targets",
    tag = "alerts",
    params(InFormat),
    responses((status = 200, description = "All of them", content((Page<AlertTarget>), (String = "text/csv"))), Query),
)]
pub(crate) async fn list_alert_targets(
    app: Data<App>,
    _: ReadAccess,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (format,) = read::<(InFormat,)>(&request)?;
    let answer = ListRequest::new(&request, &format)?;
    let usage = app.store.outbox_usage().await?;
    let item = |target: &Target| {
        let waiting = usage.iter().find(|usage| usage.target == target.name);
        AlertTarget::new(target, app.alerts.result(&target.name), waiting)
    };
    let items = app.alerts.settings.targets.iter().map(item).collect();
    answer.page("alert-targets", &Page::complete(items))
}

/// Send a test message to a target
#[utoipa::path(
    post,
    path = "/api/v1/alerts/targets/{name}/test",
    tag = "alerts",
    params(("name" = String, Path, description = "The target")),
    responses((status = 200, description = "What came of it", body = TestResult), ChangeOfOne),
)]
pub(crate) async fn test_alert_target(
    app: Data<App>,
    operator: OperatorAccess,
    name: Path<String>,
) -> Result<Json<TestResult>, ApiError> {
    let target = app.alerts.settings.targets.iter().find(|target| target.name == *name);
    let target = target.ok_or_else(|| ApiError::not_found(format!("target {:?}", *name)))?;
    let actor = Actor::of(&app.auth, &operator.0);
    let result = test(&app, target, &test_message(None, &actor.name)).await;
    audit::record(&*app.store, &actor, None, "alert.test", &name, result.error.as_deref().unwrap_or(DONE)).await;
    Ok(Json(result))
}

/// Send a test message of a rule to the targets that it has
#[utoipa::path(
    post,
    path = "/api/v1/alerts/rules/{name}/test",
    tag = "alerts",
    params(("name" = String, Path, description = "The rule")),
    responses((status = 200, description = "What came of it", body = Vec<TestResult>), ChangeOfOne),
)]
pub(crate) async fn test_alert_rule(
    app: Data<App>,
    operator: OperatorAccess,
    name: Path<String>,
) -> Result<Json<Vec<TestResult>>, ApiError> {
    let rule = find_rule(&app, &name)?;
    let actor = Actor::of(&app.auth, &operator.0);
    let message = test_message(Some(rule), &actor.name);
    let mut results = Vec::new();
    let is_wanted = |target: &&Target| rule.notify.is_empty() || rule.notify.contains(&target.name);
    for target in app.alerts.settings.targets.iter().filter(is_wanted) {
        results.push(test(&app, target, &message).await);
    }
    let failed = results.iter().filter(|result| !result.ok).count();
    let outcome = if failed == 0 { DONE.to_owned() } else { format!("{failed} targets failed") };
    audit::record(&*app.store, &actor, None, "alert.test", &name, &outcome).await;
    Ok(Json(results))
}

/// What a rule would have done
///
/// The rule runs over stored minutes and status changes: by default those of the last 7 days. It knows the labels of now,
/// and neither silences nor maintenance of then.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/rules/{name}/preview",
    tag = "alerts",
    params(("name" = String, Path, description = "The rule"), InEnvironment, Between),
    responses((status = 200, description = "What would have fired", body = AlertPreview), QueryOfOne),
)]
pub(crate) async fn preview_alert_rule(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    name: Path<String>,
) -> Result<Json<AlertPreview>, ApiError> {
    let (environment, between) = read::<(InEnvironment, Between)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let now = clock::now_ms();
    let (from, to) = between.times(now)?;
    let to = to.unwrap_or(now).min(now);
    let from = from.unwrap_or(to.saturating_sub(PREVIEW_MS));
    let rule = find_rule(&app, &name)?;
    let applies = |node: &WatchedNode, pipeline: Option<&WatchedPipeline>| {
        let environment = app.auth.environment_by_key(node.environment);
        let properties = Properties {
            rule,
            environment: environment.as_ref().map(|environment| environment.name.as_str()),
            node: Some(&node.name),
            pipeline: pipeline.map(|pipeline| pipeline.id.as_str()),
            labels: &node.labels,
        };
        properties.match_all(&rule.matchers)
    };
    let is_of_nodes = rule.condition.is_of_nodes();
    let is_wanted = |node: &WatchedNode| scope.includes(node.environment) && (!is_of_nodes || applies(node, None));
    let past = Past {
        store: &*app.store,
        timeseries: &app.timeseries,
        nodes: preview::among(app.watched.all(), is_wanted),
        applies: &|node, pipeline| applies(node, Some(pipeline)),
        from,
        to,
    };
    let found = preview::run(rule, past).await.map_err(|error| match error {
        PreviewError::NotStored(_) => ApiError::bad_parameter("name", error),
        PreviewError::Store(error) => error.into(),
    })?;
    Ok(Json(AlertPreview::new(rule, from, to, &found)))
}

/// A rule that is on.
fn find_rule<'a>(app: &'a App, name: &str) -> Result<&'a Rule, ApiError> {
    let rule = app.alerts.settings.rules.iter().find(|rule| rule.name == name);
    rule.ok_or_else(|| ApiError::not_found(format!("rule {name:?}")))
}

fn test_message(rule: Option<&Rule>, actor: &str) -> Message {
    let what = rule.map_or_else(|| "this target works".to_owned(), |rule| format!("rule {}", rule.name));
    let condition = rule.map(|rule| format!("The rule fires when: {}.", rule.condition.describe()));
    let now = clock::now_ms();
    Message {
        key: uuid::Uuid::now_v7().to_string(),
        group: format!("test/{now}"),
        kind: MessageKind::Test,
        environment: None,
        severity: rule.map_or(systole_shared::AlertSeverity::Info, |rule| rule.severity),
        title: format!("[TEST] {what}"),
        lines: std::iter::once(format!("Sent by {actor} to try it. Nothing is wrong.")).chain(condition).collect(),
        url: None,
        created_at: now,
        alerts: Vec::new(),
        firing: 0,
        ended: 0,
    }
}

async fn test(app: &App, target: &Target, message: &Message) -> TestResult {
    let sent = app.sender.send(target, message).await;
    TestResult { target: target.name.clone(), ok: sent.is_ok(), error: sent.err().map(|error| error.to_string()) }
}
