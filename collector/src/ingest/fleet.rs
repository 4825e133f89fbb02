//! The live nodes, as last committed; `tasks::liveness` detects silent ones.
//!
//! Silence is measured by the monotonic clock: a clock that jumps must not mark a fleet. A node
//! that this process has no report of yet has the grace period after the start, because agents
//! may need two intervals to come back to a collector that was away; so do all while nothing can be committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use systole_shared::NodeStatus;
use tokio::time::Instant;

use crate::model::NodeKey;

/// Intervals without a report until a node is UNREACHABLE.
const SILENT_INTERVALS: u32 = 3;

/// Intervals after its last report in which an agent may still run. It reports each interval, and after a
/// failed request within two.
const CLAIM_INTERVALS: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Presence {
    /// When silence from then on counts.
    alive_until: Instant,
    status: NodeStatus,
    /// The last report to this process.
    reported_at: Option<Instant>,
    /// When an agent may have become this node: its last enrolment, or the start of this process unless the node
    /// was silent before.
    claimed_at: Option<Instant>,
}

/// The nodes as last committed.
#[derive(Debug)]
pub(crate) struct Fleet {
    nodes: Mutex<HashMap<NodeKey, Presence>>,
    interval: Duration,
    silence: Duration,
    /// Time in which agents reconnect after an absence of the collector.
    grace: Duration,
}

impl Fleet {
    /// The nodes that the database knows, each with the grace period from now on.
    pub(crate) fn new(
        known: impl Iterator<Item = (NodeKey, NodeStatus)>,
        interval: Duration,
        grace: Duration,
        now: Instant,
    ) -> Self {
        let silence = interval * SILENT_INTERVALS;
        let grace = grace.max(silence);
        let presence = |status: NodeStatus| Presence {
            alive_until: now + grace,
            status,
            reported_at: None,
            claimed_at: (!status.is_silent()).then_some(now),
        };
        let nodes = known.map(|(key, status)| (key, presence(status)));
        Fleet { nodes: Mutex::new(nodes.collect()), interval, silence, grace }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeKey, Presence>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database knows, after another process may have led. A node that this one heard of keeps its time, and
    /// has at least that of two reports for its agent to find the new leader. Any other has the grace period.
    pub(crate) fn renew(&self, known: impl Iterator<Item = (NodeKey, NodeStatus)>, now: Instant) {
        let mut nodes = self.lock();
        let mut before = std::mem::take(&mut *nodes);
        for (key, status) in known {
            let presence = match before.remove(&key) {
                Some(heard) if heard.reported_at.is_some() => {
                    let alive_until = heard.alive_until.max(now + self.interval * CLAIM_INTERVALS);
                    Presence { alive_until, status, ..heard }
                }
                _ => Presence {
                    alive_until: now + self.grace,
                    status,
                    reported_at: None,
                    claimed_at: (!status.is_silent()).then_some(now),
                },
            };
            nodes.insert(key, presence);
        }
    }

    /// A report of the node was committed.
    pub(crate) fn record_report(&self, node: NodeKey, status: NodeStatus, now: Instant) {
        let mut nodes = self.lock();
        let presence = nodes.entry(node).or_insert(Presence::new(now));
        *presence = Presence { alive_until: now + self.silence, status, reported_at: Some(now), ..*presence };
    }

    /// The node was enrolled; it has as long as between two reports for its first one.
    pub(crate) fn enrolled(&self, node: NodeKey, now: Instant) {
        let presence = Presence { alive_until: now + self.silence, ..Presence::new(now) };
        self.lock().entry(node).or_insert(presence).claimed_at = Some(now);
    }

    /// Reserves a node for an agent that enrols, unless another one may be it. An agent may be a node for
    /// [`CLAIM_INTERVALS`] after its last report or its own enrolment. Of two that ask at once one gets it.
    pub(crate) fn try_claim(&self, node: NodeKey, now: Instant) -> bool {
        let mut nodes = self.lock();
        let presence = nodes.entry(node).or_insert(Presence::new(now));
        let last_sign = presence.reported_at.max(presence.claimed_at);
        let is_quiet = last_sign.is_none_or(|at| now >= at + self.interval * CLAIM_INTERVALS);
        // One that was marked has no agent, unless one has claimed it and has not reported yet.
        let is_marked = presence.status.is_silent() && presence.claimed_at < presence.reported_at;
        if is_quiet || is_marked {
            presence.claimed_at = Some(now);
        }
        is_quiet || is_marked
    }

    /// Whether the node has reported since then.
    pub(crate) fn has_reported_since(&self, node: NodeKey, since: Instant) -> bool {
        self.lock().get(&node).and_then(|presence| presence.reported_at).is_some_and(|at| at > since)
    }

    /// Whether the node is UNREACHABLE or OFFLINE. One that is not known here has not reported yet.
    pub(crate) fn is_silent(&self, node: NodeKey) -> bool {
        self.lock().get(&node).is_none_or(|presence| presence.status.is_silent())
    }

    /// The node was marked without a report.
    pub(crate) fn set_status(&self, node: NodeKey, status: NodeStatus) {
        if let Some(presence) = self.lock().get_mut(&node) {
            presence.status = status;
        }
    }

    /// The node was removed.
    pub(crate) fn remove(&self, node: NodeKey) {
        self.lock().remove(&node);
    }

    /// A report of the node could not be committed: its agent backs off now, and has the grace period of a start.
    pub(crate) fn excuse(&self, node: NodeKey, now: Instant) {
        if let Some(presence) = self.lock().get_mut(&node) {
            presence.alive_until = presence.alive_until.max(now + self.grace);
        }
    }

    /// Nothing can be committed: the same for every node.
    pub(crate) fn excuse_all(&self, now: Instant) {
        for presence in self.lock().values_mut() {
            presence.alive_until = presence.alive_until.max(now + self.grace);
        }
    }

    /// Whether a node has been silent for too long and is not marked yet.
    pub(crate) fn is_overdue(&self, node: NodeKey, now: Instant) -> bool {
        self.lock().get(&node).is_some_and(|presence| presence.is_overdue(now))
    }

    /// All such nodes.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<NodeKey> {
        let nodes = self.lock();
        nodes.iter().filter(|(_, presence)| presence.is_overdue(now)).map(|(key, _)| *key).collect()
    }

