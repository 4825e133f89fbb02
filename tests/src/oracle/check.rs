//! Compares the query API with the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use systole_shared::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::agent::{TRANSFORMS, read_line, transform};
use super::ledger::{Cell, Cells, Change, Ledger, Place, SharedLedger, add, summed};
use crate::clock;
use crate::harness::collector::counts;
use crate::harness::{Answer, ApiClient};

/// Longest time that a query may be put off, after a crash of the database.
const SOON: Duration = Duration::from_secs(30);

/// Between two checks of everything.
const PAUSE: Duration = Duration::from_millis(20);

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Differences that a failure shows.
const SHOWN: usize = 6;

/// Compares one collector.
#[derive(Clone, Debug)]
pub struct Checker {
    /// One that sees everything.
    pub viewer: ApiClient,
    /// Every pipeline of the fleet.
    pub pipelines: Vec<String>,
    /// Every node.
    pub nodes: Vec<NodeId>,
    /// Before the first report.
    pub from: i64,
    /// How long a query may return less than was acknowledged: at a collector that follows the leader of its cluster.
    pub lag: Duration,
}

/// Lines and changes as they are stored, with their sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Numbers of lines by their place, in order.
    pub lines: BTreeMap<Place, Vec<(u64, u64)>>,
    /// Changes of pipelines' states.
    pub changes: BTreeSet<(u64, (Place, Change))>,
}

impl Stored {
    /// The last sequence number.
    pub fn head(&self) -> u64 {
        let lines = self.lines.values().filter_map(|lines| lines.last()).map(|(seq, _)| *seq).max();
        lines.max(self.changes.last().map(|(seq, _)| *seq)).unwrap_or(0)
    }
}

