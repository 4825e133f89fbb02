//! Alerts as the database has them, and their events.

use std::sync::Arc;

use systole_shared::{AlertChange, AlertSeverity, AlertState, EnvironmentId};

use super::engine::Alert;
use super::subject::{About, Subject};
use crate::config::alerts::Rule;
use crate::model::EnvironmentKey;
use crate::model::alert::AlertEvent;
use crate::model::watched::WatchedNode;
use crate::store::AlertRow;

/// The row of an alert.
pub(crate) fn row(alert: &Alert) -> AlertRow {
    AlertRow {
        id: alert.key().to_string(),
        rule: alert.rule.name.clone(),
        subject: alert.subject.to_string(),
        environment: alert.about.environment.0,
        node: alert.subject.node().map(|key| key.0),
        pipeline: alert.subject.pipeline().map(ToString::to_string),
        name: alert.about.name.clone(),
        severity: alert.rule.severity.as_str().to_owned(),
        state: alert.state.as_str().to_owned(),
        since: alert.since,
        fired_at: alert.fired_at,
        ended_at: alert.ended_at,
        value: alert.value.filter(|value| value.is_finite()),
        text: alert.text.clone(),
        notified: i64::from(alert.is_notified),
        notified_at: alert.notified_at,
    }
}

/// The alert of a row. `None` when an other version wrote what this one cannot read.
pub(crate) fn read(row: AlertRow, rule: Arc<Rule>, node: Option<&WatchedNode>) -> Option<Alert> {
    let subject = Subject::parse(&row.subject)?;
    let about = match (node, &subject) {
        (Some(node), Subject::Node(_)) => About::node(node),
        (Some(node), Subject::Pipeline(_, id)) => match node.pipeline(id) {
            Some(pipeline) => About::pipeline(node, pipeline),
            None => About { name: row.name, ..About::node(node) },
        },
        (_, Subject::Collector(part)) => About::collector(part),
        (None, _) => About {
            environment: EnvironmentKey(row.environment),
            name: row.name,
            node_id: None,
            node_name: None,
            pipeline_key: None,
            labels: Arc::default(),
        },
    };
    Some(Alert {
        rule,
        subject,
        about,
        state: AlertState::from_wire(&row.state)?,
        since: row.since,
        fired_at: row.fired_at,
        ended_at: row.ended_at,
        clear_since: None,
        value: row.value,
        text: row.text,
        is_unknown: false,
        is_notified: row.notified != 0,
        notified_at: row.notified_at,
    })
}

/// The rule of alerts whose rule is no longer configured: they end.
pub(crate) fn removed_rule(row: &AlertRow) -> Rule {
    Rule {
        name: row.rule.clone(),
        is_builtin: false,
        condition: crate::config::alerts::rule::Condition::DuplicateIdentity,
        matchers: Vec::new(),
        hold: std::time::Duration::ZERO,
        clear: std::time::Duration::ZERO,
        severity: AlertSeverity::from_wire(&row.severity).unwrap_or(AlertSeverity::Warning),
        notify: Vec::new(),
        summary: row.rule.clone(),
    }
}

/// The event of an alert that has just changed.
pub(crate) fn event(alert: &Alert, environment: Option<EnvironmentId>) -> AlertEvent {
    let timestamp = match alert.state {
        AlertState::Pending => alert.since,
        AlertState::Firing => alert.fired_at.unwrap_or(alert.since),
        AlertState::Resolved | AlertState::Cancelled => alert.ended_at.unwrap_or(alert.since),
    };
    AlertEvent {
        environment: alert.about.environment,
        node: alert.subject.node().zip(alert.about.node_id),
        pipeline: alert.subject.pipeline().map(|id| (alert.about.pipeline_key, id.clone())),
        change: AlertChange {
            rule: alert.rule.name.clone(),
            subject: alert.about.name.clone(),
            environment_id: environment,
            node_id: alert.about.node_id,
            pipeline_id: alert.subject.pipeline().cloned(),
            state: alert.state,
            severity: alert.rule.severity,
            value: alert.value.filter(|value| value.is_finite()),
            since: alert.since,
            text: alert.text.clone(),
            timestamp,
        },
    }
}
