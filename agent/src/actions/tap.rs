//! A live tap: the events of one component, as they come, until no one watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::action::{ActionOutput, MAX_TAP_EVENTS_PER_SECOND, MAX_TAP_MS, TappedEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::events::event_of;
use super::redact::Redaction;
use super::{Answers, Delivered};
use crate::supervise::Pipeline;
use crate::supervise::tap::{Tap, TapItem};

/// Events of this time go out together.
const BATCH: Duration = Duration::from_millis(250);

/// An answer without events after this time: the collector says whether a consumer still waits.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Events that wait while an answer is on its way: two seconds of a busy tap, and at most 3 MiB.
const MAX_WAITING: usize = 2 * MAX_TAP_EVENTS_PER_SECOND;

/// Answers in a row that could not be sent, after which no one can be watching.
const MAX_FAILURES: u32 = 20;

/// What a tap needs.
pub(super) struct TapRun {
    pub(super) id: Uuid,
    pub(super) answers: Arc<Answers>,
    pub(super) redaction: Arc<Redaction>,
    /// Ends it.
    pub(super) stop: CancellationToken,
}

/// Events on their way to the collector.
#[derive(Default)]
struct Waiting {
    events: VecDeque<TappedEvent>,
    dropped: u64,
    /// Events of the present second.
    taken: usize,
    second: Option<Instant>,
}

impl Waiting {
    /// Takes an event, or counts it as dropped.
    fn push(&mut self, now: Instant, event: impl FnOnce() -> TappedEvent) {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.taken = 0;
        }
        if self.taken == MAX_TAP_EVENTS_PER_SECOND || self.events.len() == MAX_WAITING {
            self.dropped += 1;
            return;
        }
        self.taken += 1;
        self.events.push_back(event());
    }

    fn take(&mut self) -> Option<ActionOutput> {
        if self.events.is_empty() && self.dropped == 0 {
            return None;
        }
        let events = std::mem::take(&mut self.events).into();
        Some(ActionOutput { events, dropped: std::mem::take(&mut self.dropped), ..ActionOutput::default() })
    }
}

/// Sends events until the tap ends, its time is over, it is stopped, or no one watches.
pub(super) async fn run(pipeline: &Pipeline, component: &str, time: Duration, run: TapRun) {
    let TapRun { id, answers, redaction, stop } = run;
    let time = time.min(Duration::from_millis(MAX_TAP_MS));
    let mut tap = match Tap::begin(pipeline, component, time).await {
        Ok(tap) => tap,
        Err(error) => return answers.fail(id, error).await,
    };
    let end_at = Instant::now() + time;
    let mut waiting = Waiting::default();
    let mut ticks = interval(BATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent_at = Instant::now();
    let mut failures = 0;
    // The answer that is on its way. Events are read meanwhile, so that Vector never waits.
    let mut sending = None;
    let error = loop {
        tokio::select! {
            item = tap.next() => match item {
                TapItem::Event(text) => waiting.push(Instant::now(), || event_of(component, text, &redaction)),
                TapItem::End(Ok(())) if Instant::now() < end_at => break Some("the pipeline's process ended".to_owned()),
                TapItem::End(Ok(())) => break None,
                TapItem::End(Err(error)) => break Some(error),
            },
            delivered = async { sending.as_mut().expect("it is some").await }, if sending.is_some() => {
                sending = None;
                failures = if delivered == Delivered::No { failures + 1 } else { 0 };
                if delivered == Delivered::Unwanted || failures == MAX_FAILURES {
                    tracing::info!(action = %id, "a tap ends: no one watches it");
                    return;
                }
            }
            _ = ticks.tick(), if sending.is_none() => {
                let is_quiet = sent_at.elapsed() >= SIGN_OF_LIFE;
                if let Some(output) = waiting.take().or_else(|| is_quiet.then(ActionOutput::default)) {
                    sent_at = Instant::now();
                    let answers = answers.clone();
                    sending = Some(Box::pin(async move { answers.send(id, &output).await }));
                }
            }
            () = sleep_until(end_at) => break None,
            () = stop.cancelled() => break None,
        }
    };
    drop(tap);
    if let Some(sending) = sending {
        sending.await;
    }
    let rest = waiting.take().unwrap_or_default();
    answers.finish(id, ActionOutput { error, ..rest }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_rate_and_the_queue_are_counted() {
        let event = || TappedEvent { at: 0, component_id: "c".into(), event: "{}".into(), truncated: false };
        let begin = Instant::now();
        let mut waiting = Waiting::default();
        for _ in 0..150 {
            waiting.push(begin, event);
        }
        let output = waiting.take().unwrap();
        assert_eq!((output.events.len(), output.dropped), (MAX_TAP_EVENTS_PER_SECOND, 50));
        assert!(waiting.take().is_none());
        for second in 0..4 {
            for _ in 0..MAX_TAP_EVENTS_PER_SECOND {
                waiting.push(begin + Duration::from_secs(second + 1), event);
            }
        }
        let output = waiting.take().unwrap();
        assert_eq!((output.events.len(), output.dropped), (MAX_WAITING, 200));
    }
}
