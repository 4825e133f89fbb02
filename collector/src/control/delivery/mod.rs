//! How nodes learn what they should run: the generation of each node's desired state, and the push streams that
//! agents hold open.
//!
//! Generations are in memory, one per node of which something was ever wanted: the answer to each report has one. The
//! desired state itself is read from the database when an agent asks for it. `encode` has the forms of both that
//! agents read.

mod desired;
pub(crate) mod encode;
mod handed_out;
mod push;
mod yaml;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;
use systole_shared::PipelineId;
use tokio::sync::broadcast;

pub(crate) use self::desired::{Unresolved, desired_state};
use self::handed_out::HandedOut;
pub(crate) use self::push::{PushHub, PushStream};
use crate::model::NodeKey;
use crate::model::report::GivenVersion;

/// Generations, and the streams that report changes of them.
#[derive(Debug)]
pub(crate) struct Delivery {
    generations: RwLock<HashMap<NodeKey, u64>>,
    handed_out: HandedOut,
    pub push: PushHub,
    /// Generations that are new, for collectors that follow this one.
    changes: broadcast::Sender<Vec<(NodeKey, u64)>>,
}

/// Changes that may wait for the task that hands them on.
const CHANGES: usize = 64;

impl Delivery {
    /// With the generations that the database has.
    pub(crate) fn new(generations: Vec<(NodeKey, u64)>) -> Arc<Self> {
        let generations = RwLock::new(generations.into_iter().collect());
        let (handed_out, push, changes) = (HandedOut::default(), PushHub::default(), broadcast::Sender::new(CHANGES));
        Arc::new(Delivery { generations, handed_out, push, changes })
    }

    /// Generations that are new from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Vec<(NodeKey, u64)>> {
        self.changes.subscribe()
    }

    /// The generation of a node's desired state; `None` when nothing was ever wanted of it.
    pub(crate) fn generation(&self, node: NodeKey) -> Option<u64> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Takes over generations that were committed, and sends those that are new to the nodes' streams.
    pub(crate) fn update(&self, generations: &[(NodeKey, u64)]) {
        let mut changed = Vec::new();
        {
            let mut known = self.generations.write().unwrap_or_else(PoisonError::into_inner);
            for (node, generation) in generations {
                if known.insert(*node, *generation) != Some(*generation) {
                    changed.push((*node, *generation));
                }
            }
        }
        if changed.is_empty() {
            return;
        }
        self.push.wake(&changed.iter().map(|(node, _)| *node).collect::<Vec<_>>());
        // Without a receiver there is nothing to do.
        let _ = self.changes.send(changed);
    }

    /// Remembers what an agent that states no progress received.
    pub(crate) fn set_given(&self, node: NodeKey, generation: u64, versions: Vec<GivenVersion>) {
        self.handed_out.set(node, generation, versions);
    }

    /// What such an agent received last; `None` when it has not polled this process yet.
    pub(crate) fn given(&self, node: NodeKey) -> Option<Arc<[GivenVersion]>> {
        self.handed_out.versions(node)
    }

    /// The generation of what it received last.
    fn given_generation(&self, node: NodeKey) -> Option<u64> {
        self.handed_out.generation(node)
    }

    /// Leaves a pipeline out of the next answer to a poll, and lets the agent poll now. It stops the pipeline, and
    /// starts it again after the answer to that.
    pub(crate) fn leave_out_once(&self, node: NodeKey, pipeline: PipelineId) {
        self.handed_out.leave_out(node, pipeline);
        self.push.repeat(node);
    }

    /// The pipelines to leave out of this answer.
    pub(crate) fn take_left_out(&self, node: NodeKey) -> BTreeSet<PipelineId> {
        self.handed_out.take_left_out(node)
    }

    /// Forgets a node that was removed, and ends its stream.
    pub(crate) fn forget(&self, node: NodeKey) {
        self.generations.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        self.handed_out.forget(node);
        self.push.disconnect(node);
    }
}
