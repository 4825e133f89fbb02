//! The state of each alert. Pure: it takes `now`.
//!
//! - An alert is pending until its condition has held for `for`, and it is resolved when the condition has not held for
//!   `clear_for`.
//! - What is unknown changes nothing, and the time since the condition held continues.
//! - An alert that was resolved is remembered for a few minutes, so that receivers of states learn of its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use systole_shared::{AlertState, UnixMillis};

use super::subject::{About, AlertKey, Subject};
use crate::config::alerts::Rule;
use crate::model::NodeKey;

/// An alert that has ended is remembered for this long.
const REMEMBERED_MS: i64 = 300_000;

/// What a rule says of a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The condition holds. `since`: if that is known better than by looking.
    Holds { since: Option<UnixMillis>, value: Option<f64>, text: String },
    /// It does not hold.
    Clear { since: Option<UnixMillis> },
    /// It is not known.
    Unknown,
    /// There is nothing left that it could be about.
    Gone(&'static str),
}

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    pub rule: Arc<Rule>,
    pub subject: Subject,
    pub about: About,
    pub state: AlertState,
    /// Since when the condition holds.
    pub since: UnixMillis,
    pub fired_at: Option<UnixMillis>,
    pub ended_at: Option<UnixMillis>,
    /// Since when the condition no longer holds, while it fires.
    pub clear_since: Option<UnixMillis>,
    pub value: Option<f64>,
    pub text: String,
    /// Whether it is unknown now whether the condition holds.
    pub is_unknown: bool,
    /// Whether a message about its firing was written, and none about its end.
    pub is_notified: bool,
    pub notified_at: Option<UnixMillis>,
}

impl Alert {
    /// Its key.
    pub(crate) fn key(&self) -> AlertKey {
        AlertKey { rule: self.rule.name.clone(), subject: self.subject.clone() }
    }

    /// When it changes if nothing new is learned. A rule over minutes learns something with each of them.
    fn due(&self) -> Option<UnixMillis> {
        if self.rule.condition.is_over_minutes() { None } else { self.ready_at() }
    }

    /// When it has held, or not held, for long enough.
    fn ready_at(&self) -> Option<UnixMillis> {
        match self.state {
            AlertState::Pending => Some(self.since.saturating_add(ms(self.rule.hold))),
            AlertState::Firing => Some(self.clear_since?.saturating_add(ms(self.rule.clear))),
            AlertState::Resolved | AlertState::Cancelled => None,
        }
    }
}

/// All alerts.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    alerts: BTreeMap<AlertKey, Alert>,
    by_node: HashMap<NodeKey, BTreeSet<AlertKey>>,
    due: BTreeSet<(UnixMillis, AlertKey)>,
}

impl Engine {
    /// Takes an alert as it was stored.
    pub(crate) fn restore(&mut self, alert: Alert) {
        self.put(alert);
    }

    /// Alerts, also those that have ended not long ago.
    pub(crate) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// An alert that is pending or fires.
    pub(crate) fn active(&self, key: &AlertKey) -> Option<&Alert> {
        self.alerts.get(key).filter(|alert| alert.state.is_active())
    }

    /// Alerts about a node and its pipelines that are pending or fire.
    pub(crate) fn of_node(&self, node: NodeKey) -> Vec<AlertKey> {
        let keys = self.by_node.get(&node).into_iter().flatten();
        keys.filter(|key| self.active(key).is_some()).cloned().collect()
    }

    /// The time of the next change if nothing new is learned.
    pub(crate) fn next_due(&self) -> Option<UnixMillis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what a rule says of a subject. Returns the alert if its state has changed.
    pub(crate) fn observe(
        &mut self,
        rule: &Arc<Rule>,
        subject: &Subject,
        about: impl FnOnce() -> About,
        verdict: Verdict,
        now: UnixMillis,
    ) -> Option<Alert> {
        let key = AlertKey { rule: rule.name.clone(), subject: subject.clone() };
        let known = self.alerts.get(&key);
        let is_active = known.is_some_and(|alert| alert.state.is_active());
        match verdict {
            Verdict::Holds { since, value, text } if !is_active => {
                let before = known.filter(|alert| alert.is_notified);
                let since = since.unwrap_or(now).min(now);
                let alert = Alert {
                    rule: Arc::clone(rule),
                    subject: subject.clone(),
                    about: about(),
                    state: AlertState::Pending,
                    since,
                    fired_at: None,
                    ended_at: None,
                    clear_since: None,
                    value,
                    text,
                    is_unknown: false,
                    // It is back before its end was reported.
                    is_notified: before.is_some(),
                    notified_at: before.and_then(|alert| alert.notified_at),
                };
                self.put(alert);
                self.advance(&key, now).or_else(|| self.alerts.get(&key).cloned())
            }
            Verdict::Holds { value, text, .. } => {
                self.change(&key, |alert| {
                    (alert.value, alert.text, alert.is_unknown, alert.clear_since) = (value, text, false, None);
                });
                self.advance(&key, now)
            }
            _ if !is_active => None,
            Verdict::Unknown => {
                self.change(&key, |alert| alert.is_unknown = true);
                None
            }
            Verdict::Clear { since } => {
                let at = since.unwrap_or(now).min(now);
                self.change(&key, |alert| {
                    alert.is_unknown = false;
                    alert.clear_since = Some(alert.clear_since.map_or(at, |known| known.min(at)));
                });
                if self.alerts.get(&key).is_some_and(|alert| alert.state == AlertState::Pending) {
                    return self.end(&key, now);
                }
                self.advance(&key, now)
            }
            Verdict::Gone(reason) => {
                self.change(&key, |alert| reason.clone_into(&mut alert.text));
                self.end(&key, now)
            }
        }
    }

