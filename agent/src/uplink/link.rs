//! How the way to the collector does, for those who ask the agent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{EnvironmentId, NodeId, UnixMillis};
use tokio::sync::watch;

use super::fault::Fault;

/// Clocks that differ by more than this are told of; the collector corrects times beyond it.
const SKEW_TOLD_MS: i64 = 2_000;

/// The node as the collector knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeIdentity {
    /// The collector's id of this node.
    pub(crate) node_id: NodeId,
    /// The environment that the enrolment token was for.
    pub(crate) environment_id: EnvironmentId,
    /// Its name.
    pub(crate) environment_name: String,
}

/// Where the way to the collector stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LinkState {
    /// Nothing was answered yet, and nothing has failed.
    #[default]
    Connecting,
    /// The last request was answered.
    Connected,
    /// The last request failed; the agent tries again by itself.
    Away,
    /// The collector does not accept this node, which needs a person.
    Refused,
}

/// What is known of the way to the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    /// The node, once it is enrolled.
    pub(crate) node: Option<NodeIdentity>,
    /// Where it stands.
    pub(crate) state: LinkState,
    /// When the collector answered last, by this host's clock.
    pub(crate) acknowledged_at: Option<UnixMillis>,
    /// Why the last request that failed did, and when.
    pub(crate) last_error: Option<(String, UnixMillis)>,
    /// This host's clock ahead of the collector's.
    pub(crate) clock_skew_ms: Option<i64>,
}

/// The facts, shared.
#[derive(Debug)]
pub(crate) struct Link {
    facts: Mutex<LinkFacts>,
    /// For those who want to know at once.
    state: watch::Sender<LinkState>,
}

impl Link {
    /// Nothing is known but perhaps who the node is.
    pub(crate) fn new(node: Option<NodeIdentity>) -> Self {
        let facts = Mutex::new(LinkFacts { node, ..LinkFacts::default() });
        Link { facts, state: watch::Sender::new(LinkState::default()) }
    }

    /// What is known.
    pub(crate) fn facts(&self) -> LinkFacts {
        self.lock().clone()
    }

    /// Tells of every change of the state.
    pub(crate) fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// The collector has taken the host as this node.
    pub(super) fn enrolled(&self, node: NodeIdentity) {
        self.lock().node = Some(node);
    }

    /// The collector answered a request with reports that was sent at `sent_at` and took `took`; its
    /// clock said `collector_now` meanwhile. Returns whether it had failed before.
    pub(super) fn acknowledged(&self, sent_at: UnixMillis, took: Duration, collector_now: UnixMillis) -> bool {
        let mut facts = self.lock();
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        facts.acknowledged_at = Some(sent_at.saturating_add(took));
        // The answer was written somewhere between: its time is compared with the middle.
        let skew = sent_at.saturating_add(took / 2).saturating_sub(collector_now);
        let was_off = facts.clock_skew_ms.is_some_and(is_off);
        facts.clock_skew_ms = Some(skew);
        let failed_before = self.go(&mut facts, LinkState::Connected);
        drop(facts);
        if is_off(skew) && !was_off {
            tracing::warn!(
                skew_ms = skew,
                "this host's clock and the collector's differ (positive: this one is ahead); the collector corrects the reports' minutes, but set the clock (NTP)"
            );
        }
        failed_before
    }

    /// A request failed.
    pub(super) fn failed(&self, fault: &Fault, now: UnixMillis) {
        let mut facts = self.lock();
        facts.last_error = Some((cut(&fault.to_string(), MAX_SHORT_TEXT_BYTES).into_owned(), now));
        if facts.state != LinkState::Refused {
            self.go(&mut facts, LinkState::Away);
        }
    }

    /// The collector does not accept the node, and not for a moment only.
    pub(super) fn refused(&self) {
        self.go(&mut self.lock(), LinkState::Refused);
    }

    /// Returns whether the state before was a bad one.
    fn go(&self, facts: &mut LinkFacts, state: LinkState) -> bool {
        let before = std::mem::replace(&mut facts.state, state);
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
        matches!(before, LinkState::Away | LinkState::Refused)
    }

    fn lock(&self) -> MutexGuard<'_, LinkFacts> {
        // What is behind it is whole after every statement.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_off(skew_ms: i64) -> bool {
    skew_ms.saturating_abs() > SKEW_TOLD_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skew_is_measured_at_the_middle_of_the_request() {
        let link = Link::new(None);
        link.acknowledged(100_000, Duration::from_millis(400), 90_200);
        let facts = link.facts();
        assert_eq!((facts.clock_skew_ms, facts.acknowledged_at), (Some(10_000), Some(100_400)));
        link.acknowledged(100_000, Duration::ZERO, 100_500);
        assert_eq!(link.facts().clock_skew_ms, Some(-500));
    }

    #[test]
    fn an_answer_after_a_failure_is_a_reconnect_and_one_after_an_answer_is_none() {
        let link = Link::new(None);
        let answered = || link.acknowledged(1, Duration::ZERO, 1);
        assert!(!answered());
        link.failed(&Fault::TooLarge { is_collectors: true }, 7);
        assert_eq!((link.facts().state, link.facts().last_error.unwrap().1), (LinkState::Away, 7));
        assert!(answered());
        assert!(!answered());
        assert_eq!(link.facts().state, LinkState::Connected);
    }

    #[test]
    fn a_refused_node_stays_refused_until_it_is_answered() {
        let link = Link::new(None);
        link.refused();
        link.failed(&Fault::TooLarge { is_collectors: true }, 1);
        assert_eq!(link.facts().state, LinkState::Refused);
        link.acknowledged(1, Duration::ZERO, 1);
        assert_eq!(link.facts().state, LinkState::Connected);
    }
}
