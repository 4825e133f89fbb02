//! Nodes in an order.

use systole_shared::{NodeStatus, PipelineStatus, UnixMillis};

use super::Among;
use super::order::{Order, Place, Ranked};
use super::severity::Severity;
use crate::model::Throughput;
use crate::model::directory::{ListedNode, NodeDirectory};

/// What nodes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodeSort {
    #[default]
    Name,
    State,
    Cpu,
    Memory,
    EventsIn,
    EventsOut,
    Errors,
    LastReport,
    Version,
}

/// Which nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeFilter {
    pub among: Among,
    /// Empty: every state.
    pub statuses: Vec<NodeStatus>,
    /// Nodes with a pipeline in one of these states. Empty: every node.
    pub pipeline_statuses: Vec<PipelineStatus>,
    /// In lower case.
    pub text: Option<String>,
}

impl NodeFilter {
    fn includes(&self, node: &ListedNode) -> bool {
        self.among.includes(node)
            && (self.statuses.is_empty() || self.statuses.contains(&node.live.status))
            && (self.pipeline_statuses.is_empty()
                || node.live.present().any(|pipeline| self.pipeline_statuses.contains(&pipeline.status)))
            && self.text.as_ref().is_none_or(|text| node.contains(text))
    }
}

/// A page of nodes.
pub(crate) fn list(
    directory: &NodeDirectory,
    filter: &NodeFilter,
    (sort, order): (NodeSort, Order),
    (after, limit): (Option<&Place>, usize),
    now: UnixMillis,
) -> Ranked<ListedNode> {
    let nodes = directory.select(|node| filter.includes(node));
    order.rank(nodes, after, limit, |node| Place {
        value: value(sort, node, now),
        name: node.entry.name.clone(),
        key: node.entry.key.0,
    })
}

fn value(sort: NodeSort, node: &ListedNode, now: UnixMillis) -> Option<i64> {
    let live = &node.live;
    let flow = |rate: fn(Throughput) -> i64| live.throughput(now).map(rate);
    match sort {
        NodeSort::Name => None,
        NodeSort::State => Some(Severity::of_node(live).0),
        NodeSort::Cpu => live.host?.cpu,
        NodeSort::Memory => live.host?.memory_used_bytes,
        NodeSort::EventsIn => flow(|sum| sum.events_in),
        NodeSort::EventsOut => flow(|sum| sum.events_out),
        NodeSort::Errors => flow(|sum| sum.errors),
        NodeSort::LastReport => live.last_seen_at,
        NodeSort::Version => node.entry.agent_version.as_deref().and_then(version_number),
    }
}

/// A version of up to three numbers as one; what follows them does not count.
fn version_number(version: &str) -> Option<i64> {
    /// More than a part of a version has, and few enough for three of them.
    const PART: i64 = 1_000_000;
    let numbers = version.trim_start_matches('v').split(|letter: char| !letter.is_ascii_digit());
    let mut parts = numbers.take(3).map_while(|part| part.parse::<i64>().ok()).map(|part| part.min(PART - 1));
    let first = parts.next()?;
    Some((first * PART + parts.next().unwrap_or(0)) * PART + parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_sorted_by_their_numbers() {
        let sorted = ["0.9.3", "0.10.0-rc.1", "v1.2", "2", "2.0.1+abc"].map(|text| version_number(text).unwrap());
        assert!(sorted.is_sorted_by(|one, other| one < other), "{sorted:?}");
        assert_eq!(version_number("nightly"), None);
    }
}
