//! The JSON of alerts, rules, targets and silences.

use serde::{Deserialize, Serialize};
use systole_shared::{AlertSeverity, AlertState, UnixMillis};
use utoipa::ToSchema;

use crate::alerts::board::ShownAlert;
use crate::alerts::engine::Alert;
use crate::alerts::preview::Preview;
use crate::alerts::silence;
use crate::app::App;
use crate::config::alerts::Rule;
use crate::config::alerts::target::Target;
use crate::http::render::Row;
use crate::store::{OutboxUsage, TargetRow};

/// An alert that is pending or fires, or ended a few minutes ago.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Alert)]
pub(crate) struct AlertItem {
    /// Its rule and its subject.
    id: String,
    rule: String,
    severity: AlertSeverity,
    state: AlertState,
    /// The node, the pipeline on a node as `node/pipeline`, or a part of the collector.
    subject: String,
    /// Null for an alert about the collector, like the name.
    environment_id: Option<String>,
    environment_name: Option<String>,
    node_id: Option<String>,
    node_name: Option<String>,
    pipeline_id: Option<String>,
    /// What is wrong.
    text: String,
    /// What the rule measured; null when it measures nothing.
    value: Option<f64>,
    /// Since when the condition holds.
    since: UnixMillis,
    fired_at: Option<UnixMillis>,
    ended_at: Option<UnixMillis>,
    /// When the last message about it was written.
    notified_at: Option<UnixMillis>,
    /// Whether it is not known now whether the condition holds.
    unknown: bool,
    /// Why it is not reported: silence, maintenance or node_down. Null when it is.
    muted: Option<&'static str>,
    /// The silence that fits it.
    silence_id: Option<i64>,
}

impl Row for AlertItem {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "rule",
        "severity",
        "state",
        "subject",
        "environmentName",
        "nodeId",
        "nodeName",
        "pipelineId",
        "text",
        "value",
        "since",
        "firedAt",
        "endedAt",
        "notifiedAt",
        "unknown",
        "muted",
        "silenceId",
    ];
}

impl AlertItem {
    /// An alert with the names of its environment.
    pub(crate) fn new(app: &App, shown: &ShownAlert) -> Self {
        use crate::alerts::mute::Mute;
        let ShownAlert { alert, mute } = shown;
        let environment = app.auth.environment_by_key(alert.about.environment);
        AlertItem {
            id: alert.key().to_string(),
            rule: alert.rule.name.clone(),
            severity: alert.rule.severity,
            state: alert.state,
            subject: alert.about.name.clone(),
            environment_id: environment.as_ref().map(|environment| environment.id.to_string()),
            environment_name: environment.map(|environment| environment.name),
            node_id: alert.about.node_id.map(|id| id.to_string()),
            node_name: alert.about.node_name.clone(),
            pipeline_id: alert.subject.pipeline().map(ToString::to_string),
            text: alert.text.clone(),
            value: alert.value.filter(|value| value.is_finite()),
            since: alert.since,
            fired_at: alert.fired_at,
            ended_at: alert.ended_at,
            notified_at: alert.notified_at,
            unknown: alert.is_unknown,
            muted: mute.map(Mute::as_str),
            silence_id: mute.and_then(|mute| match mute {
                Mute::Silence(id) => Some(id),
                Mute::Maintenance | Mute::NodeDown => None,
            }),
        }
    }
}

/// A rule as it is configured.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertRule {
    name: String,
    /// Whether it is on without configuration.
    builtin: bool,
    /// status, rate, gap, host, agent or collector.
    on: &'static str,
    /// The condition, for people.
    condition: String,
    /// What is wrong with its subjects: `UNREACHABLE`.
    summary: String,
    /// Conditions on nodes and pipelines, such as `node=web-*`.
    #[serde(rename = "match")]
    matchers: Vec<String>,
    /// Milliseconds for which the condition must hold before the alert fires.
    for_ms: u64,
    /// Milliseconds for which it must not hold before the alert is resolved.
    clear_for_ms: u64,
    severity: AlertSeverity,
    /// Names of targets; empty: every target.
    notify: Vec<String>,
    firing: usize,
    pending: usize,
}

impl Row for AlertRule {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "builtin",
        "on",
        "condition",
        "summary",
        "match",
        "forMs",
        "clearForMs",
        "severity",
        "notify",
        "firing",
        "pending",
    ];
}

impl AlertRule {
    /// A rule with the numbers of its alerts.
    pub(crate) fn new(rule: &Rule, firing: usize, pending: usize) -> Self {
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        AlertRule {
            name: rule.name.clone(),
            builtin: rule.is_builtin,
            on: rule.condition.kind(),
            condition: rule.condition.describe(),
            summary: rule.summary.clone(),
            matchers: rule.matchers.iter().map(ToString::to_string).collect(),
            for_ms: ms(rule.hold),
            clear_for_ms: ms(rule.clear),
            severity: rule.severity,
            notify: rule.notify.clone(),
            firing,
            pending,
        }
    }
}

