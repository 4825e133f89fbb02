//! Samples that an agent answers component by component.

use systole_shared::action::{ActionOutput, ActionRequest};
use uuid::Uuid;

use super::Actions;
use crate::model::NodeKey;

/// The components that are still to answer, and what was heard of the others.
#[derive(Debug, Default)]
pub(super) struct Parts {
    components: Vec<String>,
    /// Events of each component.
    limit: usize,
    has_events: bool,
    errors: Vec<String>,
}

impl Parts {
    pub(super) fn of(request: &ActionRequest) -> Self {
        match request {
            ActionRequest::Sample { components, limit, .. } => Parts {
                components: components.clone(),
                limit: limit.div_ceil(components.len().max(1)),
                ..Parts::default()
            },
            _ => Parts::default(),
        }
    }

    /// Makes the answer of the action out of that of a component. `None` when that was not asked, or has answered.
    fn take(&mut self, component: &str, mut output: ActionOutput) -> Option<ActionOutput> {
        let asked = self.components.len();
        self.components.retain(|own| own != component);
        if self.components.len() == asked {
            return None;
        }
        let excess = output.events.len().saturating_sub(self.limit);
        output.events.truncate(self.limit);
        output.dropped += excess as u64;
        self.has_events |= !output.events.is_empty();
        self.errors.extend(output.error.take().map(|error| format!("{component}: {error}")));
        output.done = self.components.is_empty();
        // One component without events is no failure of the others.
        if output.done && !self.has_events && !self.errors.is_empty() {
            output.error = Some(self.errors.join("; "));
        }
        Some(output)
    }
}

impl Actions {
    /// Hands the answer of one component to the sample that waits for it. False when none does.
    pub(crate) fn answer_part(&self, node: NodeKey, id: Uuid, component: &str, output: ActionOutput) -> bool {
        let mut inner = self.lock();
        let Some(open) = inner.open.get_mut(&id).filter(|open| open.node == node) else { return false };
        match open.parts.take(component, output) {
            Some(output) => inner.answer(node, id, output),
            None => false,
        }
    }
}
