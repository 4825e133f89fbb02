//! What is known of the fleet: nodes, and their pipelines with the last rates.

use std::collections::{BTreeMap, BTreeSet};

use systole_shared::events::{ComponentSample, Event, FleetTotals, MetricUpdate, SnapshotNode, SnapshotPipeline};
use systole_shared::{
    EnvironmentId, HostMetrics, NodeId, NodeStatus, PipelineId, PipelineStatus, RateSample, UnixMillis,
};

/// The state that the collector sends for what an administrator has removed.
const REMOVED: &str = "REMOVED";

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct Node {
    pub name: String,
    pub status: NodeStatus,
    pub reason: String,
    pub last_report_at: Option<UnixMillis>,
    /// `key=value`, in order.
    pub labels: Vec<String>,
    pub version: String,
    /// Share of all processors' time that was not idle, 0 to 1.
    pub cpu: Option<f64>,
    /// Share of the memory in use, 0 to 1.
    pub memory: Option<f64>,
    host: HostMetrics,
}

/// A pipeline on a node.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct Instance {
    pub name: String,
    pub status: PipelineStatus,
    pub reason: String,
    pub since: UnixMillis,
    pub rates: Option<RateSample>,
    pub components: Vec<ComponentSample>,
}

/// What a list of the query API says of a node, and no event does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli::top) struct NodeDetails {
    pub name: String,
    pub reason: String,
    pub labels: Vec<String>,
    pub version: String,
    pub host: HostMetrics,
    /// Ids and names.
    pub pipelines: Vec<(PipelineId, String)>,
}

/// Nodes and pipelines of everything that the token can see.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::top) struct Fleet {
    pub nodes: BTreeMap<NodeId, Node>,
    pub instances: BTreeMap<(PipelineId, NodeId), Instance>,
    /// What flows through all pipelines, of each environment that the token can see.
    pub totals: BTreeMap<EnvironmentId, FleetTotals>,
}

impl Fleet {
    /// Takes a whole snapshot. What is known beside it stays.
    pub(in crate::cli::top) fn replace(
        &mut self,
        nodes: Vec<SnapshotNode>,
        pipelines: Vec<SnapshotPipeline>,
        totals: Vec<FleetTotals>,
    ) {
        self.totals = totals.into_iter().map(|totals| (totals.environment_id, totals)).collect();
        let ids: BTreeSet<NodeId> = nodes.iter().map(|node| node.node_id).collect();
        self.nodes.retain(|id, _| ids.contains(id));
        let keys: BTreeSet<_> = pipelines.iter().map(|item| (item.pipeline_id.clone(), item.node_id)).collect();
        self.instances.retain(|key, _| keys.contains(key));
        for snapshot in nodes {
            let node = self.nodes.entry(snapshot.node_id).or_insert_with(Node::unknown);
            (node.name, node.status, node.last_report_at) = (snapshot.name, snapshot.status, snapshot.last_seen_at);
        }
        for snapshot in pipelines {
            let key = (snapshot.pipeline_id, snapshot.node_id);
            let instance = self.instances.entry(key).or_insert_with(Instance::unknown);
            (instance.name, instance.status) = (snapshot.pipeline_name, snapshot.status);
            (instance.reason, instance.since) = (snapshot.reason, snapshot.since);
            instance.forget_old_rates();
        }
    }

    /// Takes an event.
    pub(in crate::cli::top) fn take(&mut self, event: &Event) {
        match event {
            Event::FleetStatus(status) => {
                let node = self.nodes.entry(status.node_id).or_insert_with(Node::unknown);
                node.status = status.status;
                // A silent node's event has the time when the silence was noticed.
                if !status.status.is_silent() {
                    node.last_report_at = Some(status.timestamp).max(node.last_report_at);
                }
            }
            Event::StatusChange(change) => match &change.pipeline_id {
                None if change.to_status == REMOVED => {
                    self.nodes.remove(&change.node_id);
                    self.instances.retain(|(_, node), _| *node != change.node_id);
                }
                None => {
                    let node = self.nodes.entry(change.node_id).or_insert_with(Node::unknown);
                    node.status = NodeStatus::from_wire(&change.to_status).unwrap_or(NodeStatus::Unrecognized);
                    node.reason.clone_from(&change.reason);
                }
                Some(pipeline) if change.to_status == REMOVED => {
                    self.instances.remove(&(pipeline.clone(), change.node_id));
                }
                Some(pipeline) => {
                    let instance =
                        self.instances.entry((pipeline.clone(), change.node_id)).or_insert_with(Instance::unknown);
                    if change.from_status != change.to_status {
                        instance.since = change.timestamp;
                    }
                    instance.status = PipelineStatus::from_wire(&change.to_status);
                    instance.reason.clone_from(&change.reason);
                    if let Some(name) = &change.pipeline_name {
                        instance.name.clone_from(name);
                    }
                    instance.forget_old_rates();
                }
            },
            Event::MetricUpdate(update) => self.take_rates(update),
            Event::FleetTotals(totals) => {
                self.totals.insert(totals.environment_id, totals.clone());
            }
            // Log lines are kept beside, and other events say nothing of a node's state.
            _ => {}
        }
    }