/// A target of notifications, without its address: that is a secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertTarget {
    name: String,
    /// alertmanager, webhook, slack, ntfy, pagerduty or email.
    kind: &'static str,
    host: String,
    last_attempt_at: Option<UnixMillis>,
    last_success_at: Option<UnixMillis>,
    /// Since when it fails; null when the last attempt was a success.
    failing_since: Option<UnixMillis>,
    last_error: Option<String>,
    /// Messages that it took.
    sent: i64,
    /// Attempts that failed.
    failed: i64,
    /// Messages that wait.
    waiting: i64,
    oldest_waiting_at: Option<UnixMillis>,
}

impl Row for AlertTarget {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "kind",
        "host",
        "lastAttemptAt",
        "lastSuccessAt",
        "failingSince",
        "lastError",
        "sent",
        "failed",
        "waiting",
        "oldestWaitingAt",
    ];
}

impl AlertTarget {
    /// A target with its last result and what waits for it.
    pub(crate) fn new(target: &Target, result: Option<TargetRow>, usage: Option<&OutboxUsage>) -> Self {
        let is_tried = result.is_some();
        let result = result.unwrap_or_default();
        AlertTarget {
            name: target.name.clone(),
            kind: target.kind.as_str(),
            host: target.host.clone(),
            last_attempt_at: is_tried.then_some(result.last_attempt_at),
            last_success_at: result.last_success_at,
            failing_since: result.failing_since,
            last_error: result.last_error,
            sent: result.sent,
            failed: result.failed,
            waiting: usage.map_or(0, |usage| usage.messages),
            oldest_waiting_at: usage.map(|usage| usage.oldest_at),
        }
    }
}

/// What a rule would have done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertPreview {
    rule: String,
    condition: String,
    from: UnixMillis,
    /// The end of what was read: before the end that was asked for, if that would have taken too long.
    to: UnixMillis,
    /// Whether it was cut.
    cut: bool,
    /// Alerts that would have fired.
    fired: usize,
    /// The first thousand of them, in the order in which they would have fired.
    items: Vec<PreviewedAlert>,
}

/// An alert that would have fired.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewedAlert {
    subject: String,
    node_id: Option<String>,
    node_name: Option<String>,
    pipeline_id: Option<String>,
    since: UnixMillis,
    fired_at: Option<UnixMillis>,
    /// Null: it would still fire.
    ended_at: Option<UnixMillis>,
    value: Option<f64>,
    text: String,
}

/// Alerts that a preview lists.
const PREVIEWED: usize = 1_000;

impl AlertPreview {
    /// Of a rule from and to times.
    pub(crate) fn new(rule: &Rule, from: UnixMillis, to: UnixMillis, found: &Preview) -> Self {
        let item = |alert: &Alert| PreviewedAlert {
            subject: alert.about.name.clone(),
            node_id: alert.about.node_id.map(|id| id.to_string()),
            node_name: alert.about.node_name.clone(),
            pipeline_id: alert.subject.pipeline().map(ToString::to_string),
            since: alert.since,
            fired_at: alert.fired_at,
            ended_at: alert.ended_at,
            value: alert.value.filter(|value| value.is_finite()),
            text: alert.text.clone(),
        };
        AlertPreview {
            rule: rule.name.clone(),
            condition: rule.condition.describe(),
            from,
            to: found.to,
            cut: found.to < to,
            fired: found.fired.len(),
            items: found.fired.iter().take(PREVIEWED).map(item).collect(),
        }
    }
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestResult {
    pub target: String,
    /// Whether the target took the message.
    pub ok: bool,
    /// Why it did not.
    pub error: Option<String>,
}

/// A new silence.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SilenceInput {
    /// Conditions that must all hold, such as `node=web-*`. Keys: rule, severity, environment, node, pipeline, or a label of
    /// the node. `!=` is not, `*` is any characters.
    pub matchers: Vec<String>,
    /// How long, such as `2h`. Or `endsAt`.
    pub duration: Option<String>,
    /// The end. Or `duration`.
    pub ends_at: Option<UnixMillis>,
    /// The begin. Default: now.
    pub starts_at: Option<UnixMillis>,
    /// Why. At most 1024 bytes.
    #[serde(default)]
    pub note: String,
}

/// A silence.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Silence {
    id: i64,
    /// Null: all environments.
    environment_name: Option<String>,
    matchers: Vec<String>,
    starts_at: UnixMillis,
    ends_at: UnixMillis,
    /// Whether it holds now.
    active: bool,
    /// The token that made it, by its name.
    author: String,
    note: String,
    created_at: UnixMillis,
}

impl Row for Silence {
    const COLUMNS: &'static [&'static str] =
        &["id", "environmentName", "matchers", "startsAt", "endsAt", "active", "author", "note", "createdAt"];
}

impl Silence {
    /// A silence with the name of its environment.
    pub(crate) fn new(app: &App, silence: silence::Silence, now: UnixMillis) -> Self {
        let environment = silence.environment.and_then(|key| app.auth.environment_by_key(key));
        Silence {
            id: silence.id,
            environment_name: environment.map(|environment| environment.name),
            matchers: silence.matchers.iter().map(ToString::to_string).collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            active: silence.is_active(now),
            author: silence.author,
            note: silence.note,
            created_at: silence.created_at,
        }
    }
}
