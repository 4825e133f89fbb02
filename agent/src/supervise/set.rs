//! Which pipelines the node has now; a reload changes that.

use std::sync::{Arc, Mutex};

use super::{Pipeline, lock};

/// The pipelines of this node, in the configuration's order.
#[derive(Default)]
pub(crate) struct PipelineSet(Mutex<Arc<[Arc<Pipeline>]>>);

impl PipelineSet {
    /// All of them as they are now; a reload makes another list and leaves this one as it is.
    pub(crate) fn all(&self) -> Arc<[Arc<Pipeline>]> {
        lock(&self.0).clone()
    }

    /// Puts another list in the place of this one.
    pub(crate) fn replace(&self, pipelines: Vec<Arc<Pipeline>>) {
        *lock(&self.0) = pipelines.into();
    }
}
