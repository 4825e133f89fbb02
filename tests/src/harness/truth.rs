//! The expected content of the collector, computed from what the pipelines themselves exposed and wrote.
//!
//! A stub records what each scrape read, and when. A report contains the scrapes up to
//! its end, and its end sets the minute. So at the end of every minute the sum of the rows
//! must equal, to the last event, what one of the last scrapes in that minute
//! read. No number comes from the agent's own reports.

use std::collections::BTreeMap;

use serde_json::Value;
use systole_shared::UnixMillis;

use super::collector::counts;
use super::stub_vector::StubVector;
use crate::stub::totals::{Counts, Totals};

/// Longest time from a scrape to the end of the report that carries it: half a second of grace, or,
/// for one that is late, until the next report of an agent that reports every second.
const LATE_MS: i64 = 2_000;

const MINUTE_MS: i64 = 60_000;

/// The totals of a pipeline at each scrape, over all its process runs.
#[derive(Clone, Debug)]
pub struct Shown {
    scrapes: Vec<(UnixMillis, Counts)>,
}

impl Shown {
    /// Of a pipeline that the agent itself started: it counts from zero.
    pub fn by(stub: &StubVector) -> Self {
        let mut ended = Counts::default();
        let mut last: Option<(String, Counts)> = None;
        let mut scrapes = Vec::new();
        for scrape in stub.scrapes() {
            if let Some((life, exposed)) = last.replace((scrape.life.clone(), scrape.exposed))
                && life != scrape.life
            {
                ended = [ended, exposed].into_iter().sum();
            }
            scrapes.push((scrape.at, [ended, scrape.exposed].into_iter().sum()));
        }
        Shown { scrapes }
    }

    /// Of a pipeline that is only watched: its first scrape is the baseline.
    pub fn since_first_scrape_by(stub: &StubVector) -> Self {
        let shown = Self::by(stub);
        let base = shown.scrapes.first().map(|(_, counts)| *counts).unwrap_or_default();
        Shown { scrapes: shown.scrapes.into_iter().map(|(at, counts)| (at, minus(counts, base))).collect() }
    }

    /// Everything.
    pub fn total(&self) -> Counts {
        self.scrapes.last().map(|(_, counts)| *counts).unwrap_or_default()
    }

    /// Asserts that the items of `/minutes` are what was shown in each minute.
    pub fn assert_minutes(&self, what: &str, items: &[Value]) {
        let rows: BTreeMap<i64, Counts> =
            items.iter().map(|item| (item["at"].as_i64().expect("an item has a time"), counts(item))).collect();
        let (Some((first, _)), Some((last, _))) = (rows.first_key_value(), rows.last_key_value()) else {
            assert_eq!(self.total(), Counts::default(), "{what}: no rows");
            return;
        };
        let mut sum = Counts::default();
        let mut minute = *first;
        while minute < *last {
            sum = [sum, rows.get(&minute).copied().unwrap_or_default()].into_iter().sum();
            minute += MINUTE_MS;
            let possible = self.at_the_end_of(minute);
            assert!(
                possible.contains(&sum),
                "{what}: up to {minute} the rows sum up to {sum:?}; shown was one of {possible:?}\nrows: {rows:?}"
            );
        }
        assert_eq!([sum, rows[last]].into_iter().sum::<Counts>(), self.total(), "{what}: all rows, {rows:?}");
    }

    /// What reports that end before `end` can carry.
    fn at_the_end_of(&self, end: UnixMillis) -> Vec<Counts> {
        let before = self.scrapes.iter().take_while(|(at, _)| *at < end);
        let certain = self.scrapes.iter().take_while(|(at, _)| *at < end - LATE_MS).count();
        let nothing_yet = (certain == 0).then(Counts::default);
        nothing_yet.into_iter().chain(before.skip(certain.saturating_sub(1)).map(|(_, counts)| *counts)).collect()
    }
}

fn minus(counts: Counts, base: Counts) -> Counts {
    Counts {
        events_in: counts.events_in - base.events_in,
        events_out: counts.events_out - base.events_out,
        errors: counts.errors - base.errors,
        discarded: counts.discarded - base.discarded,
        bytes_in: counts.bytes_in - base.bytes_in,
        bytes_out: counts.bytes_out - base.bytes_out,
    }
}

/// Asserts that the numbered lines of every run of a stub are stored once and in order. `items` are
/// those of `/logs`, oldest first.
pub fn assert_lines(what: &str, totals: &Totals, items: &[Value]) {
    let mut stored: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for item in items {
        let line = item["line"].as_str().expect("an item has a line");
        let Some((number, rest)) = line.split_once(" line=").and_then(|(_, rest)| rest.split_once(" life=")) else {
            continue;
        };
        let life = rest.split(' ').next().unwrap_or_default();
        stored.entry(life.to_owned()).or_default().push(number.parse().expect("a number"));
    }
    for life in &totals.lives {
        let lines = stored.remove(&life.life).unwrap_or_default();
        let expected: Vec<u64> = (1..=lines.len() as u64).collect();
        assert_eq!(lines, expected, "{what}: lines of the life {}", life.life);
        // The last line before a kill may have been written and not counted.
        let (said, kept) = (life.log_lines, lines.len() as u64);
        assert!(said <= kept, "{what}: {said} lines were said in the life {} and {kept} are stored", life.life);
    }
    assert!(stored.is_empty(), "{what}: lines of unknown runs: {:?}", stored.keys());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(events_in: u64) -> Counts {
        Counts { events_in, ..Counts::default() }
    }

    fn row(at: i64, events_in: u64) -> Value {
        json!({"at": at, "eventsIn": events_in, "eventsOut": 0, "errors": 0, "discarded": 0, "bytesIn": 0, "bytesOut": 0})
    }

    fn shown() -> Shown {
        // A scrape every 10 s, each of 100 events, the last of a minute right before its end.
        Shown { scrapes: (1..=12).map(|n| (n * 10_000 - 1_000, events(n as u64 * 100))).collect() }
    }

    #[test]
    fn scrape_near_a_minutes_end_counts_in_either_minute() {
        shown().assert_minutes("late", &[row(0, 500), row(60_000, 700)]);
        shown().assert_minutes("in time", &[row(0, 600), row(60_000, 600)]);
    }

    #[test]
    #[should_panic(expected = "up to 60000")]
    fn events_in_the_wrong_minute_are_detected() {
        shown().assert_minutes("wrong", &[row(0, 400), row(60_000, 800)]);
    }

    #[test]
    #[should_panic(expected = "all rows")]
    fn surplus_event_is_detected() {
        shown().assert_minutes("wrong", &[row(0, 600), row(60_000, 601)]);
    }
}
