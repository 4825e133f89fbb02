//! Replays from the database the events that the rings have removed.
//!
//! A replay sends the first 10,000 durable events after the id, then one `gap` up to the start of the
//! rings, and continues from there. The reason is `limit` for a client that reconnects and `slow` for
//! one that was too slow.

use std::collections::HashMap;

use bytes::Bytes;
use systole_shared::events::{Control, EventType, GapReason};

use super::encode;
use super::{Feed, Subscription};
use crate::auth::Scope;
use crate::store::{ReplayQuery, StoreError};
use crate::telemetry::ReasonLabel;

/// Largest number of events of one replay; the rest is reported as a gap.
pub(super) const MAX_EVENTS: usize = 10_000;

/// Status changes read at once.
const PAGE_EVENTS: u32 = 512;

/// A replay under way: durable events behind the cursor up to `to`.
#[derive(Debug)]
pub(super) struct Replay {
    /// The rings have everything after this number.
    pub to: u64,
    /// The reason of a gap when there are too many events.
    excess: GapReason,
    /// Events given so far.
    pub given: usize,
    /// The end of the last reported gap of each type.
    told_missing: HashMap<EventType, u64>,
}

/// One step of a replay.
pub(super) struct ReplayStep {
    pub frames: Vec<Bytes>,
    pub events: usize,
    /// The replay has read everything up to here.
    pub cursor: u64,
    /// The last id among the frames.
    pub last_sent_id: Option<u64>,
}

impl Replay {
    /// The replay of a client that resumes.
    pub(super) fn of_resumed(to: u64) -> Self {
        Replay { to, excess: GapReason::Limit, given: 0, told_missing: HashMap::new() }
    }

    /// The replay of a client that was too slow.
    pub(super) fn of_slow(to: u64) -> Self {
        Replay { excess: GapReason::Slow, ..Self::of_resumed(to) }
    }
}

/// Returns the next page after `cursor`. Never fails: unreadable events are reported as a gap.
pub(super) async fn step(feed: &Feed, subscription: &Subscription, cursor: u64, replay: &mut Replay) -> ReplayStep {
    let durable: Vec<_> = subscription.types.iter().copied().filter(|kind| kind.is_durable()).collect();
    if cursor >= replay.to || durable.is_empty() {
        return ReplayStep { frames: Vec::new(), events: 0, cursor: replay.to.max(cursor), last_sent_id: None };
    }
    match try_step(feed, subscription, cursor, replay, &durable).await {
        Ok(step) => step,
        Err(error) => {
            let error = crate::telemetry::logging::chain(&error);
            tracing::error!(error, cursor, to = replay.to, "cannot read a replay, its range is reported as a gap");
            gap(feed, durable, cursor + 1, replay.to, GapReason::Restart)
        }
    }
}

async fn try_step(
    feed: &Feed,
    subscription: &Subscription,
    cursor: u64,
    replay: &mut Replay,
    durable: &[EventType],
) -> Result<ReplayStep, StoreError> {
    if replay.given >= MAX_EVENTS {
        return Ok(gap(feed, durable.to_vec(), cursor + 1, replay.to, replay.excess));
    }
    let environments = match subscription.scope {
        Scope::All => None,
        Scope::One(environment) => Some(vec![environment]),
    };
    let labels = subscription.labels.as_ref();
    let among = labels.map(|labels| labels.directory.matching(environments.as_deref(), &labels.selector));
    let page = feed
        .store
        .replay_page(ReplayQuery {
            environments,
            among,
            types: durable.to_vec(),
            nodes: subscription.nodes.clone(),
            pipelines: subscription.pipelines.iter().map(ToString::to_string).collect(),
            after: cursor,
            to: replay.to,
            limit: PAGE_EVENTS,
        })
        .await?;
    // Read with every page: events may have expired since the replay began. Events of the type with the
    // longer retention are still sent.
    let mut frames = Vec::new();
    for kind in durable {
        let from = cursor.max(replay.told_missing.get(kind).copied().unwrap_or(0)) + 1;
        let to = replay.to.min(page.oldest.of(*kind).saturating_sub(1));
        if from <= to {
            frames.push(tell_gap(feed, vec![*kind], from, to, GapReason::Retention));
            replay.told_missing.insert(*kind, to);
        }
    }
    let room = MAX_EVENTS - replay.given;
    let cut = page.events.get(room).map(|_| page.events[room - 1].seq);
    let events = page.events.len().min(room);
    let encoding = subscription.encoding;
    frames.extend(page.events[..events].iter().map(|event| encode::stored(encoding, &feed.epoch, event)));
    replay.given += events;
    let last_sent_id = page.events[..events].last().map(|event| event.seq);
    Ok(ReplayStep { frames, events, cursor: cut.unwrap_or(page.cursor), last_sent_id })
}

/// The frame of a gap, counted.
fn tell_gap(feed: &Feed, types: Vec<EventType>, from: u64, to: u64, reason: GapReason) -> Bytes {
    let label = match reason {
        GapReason::Retention => "retention",
        GapReason::Limit => "limit",
        GapReason::Slow => "slow",
        GapReason::Restart => "restart",
    };
    feed.telemetry.feed_gaps.get_or_create(&ReasonLabel { reason: label }).inc();
    encode::control(&Control::Gap { from, to, types, reason })
}

/// A gap that ends the replay.
fn gap(feed: &Feed, types: Vec<EventType>, from: u64, to: u64, reason: GapReason) -> ReplayStep {
    // The id behind it moves the client past the gap, so that it is not told again.
    let frames = vec![tell_gap(feed, types, from, to, reason), encode::cursor(&feed.epoch, to)];
    ReplayStep { frames, events: 0, cursor: to, last_sent_id: Some(to) }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
