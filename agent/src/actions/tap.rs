//! A live tap: the events of one component, as they come, until no one watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::action::{MAX_TAP_EVENTS_PER_SECOND, MAX_TAP_MS, TappedEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::events::event_of;
use super::pace::SharedGap;
use super::redact::Redaction;
use super::{Answers, Delivered};
use crate::model::action::{ActionAnswer, NodeAction, TapBatch, TapPace};
use crate::supervise::Pipeline;
use crate::supervise::tap::{Tap, TapItem};

/// How often is checked whether a batch is due.
const TICK: Duration = Duration::from_millis(125);

/// Events that wait while an answer is on its way: two seconds of a busy tap, and at most 3 MiB.
const MAX_WAITING: usize = 2 * MAX_TAP_EVENTS_PER_SECOND;

/// Answers in a row that could not be sent, after which no one can be watching.
const MAX_FAILURES: u32 = 20;

/// What a tap needs.
pub(super) struct TapRun<'a> {
    pub(super) action: &'a NodeAction,
    pub(super) answers: Arc<Answers>,
    pub(super) redaction: Arc<Redaction>,
    /// Shared with the other taps of the node.
    pub(super) gap: Arc<SharedGap>,
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

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dropped == 0
    }

    /// Whether a batch should go out, so long after the one before.
    fn is_due(&self, since: Duration, pace: &TapPace) -> bool {
        let is_quiet = pace.sign_of_life.is_some_and(|time| since >= time);
        is_quiet || (!self.is_empty() && (since >= pace.batch_time || self.events.len() >= pace.batch_events))
    }

    fn take(&mut self) -> TapBatch {
        TapBatch { events: std::mem::take(&mut self.events).into(), dropped: std::mem::take(&mut self.dropped) }
    }
}

/// Sends events until the tap ends, its time is over, it is stopped, or no one watches.
pub(super) async fn run(pipeline: &Pipeline, component: &str, time: Duration, run: TapRun<'_>) {
    let TapRun { action, answers, redaction, gap, stop } = run;
    let time = time.min(Duration::from_millis(MAX_TAP_MS));
    let pace = answers.tap_pace().await;
    let mut tap = match Tap::begin(pipeline, component, time).await {
        Ok(tap) => tap,
        Err(error) => return answers.fail(action, error).await,
    };
    let end_at = Instant::now() + time;
    let mut waiting = Waiting::default();
    let mut ticks = interval(TICK);
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
                    tracing::info!(action = %action.id, "a tap ends: no one watches it");
                    return;
                }
            }
            _ = ticks.tick(), if sending.is_none() => {
                let now = Instant::now();
                if waiting.is_due(now.duration_since(sent_at), &pace) && gap.try_take(now, pace.gap) {
                    sent_at = now;
                    let (answers, batch) = (answers.clone(), ActionAnswer::Events(waiting.take()));
                    sending = Some(Box::pin(async move { answers.send(action, &batch).await }));
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
    answers.finish(action, ActionAnswer::TapEnded { rest: waiting.take(), error }).await;
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
        let batch = waiting.take();
        assert_eq!((batch.events.len(), batch.dropped), (MAX_TAP_EVENTS_PER_SECOND, 50));
        assert!(waiting.is_empty());
        for second in 0..4 {
            for _ in 0..MAX_TAP_EVENTS_PER_SECOND {
                waiting.push(begin + Duration::from_secs(second + 1), event);
            }
        }
        let batch = waiting.take();
        assert_eq!((batch.events.len(), batch.dropped), (MAX_WAITING, 200));
    }

    #[test]
    fn batch_goes_out_by_its_size_or_its_age() {
        let pace =
            TapPace { batch_time: Duration::from_secs(1), batch_events: 20, gap: Duration::ZERO, sign_of_life: None };
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(1));
        let mut waiting = Waiting::default();
        assert!(!waiting.is_due(long * 60, &pace), "nothing is asked of this centre");
        assert!(waiting.is_due(long * 60, &TapPace { sign_of_life: Some(long), ..pace }));
        let event = || TappedEvent { at: 0, component_id: "c".into(), event: "{}".into(), truncated: false };
        waiting.push(Instant::now(), event);
        assert!(!waiting.is_due(short, &pace) && waiting.is_due(long, &pace));
        (1..20).for_each(|_| waiting.push(Instant::now(), event));
        assert!(waiting.is_due(short, &pace));
    }
}
