//! Writes the messages that are due: for each target one, in the transaction that notes that the alerts were reported.

use std::collections::BTreeMap;

use systole_shared::UnixMillis;

use super::AlertTasks;
use crate::alerts::engine::{Alert, Engine};
use crate::alerts::group::{DueMessage, GroupState};
use crate::alerts::message::{self, Message, Parts};
use crate::alerts::rows;
use crate::alerts::subject::{AlertKey, Subject};
use crate::config::alerts::rule::{CollectorFault, Condition};
use crate::config::alerts::target::{Target, TargetKind};
use crate::ingest::committer::AlertWork;
use crate::store::{AlertBatch, OutboxRow};

/// The targets that messages of a group go to. Alertmanagers learn of states instead.
fn targets<'a>(parts: &'a AlertTasks, notify: &[String]) -> Vec<&'a Target> {
    let all = parts.board.settings.targets.iter().filter(|target| target.kind != TargetKind::Alertmanager);
    all.filter(|target| notify.is_empty() || notify.contains(&target.name)).collect()
}

/// Notes that a message was written, and returns what is to be committed.
pub(super) fn prepare(
    parts: &AlertTasks,
    engine: &mut Engine,
    groups: &mut BTreeMap<String, GroupState>,
    next_message: &mut i64,
    due: &DueMessage,
    now: UnixMillis,
) -> AlertWork {
    let targets = targets(parts, &due.group.notify);
    if targets.is_empty() {
        // What fires is reported once there is a target.
        let ended = engine.mark_notified(&due.ended, now);
        let batch = AlertBatch { alerts: ended.iter().map(rows::row).collect(), ..AlertBatch::default() };
        return AlertWork { batch, events: Vec::new() };
    }
    let message = write(parts, engine, due, now);
    let text = serde_json::to_string(&message).unwrap_or_default();
    let is_about_itself = |target: &Target| {
        let is_about = |key: &AlertKey| {
            let alert = engine.alerts().find(|alert| alert.key() == *key);
            alert.is_some_and(|alert| is_about_target(alert, &target.name))
        };
        due.firing.len() + due.ended.len() <= 1 && due.firing.iter().chain(&due.ended).all(is_about)
    };
    let mut messages = Vec::new();
    for target in targets.into_iter().filter(|target| !is_about_itself(target)) {
        *next_message += 1;
        let (id, target) = (*next_message, target.name.clone());
        messages.push(OutboxRow { id, target, created_at: now, message: text.clone() });
    }
    let id = due.group.id();
    groups.insert(id.clone(), due.state);
    let mut alerts = engine.mark_notified(&due.firing, now);
    alerts.extend(engine.mark_notified(&due.ended, now));
    let batch = AlertBatch {
        alerts: alerts.iter().map(rows::row).collect(),
        groups: vec![due.state.row(id)],
        messages,
        ..AlertBatch::default()
    };
    AlertWork { batch, events: Vec::new() }
}

fn is_about_target(alert: &Alert, target: &str) -> bool {
    alert.rule.condition == Condition::Collector(CollectorFault::TargetFails)
        && alert.subject == Subject::Collector(target.to_owned())
}

fn write(parts: &AlertTasks, engine: &Engine, due: &DueMessage, now: UnixMillis) -> Message {
    let alerts: BTreeMap<AlertKey, &Alert> = engine.alerts().map(|alert| (alert.key(), alert)).collect();
    let found = |keys: &[AlertKey]| keys.iter().filter_map(|key| alerts.get(key).copied()).collect();
    let environment = parts.auth.environment_by_key(due.group.environment).map(|environment| environment.name);
    let name = environment.as_deref().unwrap_or("collector");
    message::write(&Parts {
        kind: due.kind,
        group: format!("{name}/{}/{}", due.group.severity.as_str(), due.opened_at),
        key: uuid::Uuid::now_v7().to_string(),
        environment: environment.as_deref(),
        nodes: parts.watched.count(due.group.environment),
        severity: due.group.severity,
        firing: found(&due.firing),
        ended: found(&due.ended),
        url: parts.board.settings.external_url.as_deref(),
        now,
    })
}
