//! A subscriber that disconnects repeatedly and continues after its last id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::agent::read_line;
use super::check::Stored;
use super::ledger::Place;
use crate::harness::{Feed, eventually_true};

/// The types that are never lost without a gap.
pub const TYPES: &str = "types=status_change,log_entry";

/// How often the connection is polled.
const LOOK: Duration = Duration::from_millis(20);
/// A subscriber disconnects after this time at most, milliseconds.
const MAX_STAY_MS: u64 = 5_000;
/// Until what was replayed is there.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// Watches until it is stopped.
pub async fn watch(mut feed: Feed, seed: u64, stop: watch::Receiver<bool>) -> Feed {
    let mut random = StdRng::seed_from_u64(seed);
    let mut leaves = Instant::now();
    while !*stop.borrow() {
        if Instant::now() >= leaves {
            feed.disconnect();
            leaves = Instant::now() + Duration::from_millis(random.random_range(200..MAX_STAY_MS));
        }
        if feed.has_ended() {
            // There is no answer while the collector is down.
            feed.try_resume().await;
        }
        sleep(LOOK).await;
    }
    feed
}

/// Asserts that the subscriber had each event that is stored once and in order, but for announced gaps.
/// Returns the number of events in gaps.
pub async fn check(feed: &mut Feed, stored: &Stored) -> u64 {
    if feed.has_ended() {
        feed.resume().await;
    }
    let head = stored.head();
    eventually_true("the subscriber has caught up", CAUGHT_UP, async || {
        feed.last_id().is_some_and(|id| id.seq >= head)
    })
    .await;
    feed.assert_ids_grow();
    assert!(feed.events_of("reset").is_empty(), "the database is the same");
    let gaps: Vec<(u64, u64)> = feed
        .events_of("gap")
        .iter()
        .filter_map(|gap| Some((gap.data["from"].as_u64()?, gap.data["to"].as_u64()?)))
        .collect();
    let in_gap = |seq: u64| gaps.iter().any(|(from, to)| (*from..=*to).contains(&seq));

    let mut lines: BTreeMap<Place, Vec<u64>> = BTreeMap::new();
    for (place, number) in feed.events_of("log_entry").iter().flat_map(|it| it.lines()).filter_map(|it| read_line(&it))
    {
        lines.entry(place).or_default().push(number);
    }
    let mut missed = 0;
    for (place, expected) in &stored.lines {
        let mut came = lines.remove(place).unwrap_or_default().into_iter().peekable();
        for (at, number) in expected {
            if came.next_if_eq(number).is_none() {
                assert!(in_gap(*at), "{place:?}: line {number} (seq {at}) did not come in its turn; gaps: {gaps:?}");
                missed += 1;
            }
        }
        assert_eq!(came.next(), None, "{place:?}: a line came that is not stored, or not in its turn");
    }
    assert!(lines.is_empty(), "lines of unknown places: {:?}", lines.keys());

    let mut came = BTreeSet::new();
    for event in feed.events_of("status_change") {
        if let Some(change) = super::check::change_of(&event.data) {
            let id = event.id.as_ref().expect("a durable event has an id").seq;
            assert!(came.insert((id, change)), "twice: {event:?}");
        }
    }
    for change in &stored.changes {
        if !came.remove(change) {
            assert!(in_gap(change.0), "{change:?} did not come; gaps: {gaps:?}");
            missed += 1;
        }
    }
    assert!(came.is_empty(), "changes came that are not stored: {came:?}");
    missed
}
