//! What agents that state no progress received to run. Their reports are compared with it.
//!
//! It is in memory only: such an agent polls before each report, so a collector that has just started knows it before
//! it is needed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use systole_shared::PipelineId;

use crate::model::NodeKey;
use crate::model::report::GivenVersion;

/// By node; one entry for each that polls.
#[derive(Debug, Default)]
pub(super) struct HandedOut {
    nodes: Mutex<HashMap<NodeKey, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The generation of the last answer, and what was in it.
    last: Option<(u64, Arc<[GivenVersion]>)>,
    /// Pipelines that the next answer leaves out, so that the agent stops them.
    left_out: BTreeSet<PipelineId>,
}

impl HandedOut {
    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeKey, Entry>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self, node: NodeKey) -> Option<u64> {
        self.nodes().get(&node)?.last.as_ref().map(|(generation, _)| *generation)
    }

    pub(super) fn versions(&self, node: NodeKey) -> Option<Arc<[GivenVersion]>> {
        self.nodes().get(&node)?.last.as_ref().map(|(_, versions)| Arc::clone(versions))
    }

    /// Remembers an answer. One of the generation before is not new: the agent polls all the time.
    pub(super) fn set(&self, node: NodeKey, generation: u64, versions: Vec<GivenVersion>) {
        let mut nodes = self.nodes();
        let last = &mut nodes.entry(node).or_default().last;
        if last.as_ref().is_none_or(|(known, _)| *known != generation) {
            *last = Some((generation, versions.into()));
        }
    }

    pub(super) fn leave_out(&self, node: NodeKey, pipeline: PipelineId) {
        self.nodes().entry(node).or_default().left_out.insert(pipeline);
    }

    pub(super) fn take_left_out(&self, node: NodeKey) -> BTreeSet<PipelineId> {
        self.nodes().get_mut(&node).map(|entry| std::mem::take(&mut entry.left_out)).unwrap_or_default()
    }

    pub(super) fn forget(&self, node: NodeKey) {
        self.nodes().remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::Given;

    const NODE: NodeKey = NodeKey(1);

    #[test]
    fn answer_of_the_same_generation_is_not_new() {
        let handed_out = HandedOut::default();
        let orders = PipelineId::parse("orders").unwrap();
        let answer = |given_at| {
            let pipeline = orders.clone();
            vec![GivenVersion { pipeline, version: 1, healthy_for_ms: 1, given: Given::Paused, given_at }]
        };
        let given_at = || handed_out.versions(NODE).map(|versions| versions[0].given_at);
        assert_eq!((given_at(), handed_out.generation(NODE)), (None, None));
        handed_out.leave_out(NODE, orders.clone());
        assert_eq!(handed_out.generation(NODE), None, "it has polled nothing yet");
        for (generation, at, expected) in [(7, 100, 100), (7, 200, 100), (8, 300, 300), (7, 400, 400)] {
            handed_out.set(NODE, generation, answer(at));
            assert_eq!((given_at(), handed_out.generation(NODE)), (Some(expected), Some(generation)));
        }
        assert_eq!(handed_out.take_left_out(NODE), [orders].into());
        assert!(handed_out.take_left_out(NODE).is_empty());
        handed_out.forget(NODE);
        assert_eq!(given_at(), None);
    }
}