    /// Takes the last rates of a pipeline.
    pub(in crate::cli::top) fn take_rates(&mut self, update: &MetricUpdate) {
        // A pipeline that was removed meanwhile stays away.
        if let Some(instance) = self.instances.get_mut(&(update.pipeline_id.clone(), update.node_id)) {
            instance.rates = Some(update.sample);
            instance.components.clone_from(&update.components);
        }
    }

    /// Takes what a query says of nodes.
    pub(in crate::cli::top) fn take_details(&mut self, details: Vec<(NodeId, NodeDetails)>) {
        for (id, details) in details {
            // Events and the snapshot say which nodes there are.
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.cpu = cpu_between(&node.host, &details.host).or(node.cpu);
            node.memory = share(details.host.memory_used_bytes, details.host.memory_total_bytes);
            (node.name, node.reason, node.labels) = (details.name, details.reason, details.labels);
            (node.version, node.host) = (details.version, details.host);
            for (pipeline, name) in details.pipelines {
                if let Some(instance) = self.instances.get_mut(&(pipeline, id)) {
                    instance.name = name;
                }
            }
        }
    }

    /// Whether there is a node without a name: it enrolled after the snapshot.
    pub(in crate::cli::top) fn has_nameless(&self) -> bool {
        self.nodes.values().any(|node| node.name.is_empty())
    }

    /// The name of a node, its id while it has none.
    pub(in crate::cli::top) fn node_name(&self, id: NodeId) -> String {
        let name = self.nodes.get(&id).map(|node| node.name.clone()).filter(|name| !name.is_empty());
        name.unwrap_or_else(|| id.to_string())
    }

    /// The name of a pipeline, on any node that has it.
    pub(in crate::cli::top) fn pipeline_name(&self, id: &PipelineId) -> String {
        let name = self.of_pipeline(id).map(|(_, instance)| instance.name.clone()).find(|name| !name.is_empty());
        name.unwrap_or_else(|| id.as_str().to_owned())
    }

    /// The pipeline's state on each node.
    pub(in crate::cli::top) fn of_pipeline(&self, id: &PipelineId) -> impl Iterator<Item = (NodeId, &Instance)> {
        let least = NodeId(uuid::Uuid::nil());
        let same = move |((pipeline, _), _): &(&(PipelineId, NodeId), _)| pipeline == id;
        self.instances.range((id.clone(), least)..).take_while(same).map(|((_, node), instance)| (*node, instance))
    }
}

impl Node {
    fn unknown() -> Self {
        Node {
            name: String::new(),
            status: NodeStatus::Unknown,
            reason: String::new(),
            last_report_at: None,
            labels: Vec::new(),
            version: String::new(),
            cpu: None,
            memory: None,
            host: HostMetrics::default(),
        }
    }
}

impl Instance {
    /// What does not run has no rates.
    fn forget_old_rates(&mut self) {
        if !self.status.is_running() {
            self.rates = None;
            self.components.clear();
        }
    }

    fn unknown() -> Self {
        Instance {
            name: String::new(),
            status: PipelineStatus::Unknown,
            reason: String::new(),
            since: 0,
            rates: None,
            components: Vec::new(),
        }
    }
}

/// The share of processor time between two readings; none when nothing was counted, or the host was restarted.
fn cpu_between(before: &HostMetrics, after: &HostMetrics) -> Option<f64> {
    let total = after.cpu_seconds_total? - before.cpu_seconds_total?;
    let idle = after.cpu_seconds_idle? - before.cpu_seconds_idle?;
    (total > 0.0 && idle >= 0.0).then(|| (1.0 - idle / total).clamp(0.0, 1.0))
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
    Some(part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_the_share_between_two_readings() {
        let reading = |total, idle| HostMetrics {
            cpu_seconds_total: Some(total),
            cpu_seconds_idle: Some(idle),
            ..HostMetrics::default()
        };
        assert_eq!(cpu_between(&reading(100.0, 50.0), &reading(110.0, 57.5)), Some(0.25));
        assert_eq!(cpu_between(&HostMetrics::default(), &reading(1.0, 1.0)), None);
        assert_eq!(cpu_between(&reading(100.0, 50.0), &reading(100.0, 50.0)), None);
        assert_eq!(cpu_between(&reading(100.0, 50.0), &reading(5.0, 5.0)), None, "the host was restarted");
    }
}
