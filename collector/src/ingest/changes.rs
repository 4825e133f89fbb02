//! The changes of a batch of reports: rows by key, events in order.
//!
//! Several reports of one node-minute become one upsert, and everything is sorted by key, so that
//! the database touches each page once.

use std::collections::{BTreeMap, BTreeSet};

use systole_shared::events::{Event, EventType, FleetTotals};
use systole_shared::{AlertChange, BootId, NodeId, NodeStatus, PipelineId, UnixMillis};

use crate::model::{EnvironmentKey, NodeKey, Payload, PendingEvent, PendingSample, PipelineKey, to_json};
use crate::store::MinuteBucket;
use crate::store::{
    AlertBatch, CommitBatch, DeploymentRow, EventRow, LogRow, NodeBootRow, NodeChange, NodeGapRow, NodeHeartbeat,
    NodeRemoval, NodeSettingsRow, NodeTotalsRow, PipelineRow, PipelineStatusRow, SeriesRow, TopologyRow,
};
use crate::timeseries::WalRecord;

/// A node that fell silent or is back.
#[derive(Clone, Debug)]
pub(crate) struct PresenceChange {
    pub node: NodeId,
    pub name: String,
    pub from: NodeStatus,
    pub to: NodeStatus,
    pub reason: String,
}

/// The changes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub pipelines: Vec<PipelineRow>,
    pub pipeline_names: BTreeMap<PipelineKey, String>,
    pub series: Vec<SeriesRow>,
    boots: BTreeMap<(NodeKey, BootId), (u64, UnixMillis)>,
    forgotten_boots: Vec<(NodeKey, BootId)>,
    gaps: Vec<NodeGapRow>,
    heartbeats: BTreeMap<NodeKey, NodeHeartbeat>,
    totals: BTreeMap<NodeKey, Vec<u8>>,
    nodes: BTreeMap<NodeKey, NodeChange>,
    statuses: BTreeMap<(i64, i64), PipelineStatusRow>,
    /// `None`: the node no longer has it.
    deployments: BTreeMap<(i64, String), Option<DeploymentRow>>,
    topologies: BTreeMap<(i64, String), TopologyRow>,
    buckets: BTreeMap<(i64, i64), MinuteBucket>,
    pub logs: Vec<LogRow>,
    event_rows: Vec<EventRow>,
    pub events: Vec<PendingEvent>,
    pub samples: Vec<PendingSample>,
    /// Nodes that fell silent or are back, for the log.
    pub presences: Vec<PresenceChange>,
    settings: BTreeMap<NodeKey, NodeSettingsRow>,
    removals: Vec<NodeRemoval>,
    /// Nodes that alerts must look at again.
    live: BTreeSet<NodeKey>,
    /// States and messages of alerts.
    pub alerts: AlertBatch,
    /// Nodes whose labels or maintenance filters must know.
    pub listed_anew: BTreeSet<NodeKey>,
    /// Nodes that are removed with this batch.
    pub removed: BTreeMap<NodeKey, NodeId>,
    /// Lines above the budgets of their nodes.
    pub log_lines_dropped: u64,
    /// Growth of the pipelines' events.
    pub events_in: u64,
    head_seq: u64,
}

impl Changes {
    /// No changes yet; sequence numbers continue after `head_seq`.
    pub(crate) fn new(head_seq: u64) -> Self {
        Changes { head_seq, ..Changes::default() }
    }