    /// The number of nodes in each state.
    pub(crate) fn count_by_status(&self) -> [(NodeStatus, i64); NodeStatus::ALL.len()] {
        let nodes = self.lock();
        NodeStatus::ALL.map(|status| {
            let count = nodes.values().filter(|presence| presence.status == status).count();
            (status, i64::try_from(count).unwrap_or(i64::MAX))
        })
    }

    /// The interval of reports.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The allowed silence, for the reason of a status change.
    pub(crate) fn silence(&self) -> Duration {
        self.silence
    }
}

impl Presence {
    fn new(now: Instant) -> Self {
        Presence { alive_until: now, status: NodeStatus::Unknown, reported_at: None, claimed_at: None }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        !self.status.is_silent() && now >= self.alive_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn node_is_overdue_after_three_silent_intervals() {
        let fleet = Fleet::new(std::iter::empty(), INTERVAL, Duration::ZERO, Instant::now());
        fleet.record_report(NodeKey(1), NodeStatus::Healthy, Instant::now());
        tokio::time::advance(Duration::from_millis(14_999)).await;
        assert!(!fleet.is_overdue(NodeKey(1), Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(fleet.overdue(Instant::now()), [NodeKey(1)]);
        fleet.set_status(NodeKey(1), NodeStatus::Unreachable);
        assert!(fleet.overdue(Instant::now()).is_empty(), "marked once, not every second");
        fleet.record_report(NodeKey(1), NodeStatus::Healthy, Instant::now());
        assert!(!fleet.is_overdue(NodeKey(1), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn node_is_claimed_once_and_only_when_no_agent_may_be_it() {
        let known = [(NodeKey(1), NodeStatus::Healthy), (NodeKey(2), NodeStatus::Unreachable)];
        let fleet = Fleet::new(known.into_iter(), INTERVAL, Duration::ZERO, Instant::now());
        let claim = |key| fleet.try_claim(NodeKey(key), Instant::now());
        assert!(!claim(1), "its agent may come back to this process");
        assert!(claim(2), "it was silent before");
        assert!(!claim(2), "the other one has it");
        tokio::time::advance(INTERVAL * 2).await;
        assert!(claim(1) && claim(2), "neither has reported");
        fleet.record_report(NodeKey(1), NodeStatus::Healthy, Instant::now());
        tokio::time::advance(INTERVAL).await;
        assert!(!claim(1), "its agent is alive");
        fleet.record_report(NodeKey(1), NodeStatus::Offline, Instant::now());
        assert!(claim(1), "its agent has stopped in order");
        assert!(!claim(1));
    }

    #[tokio::test(start_paused = true)]
    async fn offline_node_is_not_overdue() {
        let fleet = Fleet::new(std::iter::empty(), INTERVAL, Duration::ZERO, Instant::now());
        fleet.record_report(NodeKey(1), NodeStatus::Offline, Instant::now());
        tokio::time::advance(INTERVAL * 10).await;
        assert!(fleet.overdue(Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn node_is_not_overdue_while_the_database_fails() {
        let fleet = Fleet::new(std::iter::empty(), INTERVAL, Duration::from_secs(60), Instant::now());
        fleet.record_report(NodeKey(1), NodeStatus::Healthy, Instant::now());
        tokio::time::advance(Duration::from_secs(20)).await;
        fleet.excuse_all(Instant::now());
        assert!(!fleet.is_overdue(NodeKey(1), Instant::now()), "its report may have been in the failed transaction");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!fleet.is_overdue(NodeKey(1), Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(fleet.is_overdue(NodeKey(1), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn new_leader_remembers_when_it_heard_of_a_node() {
        let fleet = Fleet::new(std::iter::empty(), INTERVAL, Duration::from_secs(60), Instant::now());
        for key in [1, 2, 4] {
            fleet.record_report(NodeKey(key), NodeStatus::Healthy, Instant::now());
        }
        tokio::time::advance(Duration::from_secs(14)).await;
        fleet.record_report(NodeKey(2), NodeStatus::Healthy, Instant::now());
        let known = [1, 2, 3].map(|key| (NodeKey(key), NodeStatus::Healthy));
        fleet.renew(known.into_iter(), Instant::now());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(fleet.overdue(Instant::now()).is_empty(), "two intervals are for the way to the new leader");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.overdue(Instant::now()), [NodeKey(1)], "and 4 was removed");
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(fleet.is_overdue(NodeKey(3), Instant::now()), "the grace is for one that this process never heard of");
    }

    #[tokio::test(start_paused = true)]
    async fn startup_grace_covers_silent_nodes_only() {
        let known = [(NodeKey(1), NodeStatus::Healthy), (NodeKey(2), NodeStatus::Healthy)];
        let fleet = Fleet::new(known.into_iter(), INTERVAL, Duration::from_secs(60), Instant::now());
        fleet.record_report(NodeKey(2), NodeStatus::Healthy, Instant::now());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(fleet.overdue(Instant::now()), [NodeKey(2)]);
        tokio::time::advance(Duration::from_secs(45)).await;
        assert!(fleet.is_overdue(NodeKey(1), Instant::now()));
    }
}
