//! What the collector asks of this node while it runs: restart a pipeline, sample it, watch it.
//!
//! Each action is a task of its own, bounded in time, in number, and in what it sends. Reports wait for none.

mod events;
mod redact;
mod sample;
mod tap;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::PipelineId;
use systole_shared::action::{ActionOutput, ActionRequest, AgentAction, MAX_TAPS_PER_NODE};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::redact::Redaction;
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
    begun: VecDeque<Uuid>,
    taps: BTreeMap<Uuid, CancellationToken>,
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
    /// Sends one answer.
    async fn send(&self, action: Uuid, output: &ActionOutput) -> Delivered {
        let Some(token) = node_token::read(&self.data_dir) else { return Delivered::No };
        match self.client.answer_action(&token, action, output).await {
            Ok(()) => Delivered::Yes,
            Err(error) if is_unwanted(&error) => Delivered::Unwanted,
            Err(error) => {
                tracing::debug!(%action, %error, "cannot send the answer to an action");
                Delivered::No
            }
        }
    }

    /// Sends the last answer, several times if it must.
    async fn finish(&self, action: Uuid, output: ActionOutput) {
        let output = ActionOutput { done: true, ..output };
        for _ in 0..ANSWER_TRIES {
            if self.send(action, &output).await != Delivered::No {
                return;
            }
            sleep(ANSWER_WAIT).await;
        }
        tracing::warn!(%action, "the last answer to an action could not be sent");
    }

    async fn fail(&self, action: Uuid, error: String) {
        tracing::info!(%action, error, "an action of the collector failed");
        self.finish(action, ActionOutput { error: Some(error), ..ActionOutput::default() }).await;
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
        ActionRunner { answers, pipelines, redaction, begun: VecDeque::new(), taps: BTreeMap::new() }
    }

    /// Does each action that comes. Never ends before the agent.
    pub(crate) async fn run(mut self, mut actions: mpsc::Receiver<AgentAction>) {
        let mut running: JoinSet<Uuid> = JoinSet::new();
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

    fn begin(&mut self, action: AgentAction, running: &mut JoinSet<Uuid>) {
        let AgentAction { action_id: id, pipeline_id, request } = action;
        if request == ActionRequest::StopTap {
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
        self.begun.push_back(id);
        let pipeline = self.find(&pipeline_id);
        let (answers, redaction) = (self.answers.clone(), self.redaction.clone());
        let refusal = match (&pipeline, &request) {
            (None, _) => Some(format!("this node has no pipeline \"{pipeline_id}\"")),
            _ if running.len() >= MAX_RUNNING => Some(format!("{MAX_RUNNING} actions run on this node already")),
            (_, ActionRequest::Tap { .. }) if self.taps.len() >= MAX_TAPS_PER_NODE => {
                Some(format!("{MAX_TAPS_PER_NODE} taps run on this node already"))
            }
            _ => None,
        };
        tracing::info!(action = %id, pipeline = %pipeline_id, kind = name_of(&request), refusal, "the collector asks for an action");
        let Some(pipeline) = pipeline.filter(|_| refusal.is_none()) else {
            running.spawn(async move {
                answers.fail(id, refusal.unwrap_or_default()).await;
                id
            });
            return;
        };
        match request {
            ActionRequest::Restart => drop(running.spawn(async move {
                restart(&pipeline, id, &answers).await;
                id
            })),
            ActionRequest::Sample { components, limit, duration_ms } => drop(running.spawn(async move {
                let wanted = sample::Wanted { components, limit, time: Duration::from_millis(duration_ms) };
                sample::run(&pipeline, wanted, id, &answers, &redaction).await;
                id
            })),
            ActionRequest::Tap { component, duration_ms } => {
                let stop = CancellationToken::new();
                self.taps.insert(id, stop.clone());
                running.spawn(async move {
                    let time = Duration::from_millis(duration_ms);
                    tap::run(&pipeline, &component, time, tap::TapRun { id, answers, redaction, stop }).await;
                    id
                });
            }
            ActionRequest::StopTap => {}
        }
    }

    fn find(&self, id: &PipelineId) -> Option<Arc<Pipeline>> {
        self.pipelines.all().iter().find(|pipeline| pipeline.id() == id).cloned()
    }
}

async fn restart(pipeline: &Pipeline, id: Uuid, answers: &Answers) {
    if !pipeline.config().is_supervised() {
        let why = if pipeline.config().is_paused() { "is paused" } else { "is only watched by this agent" };
        return answers.fail(id, format!("the pipeline {why}, so that it cannot be restarted")).await;
    }
    pipeline.runtime.ask_restart();
    answers.finish(id, ActionOutput::default()).await;
}

fn name_of(request: &ActionRequest) -> &'static str {
    match request {
        ActionRequest::Restart => "restart",
        ActionRequest::Sample { .. } => "sample",
        ActionRequest::Tap { .. } => "tap",
        ActionRequest::StopTap => "stop_tap",
    }
}
