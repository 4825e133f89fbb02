//! What the collector asks of this node while it runs: restart a pipeline, sample it, watch it.
//!
//! Each action is a task of its own, bounded in time, in number, and in what it sends. Reports wait for none.

mod events;
mod pace;
mod redact;
mod sample;
mod tap;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::PipelineId;
use systole_shared::action::MAX_TAPS_PER_NODE;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::pace::SharedGap;
use self::redact::Redaction;
use crate::model::action::{ActionAnswer, ActionId, NodeAction, NodeRequest, TapPace};
use crate::model::centre::Hold;
use crate::model::node::node_token;
use crate::supervise::Pipeline;
use crate::supervise::set::PipelineSet;
use crate::uplink::{CollectorClient, RequestError};

/// Actions at once. An operator asks for a few; each sample has up to four processes.
const MAX_RUNNING: usize = 8;

/// Ids of actions that were begun. One that comes by both channels is done once.
const MAX_REMEMBERED: usize = 64;

/// How often an answer that failed is sent again, and the wait before it.
const ANSWER_TRIES: u32 = 3;
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// Does what the collector asks.
pub(crate) struct ActionRunner {
    answers: Arc<Answers>,
    pipelines: Arc<PipelineSet>,
    redaction: Arc<Redaction>,
    begun: VecDeque<ActionId>,
    taps: BTreeMap<ActionId, CancellationToken>,
    /// Between two batches of all taps.
    gap: Arc<SharedGap>,
}

/// The way back to the collector.
pub(crate) struct Answers {
    client: Arc<CollectorClient>,
    data_dir: PathBuf,
}

/// What an answer led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The collector has it.
    Yes,
    /// The collector does not know the action any more: no one waits for it.
    Unwanted,
    /// It could not be sent.
    No,
}

impl Answers {
    /// How the collector wants the events of taps.
    async fn tap_pace(&self) -> TapPace {
        self.client.tap_pace().await
    }

    /// Sends one answer.
    async fn send(&self, action: &NodeAction, answer: &ActionAnswer) -> Delivered {
        let Some(token) = node_token::read(&self.data_dir) else { return Delivered::No };
        match self.client.answer_action(&token, action, answer).await {
            Ok(()) => Delivered::Yes,
            Err(error) if is_unwanted(&error) => Delivered::Unwanted,
            Err(error) => {
                tracing::debug!(action = %action.id, %error, "cannot send the answer to an action");
                Delivered::No
            }
        }
    }

    /// Sends the last answer, several times if it must.
    async fn finish(&self, action: &NodeAction, answer: ActionAnswer) {
        for _ in 0..ANSWER_TRIES {
            if self.send(action, &answer).await != Delivered::No {
                return;
            }
            sleep(ANSWER_WAIT).await;
        }
        tracing::warn!(action = %action.id, "the last answer to an action could not be sent");
    }

    async fn fail(&self, action: &NodeAction, error: String) {
        tracing::info!(action = %action.id, error, "an action of the collector failed");
        self.finish(action, ActionAnswer::Failed(error)).await;
    }
}

/// Whether the collector says that no one waits for the action.
fn is_unwanted(error: &RequestError) -> bool {
    let gone = [StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::GONE];
    matches!(error, RequestError::Refused { status, .. } if gone.contains(status))
}

impl ActionRunner {
    /// With the pipelines of the node.
    pub(crate) fn new(
        client: Arc<CollectorClient>,
        data_dir: &Path,
        pipelines: Arc<PipelineSet>,
        redact: &[String],
    ) -> Self {
        let answers = Arc::new(Answers { client, data_dir: data_dir.to_owned() });
        let redaction = Arc::new(Redaction::new(redact));
        let gap = Arc::default();
        ActionRunner { answers, pipelines, redaction, begun: VecDeque::new(), taps: BTreeMap::new(), gap }
    }

    /// Does each action that comes. Never ends before the agent.
    pub(crate) async fn run(mut self, mut actions: mpsc::Receiver<NodeAction>) {
        let mut running: JoinSet<ActionId> = JoinSet::new();
        loop {
            tokio::select! {
                Some(action) = actions.recv() => self.begin(action, &mut running),
                Some(ended) = running.join_next() => {
                    if let Ok(id) = ended {
                        self.taps.remove(&id);
                    }
                }
                else => return,
            }
        }
    }

    fn begin(&mut self, action: NodeAction, running: &mut JoinSet<ActionId>) {
        let id = action.id.clone();
        if action.request == NodeRequest::StopTap {
            if let Some(tap) = self.taps.get(&id) {
                tap.cancel();
            }
            return;
        }
        if self.begun.contains(&id) {
            return;
        }
        if self.begun.len() == MAX_REMEMBERED {
            self.begun.pop_front();
        }
        self.begun.push_back(id.clone());
        let pipeline = self.find(&action.pipeline);
        let (answers, redaction) = (self.answers.clone(), self.redaction.clone());
        let refusal = match (&pipeline, &action.request) {
            (None, _) => Some(format!("this node has no pipeline \"{}\"", action.pipeline)),
            _ if running.len() >= MAX_RUNNING => Some(format!("{MAX_RUNNING} actions run on this node already")),
            (_, NodeRequest::Tap { .. }) if self.taps.len() >= MAX_TAPS_PER_NODE => {
                Some(format!("{MAX_TAPS_PER_NODE} taps run on this node already"))
            }
            _ => None,
        };
        tracing::info!(action = %id, pipeline = %action.pipeline, kind = action.request.name(), refusal, "the collector asks for an action");
        let Some(pipeline) = pipeline.filter(|_| refusal.is_none()) else {
            running.spawn(async move {
                answers.fail(&action, refusal.unwrap_or_default()).await;
                id
            });
            return;
        };
        match action.request.clone() {
            NodeRequest::Restart => drop(running.spawn(async move {
                restart(&pipeline, &action, &answers).await;
                id
            })),
            NodeRequest::Sample(wanted) => drop(running.spawn(async move {
                sample::run(&pipeline, wanted, &action, &answers, &redaction).await;
                id
            })),
            NodeRequest::Tap { component, time } => {
                let (stop, gap) = (CancellationToken::new(), self.gap.clone());
                self.taps.insert(id.clone(), stop.clone());
                running.spawn(async move {
                    let run = tap::TapRun { action: &action, answers, redaction, gap, stop };
                    tap::run(&pipeline, &component, time, run).await;
                    id
                });
            }
            NodeRequest::StopTap => {}
        }
    }

    fn find(&self, id: &PipelineId) -> Option<Arc<Pipeline>> {
        self.pipelines.all().iter().find(|pipeline| pipeline.id() == id).cloned()
    }
}

async fn restart(pipeline: &Pipeline, action: &NodeAction, answers: &Answers) {
    let config = pipeline.config();
    if !config.is_supervised() {
        let why = match config.hold() {
            Some(Hold::Paused) => "is paused",
            Some(_) => "does not run",
            None => "is only watched by this agent",
        };
        return answers.fail(action, format!("the pipeline {why}, so that it cannot be restarted")).await;
    }
    pipeline.runtime.ask_restart();
    answers.finish(action, ActionAnswer::Done).await;
}
