//! A sample: some events of some components, in one answer.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::action::{MAX_SAMPLE_COMPONENTS, TappedEvent};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Answers;
use super::events::event_of;
use super::redact::Redaction;
use crate::model::action::{ActionAnswer, ComponentSample, NodeAction, SAMPLED_AT_ONCE, SampleRequest};
use crate::supervise::Pipeline;
use crate::supervise::tap::{Tap, TapItem};

/// Events on their way to the answer.
const WAITING: usize = 64;

/// Bytes of all events of an answer, below what a collector takes in one body.
const MAX_SAMPLE_BYTES: usize = 2 * 1024 * 1024;

/// What a reader of a component found.
enum Found {
    Event(TappedEvent),
    Failed(String),
}

/// Where a reader leaves what it finds.
struct Sender {
    /// Of the component.
    index: usize,
    sender: mpsc::Sender<(usize, Found)>,
}

impl Sender {
    /// Whether it is taken.
    async fn send(&self, found: Found) -> bool {
        self.sender.send((self.index, found)).await.is_ok()
    }
}

/// Takes the sample and answers.
pub(super) async fn run(
    pipeline: &Arc<Pipeline>,
    wanted: SampleRequest,
    action: &NodeAction,
    answers: &Answers,
    redaction: &Arc<Redaction>,
) {
    let SampleRequest { components, limit_each, limit, time_each } = wanted;
    if components.is_empty() || components.len() > MAX_SAMPLE_COMPONENTS {
        let error = format!("a sample has 1 to {MAX_SAMPLE_COMPONENTS} components, not {}", components.len());
        return answers.fail(action, error).await;
    }
    // All of them have their turn.
    let rounds = u32::try_from(components.len().div_ceil(SAMPLED_AT_ONCE)).unwrap_or(1);
    let (sender, mut found) = mpsc::channel(WAITING);
    let slots = Arc::new(Semaphore::new(SAMPLED_AT_ONCE));
    let mut readers = JoinSet::new();
    for (index, component) in components.iter().cloned().enumerate() {
        let (pipeline, redaction, slots, sender) = (pipeline.clone(), redaction.clone(), slots.clone(), sender.clone());
        readers.spawn(async move {
            let Ok(_slot) = slots.acquire().await else { return };
            let found = Sender { index, sender };
            read(&pipeline, &component, (limit_each, time_each), &redaction, &found).await;
        });
    }
    drop(sender);
    let sample = |component| ComponentSample { component, ..ComponentSample::default() };
    let mut samples: Vec<_> = components.into_iter().map(sample).collect();
    let (mut events, mut bytes, mut dropped) = (0, 0, 0);
    let collect = async {
        while let Some((index, next)) = found.recv().await {
            match next {
                Found::Event(event) if events < limit && bytes + event.event.len() <= MAX_SAMPLE_BYTES => {
                    events += 1;
                    bytes += event.event.len();
                    samples[index].events.push(event);
                }
                Found::Event(_) => dropped += 1,
                Found::Failed(error) => samples[index].error = Some(error),
            }
        }
    };
    // The readers end by themselves; a process that does not is ended with its reader.
    let _ = timeout(time_each * rounds + Duration::from_secs(1), collect).await;
    drop(readers);
    answers.finish(action, ActionAnswer::Sample { components: samples, dropped }).await;
}

/// Reads events of one component within their limits, until they are not taken any more.
async fn read(
    pipeline: &Pipeline,
    component: &str,
    (limit, time): (usize, Duration),
    redaction: &Redaction,
    found: &Sender,
) {
    let mut tap = match Tap::begin(pipeline, component, time).await {
        Ok(tap) => tap,
        Err(error) => {
            found.send(Found::Failed(error)).await;
            return;
        }
    };
    let events = async {
        for _ in 0..limit {
            let next = match tap.next().await {
                TapItem::Event(text) => Found::Event(event_of(component, text, redaction)),
                TapItem::End(Ok(())) => return,
                TapItem::End(Err(error)) => Found::Failed(error),
            };
            let is_end = matches!(next, Found::Failed(_));
            if !found.send(next).await || is_end {
                return;
            }
        }
    };
    let _ = timeout(time, events).await;
}
