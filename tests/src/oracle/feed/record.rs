//! The events that a subscriber received: checked as they arrive, and compared with the stored ones at the end.

use serde_json::Value;
use systole_shared::EventId;
use systole_shared::sse::Item;

use super::filter::{Filter, World};
use crate::oracle::agent::read_line;
use crate::oracle::check::{Stored, change_of};
use crate::oracle::ledger::{Change, Place};

/// A thing that is never lost without a gap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durable {
    /// A numbered line.
    Line(Place, u64),
    /// A change of a pipeline's state.
    Change(Place, Change),
}

impl Durable {
    fn kind(&self) -> &'static str {
        match self {
            Durable::Line(..) => "log_entry",
            Durable::Change(..) => "status_change",
        }
    }
}

/// A range that was announced not to come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    from: u64,
    to: u64,
    types: Vec<String>,
}

/// The events of one epoch.
#[derive(Clone, Debug)]
pub struct Section {
    /// First half of its ids.
    pub epoch: String,
    /// Everything after this number must arrive.
    start: u64,
    last: u64,
    came: Vec<(u64, Durable)>,
    gaps: Vec<Gap>,
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// One epoch after the other.
    pub sections: Vec<Section>,
    /// A reset came since the last id: a snapshot follows.
    reset: bool,
    /// Resets so far.
    pub resets: u64,
}

impl Record {
    /// The position to continue from.
    pub fn last_id(&self) -> Option<EventId> {
        let section = self.sections.last()?;
        Some(EventId { epoch: section.epoch.as_str().into(), seq: section.last })
    }

    /// A connection begins: a reset without its snapshot is none.
    pub fn connect(&mut self) {
        self.reset = false;
    }

    /// Records the events of the stream; panics on impossible ones.
    pub fn take(&mut self, item: Item, filter: &Filter, world: &World) {
        match item {
            Item::IdOnly(id) => self.move_to(&read_id(&id)),
            Item::Event { kind, data, id } => {
                let data: Value = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{kind}: {error}: {data}"));
                let id = id.map(|id| read_id(&id));
                self.take_event(&kind, &data, id, filter, world);
            }
            Item::Retry(_) | Item::Comment(_) => {}
        }
    }

