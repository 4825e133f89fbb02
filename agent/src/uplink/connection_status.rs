//! The state of the connection to the collector, for the agent's own pages and its reports.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use tokio::sync::watch;

use super::request_error::RequestError;
use crate::model::node::NodeIdentity;

/// A larger difference of the clocks is logged; the collector corrects times beyond it.
const MAX_CLOCK_SKEW_MS: i64 = 2_000;

/// Where the connection to the collector stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConnectionState {
    /// Nothing was answered yet, and nothing has failed.
    #[default]
    Connecting,
    /// The last request was answered.
    Connected,
    /// The last request failed; the agent tries again by itself.
    #[serde(rename = "away")]
    Disconnected,
    /// The collector does not accept this node, which needs an operator.
    Refused,
}

/// The facts of the connection to the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionFacts {
    /// The node, once it is enrolled.
    pub(crate) node: Option<NodeIdentity>,
    /// Where it stands.
    pub(crate) state: ConnectionState,
    /// Time of the collector's last answer, by this host's clock.
    pub(crate) acknowledged_at: Option<UnixMillis>,
    /// The last error of a request, and its time.
    pub(crate) last_error: Option<(String, UnixMillis)>,
    /// This host's clock ahead of the collector's.
    pub(crate) clock_skew_ms: Option<i64>,
}

/// The facts, shared.
#[derive(Debug)]
pub(crate) struct ConnectionStatus {
    facts: Mutex<ConnectionFacts>,
    /// For tasks that wait for a change.
    state: watch::Sender<ConnectionState>,
}

impl ConnectionStatus {
    /// Nothing is known but perhaps the identity of the node.
    pub(crate) fn new(node: Option<NodeIdentity>) -> Self {
        let facts = Mutex::new(ConnectionFacts { node, ..ConnectionFacts::default() });
        ConnectionStatus { facts, state: watch::Sender::new(ConnectionState::default()) }
    }

    /// The facts.
    pub(crate) fn facts(&self) -> ConnectionFacts {
        self.lock().clone()
    }

    /// Tells of every change of the state.
    pub(crate) fn watch(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// The collector has taken the host as this node.
    pub(super) fn set_node(&self, node: NodeIdentity) {
        self.lock().node = Some(node);
    }

    /// The collector answered a request with reports that was sent at `sent_at` and took `took`; its
    /// clock said `collector_now` meanwhile, if its protocol shows it. Returns whether it had failed before.
    pub(super) fn record_ack(&self, sent_at: UnixMillis, took: Duration, collector_now: Option<UnixMillis>) -> bool {
        let mut facts = self.lock();
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        facts.acknowledged_at = Some(sent_at.saturating_add(took));
        // The answer was written somewhere between: its time is compared with the middle.
        let skew = collector_now.map(|now| sent_at.saturating_add(took / 2).saturating_sub(now));
        let was_off = facts.clock_skew_ms.is_some_and(is_off);
        facts.clock_skew_ms = skew;
        let failed_before = self.set_state(&mut facts, ConnectionState::Connected);
        drop(facts);
        if let Some(skew) = skew.filter(|skew| is_off(*skew) && !was_off) {
            tracing::warn!(
                skew_ms = skew,
                "this host's clock differs from the collector's (positive: this one is ahead); the collector corrects the minutes of reports, but fix the clock (NTP)"
            );
        }
        failed_before
    }

    /// A request failed.
    pub(super) fn record_failure(&self, error: &RequestError, now: UnixMillis) {
        let mut facts = self.lock();
        facts.last_error = Some((cut(&error.to_string(), MAX_SHORT_TEXT_BYTES).into_owned(), now));
        if facts.state != ConnectionState::Refused {
            self.set_state(&mut facts, ConnectionState::Disconnected);
        }
    }

    /// The collector does not accept the node, and not for a moment only.
    pub(super) fn set_refused(&self) {
        self.set_state(&mut self.lock(), ConnectionState::Refused);
    }

    /// Returns whether the state before was a bad one.
    fn set_state(&self, facts: &mut ConnectionFacts, state: ConnectionState) -> bool {
        let before = std::mem::replace(&mut facts.state, state);
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
        matches!(before, ConnectionState::Disconnected | ConnectionState::Refused)
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionFacts> {
        // What is after it is whole after every statement.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_off(skew_ms: i64) -> bool {
    skew_ms.saturating_abs() > MAX_CLOCK_SKEW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_skew_is_measured_at_mid_request() {
        let connection = ConnectionStatus::new(None);
        connection.record_ack(100_000, Duration::from_millis(400), Some(90_200));
        let facts = connection.facts();
        assert_eq!((facts.clock_skew_ms, facts.acknowledged_at), (Some(10_000), Some(100_400)));
        connection.record_ack(100_000, Duration::ZERO, Some(100_500));
        assert_eq!(connection.facts().clock_skew_ms, Some(-500));
    }

    #[test]
    fn response_after_a_failure_is_a_reconnect() {
        let connection = ConnectionStatus::new(None);
        let answered = || connection.record_ack(1, Duration::ZERO, Some(1));
        assert!(!answered());
        connection.record_failure(&RequestError::TooLarge { is_collectors: true }, 7);
        assert_eq!(
            (connection.facts().state, connection.facts().last_error.unwrap().1),
            (ConnectionState::Disconnected, 7)
        );
        assert!(answered());
        assert!(!answered());
        assert_eq!(connection.facts().state, ConnectionState::Connected);
    }

    #[test]
    fn refused_node_stays_refused_until_a_response() {
        let connection = ConnectionStatus::new(None);
        connection.set_refused();
        connection.record_failure(&RequestError::TooLarge { is_collectors: true }, 1);
        assert_eq!(connection.facts().state, ConnectionState::Refused);
        connection.record_ack(1, Duration::ZERO, Some(1));
        assert_eq!(connection.facts().state, ConnectionState::Connected);
    }
}
