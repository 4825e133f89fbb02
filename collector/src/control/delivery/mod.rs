//! How nodes learn what they should run: the generation of each node's desired state, and the push streams that
//! agents hold open.
//!
//! Generations are in memory, one per node of which something was ever wanted: the answer to each report has one. The
//! desired state itself is read from the database when an agent asks for it.

mod desired;
mod push;

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

pub(crate) use self::desired::{Unresolved, desired_state};
pub(crate) use self::push::{PushHub, PushStream};
use crate::model::NodeKey;

/// Generations, and the streams that report changes of them.
#[derive(Debug)]
pub(crate) struct Delivery {
    generations: RwLock<HashMap<NodeKey, u64>>,
    pub push: PushHub,
}

impl Delivery {
    /// With the generations that the database has.
    pub(crate) fn new(generations: Vec<(NodeKey, u64)>) -> Arc<Self> {
        let generations = RwLock::new(generations.into_iter().collect());
        Arc::new(Delivery { generations, push: PushHub::default() })
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
                    changed.push(*node);
                }
            }
        }
        self.push.wake(&changed);
    }

    /// Forgets a node that was removed, and ends its stream.
    pub(crate) fn forget(&self, node: NodeKey) {
        self.generations.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        self.push.disconnect(node);
    }
}