    fn take_event(&mut self, kind: &str, data: &Value, id: Option<EventId>, filter: &Filter, world: &World) {
        match (kind, id) {
            ("hello" | "ping" | "goodbye", None) => {}
            ("reset", None) => {
                self.reset = true;
                self.resets += 1;
            }
            ("snapshot", id) => {
                self.check_snapshot(data, filter, world);
                if let Some(id) = id {
                    self.move_to(&id);
                }
            }
            ("gap", None) => {
                let number = |name: &str| data[name].as_u64().unwrap_or_else(|| panic!("no {name} in {data}"));
                let types = data["types"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let gap = Gap { from: number("from"), to: number("to"), types: types.map(str::to_owned).collect() };
                let section = self.sections.last_mut().unwrap_or_else(|| panic!("a gap before any place: {data}"));
                section.gaps.push(gap);
            }
            (kind, id) => {
                assert!(!self.reset, "an event before the snapshot of a reset: {data}");
                let node = data["nodeId"].as_str().and_then(|node| node.parse().ok()).expect("an event has a node");
                assert!(filter.wants(world, kind, node, data["pipelineId"].as_str()), "{filter:?} lets through {data}");
                // One that has waited, while others with higher numbers went ahead.
                if id.is_none() && matches!(kind, "metric_update" | "fleet_status") {
                    return;
                }
                let id = id.unwrap_or_else(|| panic!("{kind} without an id: {data}"));
                let section = self.sections.last_mut().unwrap_or_else(|| panic!("{id} came before any place"));
                assert!(id.seq > section.last, "{id} came when {} was there: {data}", section.last);
                section.came.extend(durables(kind, data).into_iter().map(|durable| (id.seq, durable)));
                self.move_to(&id);
            }
        }
    }

    /// The stream is at `id` now.
    fn move_to(&mut self, id: &EventId) {
        if let Some(section) = self.sections.last_mut()
            && !self.reset
        {
            assert_eq!(section.epoch, *id.epoch, "another epoch without a reset");
            // An id alone may repeat the position from which the stream continues.
            assert!(id.seq >= section.last, "{id} comes behind {}", section.last);
            section.last = id.seq;
            return;
        }
        self.reset = false;
        let epoch = id.epoch.to_string();
        self.sections.push(Section { epoch, start: id.seq, last: id.seq, came: Vec::new(), gaps: Vec::new() });
    }

    fn check_snapshot(&self, data: &Value, filter: &Filter, world: &World) {
        for node in data["nodes"].as_array().into_iter().flatten() {
            let id = node["nodeId"].as_str().and_then(|id| id.parse().ok()).expect("a node has an id");
            let environment = world.nodes.get(&id);
            let is_own = filter.token.is_none() || filter.token.as_ref() == environment;
            assert!(is_own, "{filter:?} sees {node} of {environment:?}");
        }
    }

    /// Whether everything that is to come has come, or what was to come last is passed.
    pub fn has_reached(&self, filter: &Filter, world: &World, stored: &Stored, sections: usize) -> bool {
        let Some(section) = self.sections.last().filter(|_| self.sections.len() == sections) else { return false };
        let expected = filter.expected(world, stored, section.start);
        expected.last().is_none_or(|(seq, _)| *seq <= section.last)
    }

    /// Compares the last epoch with what is stored of it: everything once and in its order, but for gaps.
    /// Returns how many came, and how many lie in gaps.
    pub fn compare(&self, filter: &Filter, world: &World, stored: &Stored) -> (u64, u64) {
        let section = self.sections.last().expect("there was a place to begin");
        let mut came = section.came.iter().peekable();
        let mut missed = 0;
        for expected in filter.expected(world, stored, section.start) {
            let (seq, durable) = &expected;
            // Each line has a number, and their event that of its last one.
            if came.next_if(|(id, came)| came == durable && id >= seq).is_some() {
                continue;
            }
            let is_told = section
                .gaps
                .iter()
                .any(|gap| (gap.from..=gap.to).contains(seq) && gap.types.iter().any(|kind| kind == durable.kind()));
            let next = came.peek();
            assert!(
                is_told,
                "{expected:?} did not come once and in its turn, then came {next:?}; from {} on, {:?}, {filter:?}",
                section.start, section.gaps
            );
            missed += 1;
        }
        let more = came.next();
        assert!(more.is_none(), "{more:?} is not stored, came twice, or not in its turn; {filter:?}");
        (section.came.len() as u64, missed)
    }
}

fn read_id(id: &str) -> EventId {
    id.parse().unwrap_or_else(|fault| panic!("id {id:?} {fault}"))
}

/// The durable things of an event; a node's change is none here.
fn durables(kind: &str, data: &Value) -> Vec<Durable> {
    match kind {
        "log_entry" => {
            let lines = data["entries"].as_array().into_iter().flatten().map(|entry| &entry["line"]);
            let read =
                |line: &Value| line.as_str().and_then(read_line).unwrap_or_else(|| panic!("a line of no node: {line}"));
            lines.map(read).map(|(place, number)| Durable::Line(place, number)).collect()
        }
        "status_change" => change_of(data).into_iter().map(|(place, change)| Durable::Change(place, change)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::json;
    use systole_shared::NodeId;
    use uuid::Uuid;

    use super::*;

    fn world(node: NodeId) -> World {
        let name = "default".to_owned();
        World { nodes: [(node, name.clone())].into(), pipelines: [(name, vec!["p".to_owned()])].into() }
    }

    /// A filter that lets lines of the world's only pipeline through.
    fn filter(world: &World) -> Filter {
        let mut random = StdRng::seed_from_u64(1);
        let node = *world.nodes.keys().next().unwrap();
        std::iter::repeat_with(|| Filter::any(world, &mut random))
            .find(|filter| filter.wants(world, "log_entry", node, Some("p")))
            .unwrap()
    }

    fn line(node: NodeId, seq: u64, number: u64) -> Item {
        let data = json!({"nodeId": node, "pipelineId": "p", "entries": [{"line": format!("{node} p {number}")}]});
        Item::Event { kind: "log_entry".into(), data: data.to_string(), id: Some(format!("e-{seq}")) }
    }

    fn gap(from: u64, to: u64, kind: &str) -> Item {
        let data = json!({"from": from, "to": to, "types": [kind]}).to_string();
        Item::Event { kind: "gap".into(), data, id: None }
    }

    /// Whether such a stream is taken for a good one, when three lines are stored.
    fn passes(items: impl Fn(NodeId) -> Vec<Item>) -> bool {
        let node = NodeId(Uuid::from_u128(7));
        let world = world(node);
        let filter = filter(&world);
        let lines = [((node, "p".to_owned()), vec![(11, 1), (12, 2), (13, 3)])].into();
        let stored = Stored { lines, ..Stored::default() };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut record = Record::default();
            record.take(Item::IdOnly("e-10".into()), &filter, &world);
            items(node).into_iter().for_each(|item| record.take(item, &filter, &world));
            record.compare(&filter, &world, &stored)
        }))
        .is_ok()
    }

    #[test]
    fn record_accepts_only_every_line_once_in_order() {
        assert!(passes(|node| vec![line(node, 11, 1), line(node, 12, 2), line(node, 13, 3)]));
        assert!(!passes(|node| vec![line(node, 11, 1), line(node, 13, 3)]), "lost");
        assert!(!passes(|node| vec![line(node, 11, 1), line(node, 12, 2)]), "lost at the end");
        assert!(
            !passes(|node| vec![line(node, 11, 1), line(node, 11, 1), line(node, 12, 2), line(node, 13, 3)]),
            "twice"
        );
        assert!(!passes(|node| vec![line(node, 12, 2), line(node, 11, 1), line(node, 13, 3)]), "not in order");
        assert!(!passes(|_| vec![]), "nothing");
    }

    #[test]
    fn missing_events_must_be_in_a_gap_of_their_type() {
        assert!(passes(|node| vec![line(node, 11, 1), gap(12, 13, "log_entry")]));
        assert!(!passes(|node| vec![line(node, 11, 1), gap(12, 13, "status_change")]));
        assert!(!passes(|node| vec![line(node, 11, 1), gap(13, 13, "log_entry")]));
    }
}
