//! When alerts become a message. Pure: it takes `now`.
//!
//! - Alerts of one environment, one severity and the same targets are one group. What is new waits for `group_wait`, so that
//!   a thousand nodes that fall silent together are one message.
//! - While alerts of a group fire, a change is reported at most once in `update_every`, and all of them are repeated each
//!   `repeat_every`.
//! - When the last one ends, one message says so, without that pause.
//! - An alert that ends before it was reported is not reported.

use std::collections::BTreeMap;
use std::time::Duration;

use systole_shared::{AlertSeverity, AlertState, UnixMillis};

use super::engine::{Alert, ms};
use super::mute::Mute;
use super::subject::AlertKey;
use crate::model::EnvironmentKey;
use crate::store::AlertGroupRow;

/// How often messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub group_wait: Duration,
    pub update_every: Duration,
    pub repeat_every: Duration,
}

/// Alerts that are reported together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub environment: EnvironmentKey,
    pub severity: AlertSeverity,
    /// Names of targets; empty: every target.
    pub notify: Vec<String>,
}

impl GroupKey {
    /// The group of an alert.
    pub(crate) fn of(alert: &Alert) -> Self {
        GroupKey {
            environment: alert.about.environment,
            severity: alert.rule.severity,
            notify: alert.rule.notify.clone(),
        }
    }

    /// The key of its row.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}/{}", self.environment.0, self.severity.as_str(), self.notify.join(","))
    }
}

/// What is known of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupState {
    /// Since when it has alerts that were reported; 0: it has none.
    pub opened_at: UnixMillis,
    /// When its last message was written; 0: none was.
    pub sent_at: UnixMillis,
}

impl GroupState {
    /// As it was stored.
    pub(crate) fn read(row: &AlertGroupRow) -> Self {
        GroupState { opened_at: row.opened_at, sent_at: row.sent_at }
    }

    /// As it is stored.
    pub(crate) fn row(self, id: String) -> AlertGroupRow {
        AlertGroupRow { id, opened_at: self.opened_at, sent_at: self.sent_at }
    }
}

/// The reason for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessageKind {
    /// The first of a group.
    Firing,
    /// Some began or ended.
    Update,
    /// The last one ended.
    Recovery,
    /// They still fire.
    Repeat,
    /// A person asked for it.
    Test,
}

/// A message that is due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DueMessage {
    pub group: GroupKey,
    pub kind: MessageKind,
    /// Alerts that fire.
    pub firing: Vec<AlertKey>,
    /// Alerts that ended since the message before.
    pub ended: Vec<AlertKey>,
    /// The group after this message.
    pub state: GroupState,
    /// Since when the group has alerts.
    pub opened_at: UnixMillis,
}

#[derive(Default)]
struct Members<'a> {
    new: Vec<&'a Alert>,
    active: Vec<&'a Alert>,
    /// Of `active`, those that are muted now: they are not repeated.
    muted: usize,
    ended: Vec<&'a Alert>,
}

/// The messages that are due, and when to look again.
pub(crate) fn plan<'a>(
    alerts: impl Iterator<Item = &'a Alert>,
    groups: &BTreeMap<String, GroupState>,
    mute: &dyn Fn(&Alert) -> Option<Mute>,
    pace: Pace,
    now: UnixMillis,
) -> (Vec<DueMessage>, Option<UnixMillis>) {
    let mut members: BTreeMap<GroupKey, Members<'_>> = BTreeMap::new();
    for alert in alerts {
        match (alert.state, alert.is_notified) {
            (AlertState::Firing, false) if mute(alert).is_none() => {
                members.entry(GroupKey::of(alert)).or_default().new.push(alert);
            }
            (AlertState::Firing, true) => {
                let group = members.entry(GroupKey::of(alert)).or_default();
                group.muted += usize::from(mute(alert).is_some());
                group.active.push(alert);
            }
            (AlertState::Resolved, true) => members.entry(GroupKey::of(alert)).or_default().ended.push(alert),
            _ => {}
        }
    }
    let mut due = Vec::new();
    let mut next: Option<UnixMillis> = None;
    for (group, members) in members {
        let state = groups.get(&group.id()).copied().unwrap_or_default();
        let Some((at, kind)) = due_of(&members, state, pace) else { continue };
        if at <= now {
            due.push(message(group, kind, &members, state, now));
        } else {
            next = Some(next.map_or(at, |known| known.min(at)));
        }
    }
    (due, next)
}

/// When the next message of a group is due, and why.
fn due_of(members: &Members<'_>, state: GroupState, pace: Pace) -> Option<(UnixMillis, MessageKind)> {
    let began = members.new.iter().filter_map(|alert| alert.fired_at);
    let ended = members.ended.iter().filter_map(|alert| alert.ended_at);
    let Some(first) = began.chain(ended).min() else {
        let is_heard = members.active.len() > members.muted;
        return is_heard.then(|| (state.sent_at.saturating_add(ms(pace.repeat_every)), MessageKind::Repeat));
    };
    let waited = first.saturating_add(ms(pace.group_wait));
    if members.active.is_empty() && members.new.is_empty() {
        return Some((waited, MessageKind::Recovery));
    }
    let is_first = members.active.is_empty() && members.ended.is_empty();
    let kind = if is_first { MessageKind::Firing } else { MessageKind::Update };
    let paused = if state.sent_at > 0 { state.sent_at.saturating_add(ms(pace.update_every)) } else { 0 };
    Some((waited.max(paused), kind))
}

fn message(
    group: GroupKey,
    kind: MessageKind,
    members: &Members<'_>,
    state: GroupState,
    now: UnixMillis,
) -> DueMessage {
    let opened_at = if state.opened_at > 0 { state.opened_at } else { now };
    let is_over = kind == MessageKind::Recovery;
    DueMessage {
        group,
        kind,
        firing: members.new.iter().chain(&members.active).map(|alert| alert.key()).collect(),
        ended: members.ended.iter().map(|alert| alert.key()).collect(),
        state: GroupState { opened_at: if is_over { 0 } else { opened_at }, sent_at: now },
        opened_at,
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
