//! A sample: some events of some components, in one answer.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::action::{ActionOutput, MAX_SAMPLE_COMPONENTS, MAX_SAMPLE_EVENTS, MAX_SAMPLE_MS, TappedEvent};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::Answers;
use super::events::event_of;
use super::redact::Redaction;
use crate::supervise::Pipeline;
use crate::supervise::tap::{Tap, TapItem};

/// Components that are read at once: each is a process of some 30 MB.
const AT_ONCE: usize = 4;

/// Events on their way to the answer.
const WAITING: usize = 64;

/// Bytes of all events of an answer, below what a collector takes in one body.
const MAX_SAMPLE_BYTES: usize = 2 * 1024 * 1024;

/// What is asked for.
pub(super) struct Wanted {
    pub(super) components: Vec<String>,
    pub(super) limit: usize,
    pub(super) time: Duration,
}

/// What a reader of one component found.
enum Found {
    Event(TappedEvent),
    Failed(String),
}

/// Takes the sample and answers.
pub(super) async fn run(
    pipeline: &Arc<Pipeline>,
    wanted: Wanted,
    id: Uuid,
    answers: &Answers,
    redaction: &Arc<Redaction>,
) {
    let Wanted { components, limit, time } = wanted;
    if components.is_empty() || components.len() > MAX_SAMPLE_COMPONENTS {
        let error = format!("a sample has 1 to {MAX_SAMPLE_COMPONENTS} components, not {}", components.len());
        return answers.fail(id, error).await;
    }
    let limit = limit.clamp(1, MAX_SAMPLE_EVENTS);
    let time = time.min(Duration::from_millis(MAX_SAMPLE_MS));
    let share = limit.div_ceil(components.len());
    // All of them have their turn within the time.
    let rounds = u32::try_from(components.len().div_ceil(AT_ONCE)).unwrap_or(1);
    let (sender, mut found) = mpsc::channel(WAITING);
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut readers = JoinSet::new();
    for component in components {
        let (pipeline, redaction, slots, sender) = (pipeline.clone(), redaction.clone(), slots.clone(), sender.clone());
        readers.spawn(async move {
            let Ok(_slot) = slots.acquire().await else { return };
            read(&pipeline, &component, share, time / rounds, &redaction, &sender).await;
        });
    }
    drop(sender);
    let mut output = ActionOutput::default();
    let mut bytes = 0;
    let collect = async {
        while let Some(next) = found.recv().await {
            match next {
                Found::Event(event) if output.events.len() < limit && bytes + event.event.len() <= MAX_SAMPLE_BYTES => {
                    bytes += event.event.len();
                    output.events.push(event);
                }
                Found::Event(_) => output.dropped += 1,
                Found::Failed(error) => output.error = Some(error),
            }
        }
    };
    // The readers end by themselves; a process that does not is ended with its reader.
    let _ = timeout(time + Duration::from_secs(1), collect).await;
    drop(readers);
    // What there is says more than the component without events.
    if !output.events.is_empty() {
        output.error = None;
    }
    answers.finish(id, output).await;
}

async fn read(
    pipeline: &Pipeline,
    component: &str,
    limit: usize,
    time: Duration,
    redaction: &Redaction,
    found: &mpsc::Sender<Found>,
) {
    let mut tap = match Tap::begin(pipeline, component, time).await {
        Ok(tap) => tap,
        Err(error) => return drop(found.send(Found::Failed(error)).await),
    };
    let events = async {
        for _ in 0..limit {
            let next = match tap.next().await {
                TapItem::Event(text) => Found::Event(event_of(component, text, redaction)),
                TapItem::End(Ok(())) => return,
                TapItem::End(Err(error)) => Found::Failed(error),
            };
            let is_end = matches!(next, Found::Failed(_));
            if found.send(next).await.is_err() || is_end {
                return;
            }
        }
    };
    let _ = timeout(time, events).await;
}
