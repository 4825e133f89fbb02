//! The newest conflated event of each node and pipeline, and of the environment.
//!
//! A subscriber that has waited or was too slow needs only these. One poll returns them in the order of
//! their sequence numbers, without the older events in between.
//!
//! Durable events are sent at once. Conflated ones wait for `every`, then the newest of each node and
//! pipeline is sent. A conflated event that durable events have passed has no `id:` line, so that the
//! position of the client does not go back. After a reconnect such an event can arrive a second time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use systole_shared::{NodeId, PipelineId};
use tokio::time::Instant;

use super::frame::Frame;

/// Time for which the newest event is kept when no newer one comes: longer than any subscriber waits (60
/// s), or may take nothing (30 s).
const KEPT: Duration = Duration::from_secs(95);

/// Newest events by their sequence numbers. As many as there are nodes and pipelines that report.
#[derive(Debug, Default)]
pub(super) struct ConflationTable {
    by_seq: BTreeMap<u64, Arc<Frame>>,
    seqs: HashMap<Subject, u64, RandomState>,
}

impl ConflationTable {
    /// Puts an event in the place of the one that it replaces.
    pub(super) fn put(&mut self, frame: Arc<Frame>) {
        if let Some(old) = self.seqs.insert(key(&frame), frame.seq) {
            self.by_seq.remove(&old);
        }
        self.by_seq.insert(frame.seq, frame);
    }

    /// Removes events that no subscriber can need any more.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.by_seq.first_entry().filter(|oldest| now > oldest.get().published + KEPT) {
            self.seqs.remove(&key(oldest.get()));
            oldest.remove();
        }
    }

    /// The newest events behind a sequence number.
    pub(super) fn behind(&self, seq: u64) -> impl Iterator<Item = &Arc<Frame>> {
        self.by_seq.range(seq + 1..).map(|(_, frame)| frame)
    }
}

/// What an event replaces an older one of: a node, a pipeline of it, or the environment of the table.
type Subject = (Option<NodeId>, Option<PipelineId>);

fn key(frame: &Frame) -> Subject {
    (frame.node, frame.pipeline.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hub::tests::frame_of;
    use super::*;

    proptest! {
        #[test]
        fn conflation_table_returns_latest_events_in_order(
            nodes in prop::collection::vec(0_u128..6, 0..60),
            after in 0_u64..60,
        ) {
            let mut latest = ConflationTable::default();
            for (seq, node) in (1..).zip(&nodes) {
                latest.put(Arc::new(frame_of(seq, *node, Instant::now())));
            }
            let newest = |seq: &u64| {
                let node = nodes[*seq as usize - 1];
                !nodes[*seq as usize..].contains(&node)
            };
            let expected: Vec<u64> = (1..=nodes.len() as u64).filter(|seq| *seq > after).filter(newest).collect();
            let seen: Vec<u64> = latest.behind(after).map(|frame| frame.seq).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn conflation_table_forgets_removed_pipelines() {
        let mut latest = ConflationTable::default();
        latest.put(Arc::new(frame_of(1, 1, Instant::now())));
        tokio::time::advance(KEPT).await;
        latest.put(Arc::new(frame_of(2, 2, Instant::now())));
        latest.expire(Instant::now());
        assert_eq!(latest.by_seq.len(), 2, "it may still be wanted");
        tokio::time::advance(Duration::from_secs(1)).await;
        latest.expire(Instant::now());
        assert_eq!(latest.by_seq.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(latest.seqs.len(), 1);
    }
}
