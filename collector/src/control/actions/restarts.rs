//! Restarts that no agent answers: another process id in its reports proves them.
//!
//! The push action of VectorFlow's protocol is sent first. The public Go agent only polls when it receives that, so a
//! process that still runs afterwards is restarted by its way to apply changes: the answer to one poll leaves the
//! pipeline out, the agent stops it, and the answer to the next poll has it again.

use std::sync::Arc;

use systole_shared::PipelineId;
use systole_shared::action::{ActionOutput, ActionRequest};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{ActionError, Actions, OpenAction};
use crate::model::NodeKey;

/// An agent that restarts by itself has begun by then: it reports one second after a push action.
pub(super) const OWN_RESTART: Duration = Duration::from_millis(900);

/// A restart, and the process that it ends.
#[derive(Debug)]
pub(super) struct AwaitedRestart {
    pipeline: PipelineId,
    pid: Option<i64>,
    asked_at: Instant,
    /// The pipeline was left out of an answer already.
    is_left_out: bool,
}

impl Actions {
    /// Asks for a restart of a pipeline whose process has this id.
    ///
    /// # Errors
    ///
    /// When too many actions are open.
    pub(crate) fn begin_restart(
        self: &Arc<Self>,
        node: NodeKey,
        pipeline: PipelineId,
        pid: Option<i64>,
    ) -> Result<OpenAction, ActionError> {
        let awaited = AwaitedRestart { pipeline: pipeline.clone(), pid, asked_at: Instant::now(), is_left_out: false };
        self.open(node, pipeline, ActionRequest::Restart, Some(awaited))
    }

    /// Whether a restart waits for reports of a node.
    pub(crate) fn awaits_restart(&self, node: NodeKey) -> bool {
        self.lock().open.values().any(|open| open.node == node && open.restart.is_some())
    }

    /// Takes the processes in a report of an agent that answers no restarts: those that run.
    pub(crate) fn observe(&self, node: NodeKey, processes: &[(PipelineId, Option<i64>)]) {
        let (mut done, mut left_out) = (Vec::new(), Vec::new());
        let mut inner = self.lock();
        for (id, open) in inner.open.iter_mut().filter(|(_, open)| open.node == node) {
            let Some(restart) = &mut open.restart else { continue };
            let found = processes.iter().find(|(pipeline, _)| *pipeline == restart.pipeline);
            let Some((_, Some(pid))) = found else { continue };
            if restart.pid != Some(*pid) {
                done.push(*id);
            } else if restart.asked_at.elapsed() >= OWN_RESTART && !restart.is_left_out {
                restart.is_left_out = true;
                left_out.push(restart.pipeline.clone());
            }
        }
        for id in done {
            inner.answer(node, id, ActionOutput { done: true, ..ActionOutput::default() });
        }
        drop(inner);
        left_out.into_iter().for_each(|pipeline| self.delivery.leave_out_once(node, pipeline));
    }

    /// Restarts without a push stream.
    pub(super) fn restart_by_poll(&self, node: NodeKey, id: Uuid) {
        let pipeline = {
            let mut inner = self.lock();
            let restart = inner.open.get_mut(&id).and_then(|open| open.restart.as_mut());
            restart.map(|restart| {
                restart.is_left_out = true;
                restart.pipeline.clone()
            })
        };
        if let Some(pipeline) = pipeline {
            self.delivery.leave_out_once(node, pipeline);
        }
    }
}