    /// Changes that are due. Each has the time at which it was due.
    pub(crate) fn tick(&mut self, now: UnixMillis) -> Vec<Alert> {
        let mut changed = Vec::new();
        let due: Vec<_> = self.due.iter().take_while(|(at, _)| *at <= now).cloned().collect();
        for (at, key) in due {
            // One that is unknown waits until something is known.
            self.due.remove(&(at, key.clone()));
            changed.extend(self.advance(&key, at));
        }
        changed
    }

    /// A message about alerts was written: those that fire, and those whose end it reports.
    pub(crate) fn mark_notified(&mut self, keys: &[AlertKey], now: UnixMillis) -> Vec<Alert> {
        let mut changed = Vec::new();
        for key in keys {
            let Some(alert) = self.alerts.get_mut(key) else { continue };
            alert.is_notified = alert.state == AlertState::Firing;
            alert.notified_at = Some(now);
            changed.push(alert.clone());
        }
        changed
    }

    /// Forgets alerts that ended a while ago and whose end was reported. Returns their keys.
    pub(crate) fn forget_ended(&mut self, now: UnixMillis) -> Vec<AlertKey> {
        let is_over = |alert: &Alert| {
            !alert.state.is_active()
                && !alert.is_notified
                && alert.ended_at.is_none_or(|ended| ended.saturating_add(REMEMBERED_MS) <= now)
        };
        let over: Vec<_> = self.alerts.values().filter(|alert| is_over(alert)).map(Alert::key).collect();
        over.iter().for_each(|key| self.remove(key));
        over
    }

    /// Pending becomes firing, and firing resolved, when it is time.
    fn advance(&mut self, key: &AlertKey, now: UnixMillis) -> Option<Alert> {
        let alert = self.alerts.get(key)?;
        if alert.ready_at().is_none_or(|ready| ready > now) || alert.is_unknown {
            return None;
        }
        if alert.state == AlertState::Firing {
            return self.end(key, now);
        }
        self.change(key, |alert| (alert.state, alert.fired_at) = (AlertState::Firing, Some(now)));
        self.alerts.get(key).cloned()
    }

    /// Ends an alert. One that did not fire is forgotten at once, unless its end is still to be reported.
    fn end(&mut self, key: &AlertKey, now: UnixMillis) -> Option<Alert> {
        self.change(key, |alert| {
            let has_fired = alert.state == AlertState::Firing || alert.is_notified;
            alert.state = if has_fired { AlertState::Resolved } else { AlertState::Cancelled };
            (alert.ended_at, alert.is_unknown) = (Some(now), false);
        });
        let ended = self.alerts.get(key).cloned()?;
        if ended.state == AlertState::Cancelled {
            self.remove(key);
        }
        Some(ended)
    }

    fn put(&mut self, alert: Alert) {
        let key = alert.key();
        self.remove(&key);
        if let Some(node) = alert.subject.node() {
            self.by_node.entry(node).or_default().insert(key.clone());
        }
        self.due.extend(alert.due().map(|at| (at, key.clone())));
        self.alerts.insert(key, alert);
    }

    fn change(&mut self, key: &AlertKey, change: impl FnOnce(&mut Alert)) {
        let Some(alert) = self.alerts.get_mut(key) else { return };
        if let Some(at) = alert.due() {
            self.due.remove(&(at, key.clone()));
        }
        change(alert);
        self.due.extend(alert.due().map(|at| (at, key.clone())));
    }

    fn remove(&mut self, key: &AlertKey) {
        let Some(alert) = self.alerts.remove(key) else { return };
        if let Some(at) = alert.due() {
            self.due.remove(&(at, key.clone()));
        }
        if let Some(node) = alert.subject.node()
            && let Some(keys) = self.by_node.get_mut(&node)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }
}

/// A duration in milliseconds.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