    /// The next sequence number.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.head_seq += 1;
        self.head_seq
    }

    /// Highest assigned sequence number.
    pub(crate) fn head_seq(&self) -> u64 {
        self.head_seq
    }

    /// Moves the progress of a boot, also of one that the same batch has forgotten.
    pub(crate) fn advance(&mut self, node: NodeKey, boot: BootId, seq: u64, at: UnixMillis) {
        self.forgotten_boots.retain(|forgotten| *forgotten != (node, boot));
        self.boots.insert((node, boot), (seq, at));
    }

    /// Forgets a boot of a node.
    pub(crate) fn forget_boot(&mut self, node: NodeKey, boot: BootId) {
        self.boots.remove(&(node, boot));
        self.forgotten_boots.push((node, boot));
    }

    /// Writes down reports that never came.
    pub(crate) fn add_gap(&mut self, gap: NodeGapRow) {
        self.gaps.push(gap);
    }

    /// The columns of a node that every report changes.
    pub(crate) fn heartbeat(&mut self, node: NodeKey) -> &mut NodeHeartbeat {
        self.heartbeats.entry(node).or_default()
    }

    /// The totals that a node reported last, packed.
    pub(crate) fn set_totals(&mut self, node: NodeKey, packed: Vec<u8>) {
        self.totals.insert(node, packed);
    }

    /// Alerts must look at a node again.
    pub(crate) fn note_live(&mut self, node: NodeKey) {
        self.live.insert(node);
    }

    /// The nodes that alerts must look at again, once the batch is committed.
    pub(crate) fn take_live(&mut self) -> BTreeSet<NodeKey> {
        std::mem::take(&mut self.live)
    }

    /// The columns of a node that seldom change.
    pub(crate) fn node(&mut self, node: NodeKey) -> &mut NodeChange {
        self.live.insert(node);
        self.nodes.entry(node).or_default()
    }

    /// What is set of a node.
    pub(crate) fn set_settings(&mut self, row: NodeSettingsRow) {
        let node = NodeKey(row.id);
        self.settings.insert(node, row);
        self.listed_anew.insert(node);
        self.live.insert(node);
    }

    /// Removes a node with this batch, after everything else of it was written.
    pub(crate) fn remove_node(&mut self, id: NodeId, removal: NodeRemoval) {
        self.removed.insert(removal.node, id);
        self.removals.push(removal);
    }

    /// The last state of a pipeline on a node.
    pub(crate) fn set_status(&mut self, row: PipelineStatusRow) {
        self.live.insert(NodeKey(row.node));
        self.statuses.insert((row.node, row.pipeline), row);
    }

    /// The last state of a deployment on a node.
    pub(crate) fn set_deployment(&mut self, row: DeploymentRow) {
        self.deployments.insert((row.node, row.slug.clone()), Some(row));
    }

    /// The node no longer has a deployment.
    pub(crate) fn end_deployment(&mut self, node: NodeKey, pipeline: &PipelineId) {
        self.deployments.insert((node.0, pipeline.to_string()), None);
    }

    /// The graph of a configuration.
    pub(crate) fn add_topology(&mut self, row: TopologyRow) {
        self.topologies.insert((row.pipeline, row.checksum.clone()), row);
    }

    /// Whether rollouts may have something to do after this batch.
    pub(crate) fn concerns_rollouts(&self) -> bool {
        let concerns =
            |change: &NodeChange| change.status.is_some() || change.agent_version.is_some() || change.labels.is_some();
        let is_administered = !self.settings.is_empty() || !self.removals.is_empty();
        !self.deployments.is_empty() || is_administered || self.nodes.values().any(concerns)
    }

    /// The sums that the batch adds to a minute of a node.
    pub(crate) fn bucket(&mut self, minute: i64, node: NodeKey) -> &mut MinuteBucket {
        self.buckets.entry((minute, node.0)).or_insert_with(|| MinuteBucket::new(minute, node.0))
    }

    /// Adds an event under the next sequence number, and keeps it when it is a status change or a deployment.
    pub(crate) fn add_event(
        &mut self,
        at: UnixMillis,
        node: (NodeKey, NodeId, EnvironmentKey),
        pipeline: Option<(PipelineKey, &PipelineId)>,
        kind: EventType,
        event: &Event,
    ) {
        let seq = self.next_seq();
        let pipeline = pipeline.map(|(key, id)| (Some(key), id));
        self.add_event_at(seq, at, node, pipeline, kind, event);
    }

    /// Adds an event of a deployment. The pipeline has no key before its first report.
    pub(crate) fn add_deployment_event(
        &mut self,
        at: UnixMillis,
        node: (NodeKey, NodeId, EnvironmentKey),
        pipeline: (Option<PipelineKey>, &PipelineId),
        event: &Event,
    ) {
        let seq = self.next_seq();
        self.add_event_at(seq, at, node, Some(pipeline), EventType::Deployment, event);
    }

    /// Adds an event that is conflated, under the next sequence number.
    pub(crate) fn add_news(
        &mut self,
        (node, environment): (NodeId, EnvironmentKey),
        pipeline: Option<&PipelineId>,
        kind: EventType,
        payload: Payload,
    ) {
        let (seq, node) = (self.next_seq(), Some(node));
        self.events.push(PendingEvent { seq, environment, node, pipeline: pipeline.cloned(), kind, payload });
    }

    /// Adds the totals of an environment, under the next sequence number.
    pub(crate) fn add_totals(&mut self, environment: EnvironmentKey, totals: FleetTotals) {
        let (seq, kind, payload) = (self.next_seq(), EventType::FleetTotals, Payload::Totals(totals));
        self.events.push(PendingEvent { seq, environment, node: None, pipeline: None, kind, payload });
    }

    /// Adds a change of an alert, under the next sequence number. `node`: what it is about, if that is a node.
    pub(crate) fn add_alert_event(
        &mut self,
        environment: EnvironmentKey,
        node: Option<(NodeKey, NodeId)>,
        pipeline: Option<(Option<PipelineKey>, &PipelineId)>,
        change: AlertChange,
    ) {
        let (seq, at, kind) = (self.next_seq(), change.timestamp, EventType::Alert);
        let payload = to_json(&Event::Alert(change));
        self.event_rows.push(EventRow {
            seq: signed(seq),
            at,
            environment: environment.0,
            // No node has this key.
            node: node.map_or(0, |(key, _)| key.0),
            pipeline: pipeline.and_then(|(key, _)| key).map(|key| key.0),
            kind: kind.as_str().to_owned(),
            payload: payload.clone(),
        });
        let (node, pipeline) = (node.map(|(_, id)| id), pipeline.map(|(_, id)| id.clone()));
        self.events.push(PendingEvent { seq, environment, node, pipeline, kind, payload: Payload::Text(payload) });
    }

    /// Adds an event under a sequence number that was taken before.
    pub(crate) fn add_event_at(
        &mut self,
        seq: u64,
        at: UnixMillis,
        (node_key, node, environment): (NodeKey, NodeId, EnvironmentKey),
        pipeline: Option<(Option<PipelineKey>, &PipelineId)>,
        kind: EventType,
        event: &Event,
    ) {
        let payload = to_json(event);
        // Lines are in a table of their own.
        if matches!(kind, EventType::StatusChange | EventType::Deployment) {
            self.event_rows.push(EventRow {
                seq: signed(seq),
                at,
                environment: environment.0,
                node: node_key.0,
                pipeline: pipeline.and_then(|(key, _)| key).map(|key| key.0),
                kind: kind.as_str().to_owned(),
                payload: payload.clone(),
            });
        }
        let pipeline = pipeline.map(|(_, id)| id.clone());
        let (node, payload) = (Some(node), Payload::Text(payload));
        self.events.push(PendingEvent { seq, environment, node, pipeline, kind, payload });
    }

    /// The record and the rows for the transaction; events and samples stay for after it.
    pub(crate) fn take_batch(&mut self) -> (WalRecord, CommitBatch) {
        let boot_row = |((node, boot), (seq, last_seen_at)): ((NodeKey, BootId), (u64, UnixMillis))| NodeBootRow {
            node: node.0,
            boot: boot.to_string(),
            seq: signed(seq),
            last_seen_at,
        };
        let forgotten = std::mem::take(&mut self.forgotten_boots).into_iter();
        let heartbeats = std::mem::take(&mut self.heartbeats).into_iter();
        let totals = std::mem::take(&mut self.totals).into_iter();
        let record = WalRecord {
            buckets: std::mem::take(&mut self.buckets).into_values().collect(),
            boots: std::mem::take(&mut self.boots).into_iter().map(boot_row).collect(),
            forgotten_boots: forgotten.map(|(node, boot)| (node.0, boot.to_string())).collect(),
            heartbeats: heartbeats.map(|(node, heartbeat)| (node.0, heartbeat)).collect(),
            totals: totals.map(|(node, body)| NodeTotalsRow { node: node.0, body }).collect(),
        };
        let mut deployments = Vec::new();
        let mut ended_deployments = Vec::new();
        for ((node, slug), row) in std::mem::take(&mut self.deployments) {
            match row {
                Some(row) => deployments.push(row),
                None => ended_deployments.push((node, slug)),
            }
        }
        let batch = CommitBatch {
            wal: None,
            pipelines: std::mem::take(&mut self.pipelines),
            pipeline_names: std::mem::take(&mut self.pipeline_names)
                .into_iter()
                .map(|(key, name)| (key.0, name))
                .collect(),
            series: std::mem::take(&mut self.series),
            gaps: std::mem::take(&mut self.gaps),
            nodes: std::mem::take(&mut self.nodes).into_iter().map(|(node, change)| (node.0, change)).collect(),
            statuses: std::mem::take(&mut self.statuses).into_values().collect(),
            settings: std::mem::take(&mut self.settings).into_values().collect(),
            removals: std::mem::take(&mut self.removals),
            deployments,
            ended_deployments,
            topologies: std::mem::take(&mut self.topologies).into_values().collect(),
            logs: std::mem::take(&mut self.logs),
            events: std::mem::take(&mut self.event_rows),
            alerts: std::mem::take(&mut self.alerts),
            head_seq: self.head_seq,
        };
        (record, batch)
    }
}

/// A sequence number as the database has it.
pub(crate) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
