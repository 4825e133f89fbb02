//! Sorted and filtered lists of all nodes and pipelines, out of memory.
//!
//! A list is ranked on request: ten thousand nodes take a few milliseconds. `order` says what comes after what, `nodes` and
//! `pipelines` what is listed, and `severity` which state is worse.

pub(crate) mod nodes;
pub(crate) mod order;
pub(crate) mod pipelines;
pub(crate) mod severity;

use crate::auth::Scope;
use crate::model::directory::ListedNode;
use crate::model::selector::Selector;

/// Which nodes a list is made of.
#[derive(Clone, Debug)]
pub(crate) struct Among {
    pub scope: Scope,
    /// Labels that the nodes have.
    pub selector: Option<Selector>,
}

impl Among {
    fn includes(&self, node: &ListedNode) -> bool {
        self.scope.includes(node.entry.environment)
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&node.entry.labels))
    }
}
