//! Actions for an agent that has no push stream and polls instead. It can be asked for samples only.

use systole_shared::action::{ActionOutput, ActionRequest, AgentAction};

use super::Actions;
use crate::model::NodeKey;

/// Why a tap of such an agent ends at once.
const NO_TAP: &str = "its agent has no push stream open, and VectorFlow's agent taps only by that";

impl Actions {
    /// The samples that an agent is to take. A restart makes the answer to this poll leave its pipeline out, and a tap
    /// has failed.
    pub(crate) fn take_for_poll(&self, node: NodeKey) -> Vec<AgentAction> {
        let mut samples = Vec::new();
        for action in self.take_waiting(node) {
            match action.request {
                ActionRequest::Sample { .. } => samples.push(action),
                ActionRequest::Restart => self.restart_by_poll(node, action.action_id),
                ActionRequest::Tap { .. } => {
                    let output = ActionOutput { done: true, error: Some(NO_TAP.to_owned()), ..ActionOutput::default() };
                    self.answer(node, action.action_id, output);
                }
                // Its events are refused when they come.
                ActionRequest::StopTap => {}
            }
        }
        samples
    }

    /// Sends what waits to a stream that has just opened.
    pub(crate) fn send_waiting(&self, node: NodeKey) {
        for action in self.take_waiting(node) {
            self.deliver(node, action);
        }
    }
}