impl Checker {
    /// [`Self::check_bounds`] until it is stopped, also while the collector restarts.
    pub async fn check_all_the_time(self, ledger: SharedLedger, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.check_bounds(&ledger).await;
            sleep(PAUSE).await;
        }
    }

    /// While reports arrive: queries return everything acknowledged, and nothing that was not made.
    pub async fn check_bounds(&self, ledger: &SharedLedger) {
        let durable = ledger.open().durable.clone();
        let nothing = Cell::default();
        let start = Instant::now();
        loop {
            let returned = self.cells("minute").await;
            let made = ledger.open().made.clone();
            let too_much = |(key, cell): &(&_, &Cell)| !cell.is_within(*made.get(*key).unwrap_or(&nothing));
            let lost = |(key, cell): &(&_, &Cell)| !cell.is_within(*returned.get(*key).unwrap_or(&nothing));
            let doubled: Vec<_> = returned.iter().filter(too_much).take(SHOWN).collect();
            assert!(doubled.is_empty(), "queries return more than was sent: {doubled:#?}");
            let lost: Vec<_> =
                durable.iter().filter(lost).map(|(key, cell)| (key, cell, returned.get(key))).take(SHOWN).collect();
            if lost.is_empty() {
                return;
            }
            assert!(start.elapsed() < self.lag, "queries return less than was acknowledged: {lost:#?}");
            sleep(PAUSE).await;
        }
    }

    /// Checks that everything is there once, after all is acknowledged.
    pub async fn check_all(&self, ledger: &Ledger) -> Stored {
        let minutes = self.cells("minute").await;
        assert_same("minutes", &minutes, &ledger.made);
        assert_same("hours", &self.cells("hour").await, &summed(&ledger.made, HOUR_MS));
        assert_same("days", &self.cells("day").await, &summed(&ledger.made, DAY_MS));
        self.check_components(ledger).await;
        for node in &self.nodes {
            let node = self.get(&format!("/api/v1/nodes/{node}")).await;
            assert_eq!(node["gaps"].as_array().map(Vec::len), Some(0), "nothing is missing: {}", node["gaps"]);
        }
        let stored = self.stored().await;
        for (place, said) in &ledger.lines {
            let numbers: Vec<u64> = stored.lines.get(place).into_iter().flatten().map(|(_, number)| *number).collect();
            let expected: Vec<u64> = (1..=*said).collect();
            let wrong = numbers.iter().zip(&expected).find(|(found, expected)| found != expected);
            assert_eq!((numbers.len(), wrong), (expected.len(), None), "lines of {place:?}");
        }
        let mut changes: BTreeMap<Place, Vec<Change>> = BTreeMap::new();
        for (_, (place, change)) in &stored.changes {
            changes.entry(place.clone()).or_default().push(change.clone());
        }
        for (place, expected) in &ledger.changes {
            assert_eq!(&changes.remove(place).unwrap_or_default(), expected, "changes of {place:?}");
        }
        assert!(changes.is_empty(), "changes of unknown places: {changes:?}");
        stored
    }

    async fn check_components(&self, ledger: &Ledger) {
        for pipeline in &self.pipelines {
            let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
            for item in self.list(&self.minutes(pipeline, "components/minutes", "minute")).await {
                let sum = sums.entry(text(&item["componentId"])).or_default();
                let fields = ["receivedEvents", "sentEvents", "sentBytes"];
                sum.iter_mut().zip(fields).for_each(|(sum, field)| *sum += item[field].as_u64().unwrap_or(0));
            }
            let own = ledger.made.iter().filter(|((id, _), _)| id == pipeline).map(|(_, cell)| cell.counts);
            let all: crate::stub::totals::Counts = own.sum();
            for component in (0..TRANSFORMS).map(transform).chain(["in".to_owned()]) {
                assert_eq!(sums[&component], [all.events_in, all.events_in, 0], "{component} of {pipeline}");
            }
            assert_eq!(sums["out"], [all.events_in, all.events_out, all.bytes_out], "the sink of {pipeline}");
        }
    }

    fn minutes(&self, pipeline: &str, path: &str, step: &str) -> String {
        let to = clock::now_ms() + HOUR_MS;
        format!("/api/v1/pipelines/{pipeline}/{path}?from={}&to={to}&step={step}&limit=1000", self.from)
    }

    async fn cells(&self, step: &str) -> Cells {
        let mut cells = Cells::new();
        for pipeline in &self.pipelines {
            for item in self.list(&self.minutes(pipeline, "minutes", step)).await {
                let number = |name: &str| item[name].as_u64().unwrap_or_else(|| panic!("no {name} in {item}"));
                let cell = Cell { counts: counts(&item), samples: number("samples"), gaps: number("gaps") };
                let at = item["at"].as_i64().expect("an item has a time");
                add(&mut cells, &(pipeline.clone(), at), cell);
            }
        }
        cells
    }

    /// Asserts that no node was called unreachable before a time.
    pub async fn check_reachable(&self, until: i64) {
        let changes = self.list(&format!("/api/v1/status-changes?from={}&to={until}&limit=1000", self.from)).await;
        let unreachable: Vec<_> = changes.iter().filter(|change| change["toStatus"] == "UNREACHABLE").collect();
        assert!(unreachable.is_empty(), "every node reports all the time: {unreachable:?}");
    }

    /// The stored state of now.
    pub async fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for item in self.list(&format!("/api/v1/logs?from={}&limit=1000", self.from)).await {
            let line = text(&item["line"]);
            let (place, number) = read_line(&line).unwrap_or_else(|| panic!("a line of no node: {line:?}"));
            let seq = item["seq"].as_u64().expect("a line has a number");
            stored.lines.entry(place).or_default().push((seq, number));
        }
        // In the order of the feed.
        stored.lines.values_mut().for_each(|lines| lines.sort_unstable());
        for item in self.list(&format!("/api/v1/status-changes?from={}&limit=1000", self.from)).await {
            if let Some(change) = change_of(&item) {
                let seq = item["seq"].as_u64().expect("a change has a number");
                assert!(stored.changes.insert((seq, change)), "twice: {item}");
            }
        }
        stored
    }

    async fn get(&self, path: &str) -> Value {
        let start = Instant::now();
        loop {
            let base = self.viewer.base().to_owned();
            let answer = Answer::try_of(self.viewer.request(reqwest::Method::GET, path));
            // 404: a pipeline of which no report has come yet.
            if let Ok(Ok(answer)) = timeout(self.viewer.patience(), answer).await
                && matches!(answer.status, 200 | 404)
            {
                return answer.json();
            }
            self.viewer.move_on(&base);
            assert!(start.elapsed() < SOON, "no answer to {path} within {SOON:?}");
            sleep(PAUSE).await;
        }
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = path.to_owned();
        loop {
            let mut page = self.get(&next).await;
            let Value::Array(more) = page["items"].take() else { return items };
            items.extend(more);
            let cursor = match &page["next"] {
                Value::Null => return items,
                Value::String(cursor) => cursor.clone(),
                cursor => cursor.to_string(),
            };
            next = format!("{path}&cursor={cursor}");
        }
    }
}

/// The change of a pipeline in an event or a query; a node's change is none here, nor is one to UNKNOWN, which no report
/// has: the collector makes it with the node's own change to UNREACHABLE.
pub fn change_of(event: &Value) -> Option<(Place, Change)> {
    let pipeline = event["pipelineId"].as_str().filter(|_| event["toStatus"] != "UNKNOWN")?;
    let node = text(&event["nodeId"]).parse().expect("a node's id is a UUID");
    let at = event["timestamp"].as_i64().expect("a change has a time");
    let change = Change { from: text(&event["fromStatus"]), to: text(&event["toStatus"]), at };
    Some(((node, pipeline.to_owned()), change))
}

fn assert_same(what: &str, returned: &Cells, made: &Cells) {
    let keys: BTreeSet<_> = returned.keys().chain(made.keys()).collect();
    let different: Vec<_> = keys.into_iter().filter(|key| returned.get(*key) != made.get(*key)).collect();
    let shown: Vec<_> = different.iter().take(SHOWN).map(|key| (key, returned.get(*key), made.get(*key))).collect();
    assert!(different.is_empty(), "{} {what} are wrong; returned and made: {shown:#?}", different.len());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
