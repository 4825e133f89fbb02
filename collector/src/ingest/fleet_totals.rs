//! Numbers about all nodes of an environment: the event `fleet_totals`.
//!
//! Each node has a share, which is exchanged when something of the node was committed. So a report costs the same in a
//! fleet of ten thousand nodes as in one of ten, and the event is never out of step with the states that it counts. Shares
//! are whole numbers: sums of fractions would drift.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foldhash::HashMap;
use systole_shared::events::FleetTotals;
use systole_shared::{EnvironmentId, NodeStatus, PipelineStatus, UnixMillis};
use tokio::time::Instant;

use super::state::{IngestState, NodeState};
use crate::model::{EnvironmentKey, NodeKey, Throughput};

/// The least time between two events of an environment.
const PERIOD: Duration = Duration::from_secs(1);

/// The part of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    environment: EnvironmentKey,
    status: NodeStatus,
    pipelines: BTreeMap<PipelineStatus, i64>,
    throughput: Throughput,
}

impl Share {
    fn of(node: &NodeState) -> Self {
        let mut pipelines = BTreeMap::new();
        for pipeline in node.pipelines.values().filter(|pipeline| pipeline.is_present()) {
            *pipelines.entry(pipeline.status).or_default() += 1;
        }
        Share { environment: node.environment, status: node.status, pipelines, throughput: node.throughput }
    }
}

/// The sum of an environment's shares.
#[derive(Debug, Default)]
struct Sum {
    nodes: BTreeMap<NodeStatus, i64>,
    pipelines: BTreeMap<PipelineStatus, i64>,
    throughput: Throughput,
}

impl Sum {
    /// Adds a share, or with `sign` -1 takes it away.
    fn add(&mut self, share: &Share, sign: i64) {
        *self.nodes.entry(share.status).or_default() += sign;
        for (status, count) in &share.pipelines {
            *self.pipelines.entry(*status).or_default() += sign * count;
        }
        let (sum, part) = (&mut self.throughput, share.throughput);
        sum.events_in += sign * part.events_in;
        sum.events_out += sign * part.events_out;
        sum.errors += sign * part.errors;
        sum.discarded += sign * part.discarded;
    }
}

/// The totals of every environment.
#[derive(Debug)]
pub(crate) struct TotalsByEnvironment {
    shares: HashMap<NodeKey, Share>,
    sums: HashMap<EnvironmentKey, Sum>,
    /// Environments whose totals have changed since their last event.
    changed: BTreeSet<EnvironmentKey>,
    /// When the next events are due.
    next: Instant,
}

impl TotalsByEnvironment {
    /// The totals of a state as it was loaded.
    pub(crate) fn of(state: &IngestState, now: Instant) -> Self {
        let mut totals = TotalsByEnvironment {
            shares: HashMap::default(),
            sums: HashMap::default(),
            changed: BTreeSet::new(),
            next: now,
        };
        state.nodes.values().for_each(|node| totals.put(node));
        totals
    }

    /// Exchanges the share of a node.
    pub(crate) fn put(&mut self, node: &NodeState) {
        let share = Share::of(node);
        if self.shares.get(&node.key) == Some(&share) {
            return;
        }
        self.remove(node.key);
        self.sums.entry(share.environment).or_default().add(&share, 1);
        self.changed.insert(share.environment);
        self.shares.insert(node.key, share);
    }

    /// Takes the share of a node away.
    pub(crate) fn remove(&mut self, node: NodeKey) {
        let Some(share) = self.shares.remove(&node) else { return };
        if let Some(sum) = self.sums.get_mut(&share.environment) {
            sum.add(&share, -1);
        }
        self.changed.insert(share.environment);
    }

    /// When events are due; `None` while nothing has changed.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        (!self.changed.is_empty()).then_some(self.next)
    }

    /// Takes the environments whose events are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> BTreeSet<EnvironmentKey> {
        if self.changed.is_empty() || now < self.next {
            return BTreeSet::new();
        }
        self.next = now + PERIOD;
        std::mem::take(&mut self.changed)
    }

    /// The event of an environment.
    pub(crate) fn event(&self, environment: EnvironmentKey, id: EnvironmentId, at: UnixMillis) -> FleetTotals {
        fn counts<K: Ord + Copy>(counts: &BTreeMap<K, i64>) -> BTreeMap<K, u64> {
            let positive =
                |(key, count): (&K, &i64)| Some((*key, u64::try_from(*count).ok().filter(|count| *count > 0)?));
            counts.iter().filter_map(positive).collect()
        }
        let rate = |thousandths: i64| thousandths as f64 / 1_000.0;
        let empty = Sum::default();
        let sum = self.sums.get(&environment).unwrap_or(&empty);
        FleetTotals {
            environment_id: id,
            timestamp: at,
            nodes: counts(&sum.nodes),
            pipelines: counts(&sum.pipelines),
            events_in_rate: rate(sum.throughput.events_in),
            events_out_rate: rate(sum.throughput.events_out),
            errors_rate: rate(sum.throughput.errors),
            discarded_rate: rate(sum.throughput.discarded),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENVIRONMENT: EnvironmentKey = EnvironmentKey(1);

    fn share(status: NodeStatus, running: i64, rate: i64) -> Share {
        let pipelines = BTreeMap::from([(PipelineStatus::Running, running), (PipelineStatus::Crashed, 1)]);
        let throughput = Throughput { events_in: rate, events_out: rate / 2, errors: 1, discarded: 0 };
        Share { environment: ENVIRONMENT, status, pipelines, throughput }
    }

    proptest! {
        #[test]
        fn sum_of_exchanged_shares_is_the_sum_of_the_last_ones(
            steps in prop::collection::vec((0_i64..5, any::<bool>(), 0_i64..4, 0_i64..1_000_000), 1..60),
        ) {
            let (mut sum, mut last) = (Sum::default(), BTreeMap::new());
            for (node, is_healthy, running, rate) in steps {
                let status = if is_healthy { NodeStatus::Healthy } else { NodeStatus::Degraded };
                let share = share(status, running, rate);
                sum.add(&share, 1);
                if let Some(old) = last.insert(node, share) {
                    sum.add(&old, -1);
                }
            }
            let mut expected = Sum::default();
            last.values().for_each(|share| expected.add(share, 1));
            prop_assert_eq!(sum.throughput, expected.throughput);
            prop_assert_eq!(sum.nodes.values().sum::<i64>(), last.len() as i64);
            let running = |sum: &Sum| sum.pipelines.get(&PipelineStatus::Running).copied();
            prop_assert_eq!(running(&sum), running(&expected));
        }
    }
}
