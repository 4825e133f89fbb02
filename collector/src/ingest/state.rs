//! What the committer knows of nodes and names: it answers every look-up of the hot path without
//! the database.
//!
//! Only the committer changes it, ahead of the transaction that writes the same; when a transaction
//! fails the state is loaded anew.
//!
//! A node or pipeline that is seen for the first time changes from `UNKNOWN`. A node that enrolled and
//! never reports becomes UNREACHABLE like any other.
//!
//! Histories are kept for the first `max_component_series` components, because each costs about 80 KB of disk
//! a day. The others have recent samples and events. A database with more components keeps those that it has.

use foldhash::HashMap;

use systole_shared::limits::REMEMBERED_BOOTS;
use systole_shared::{BootId, ComponentId, NodeId, NodeStatus, PipelineId, PipelineStatus, UnixMillis};

use super::log_budget::LogBudget;
use crate::model::report::ReportedAgent;
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, SeriesKey};
use crate::store::{IngestSnapshot, PipelineStatusRow, StoredNode};

/// Everything the committer knows.
#[derive(Debug)]
pub(crate) struct IngestState {
    pub nodes: HashMap<NodeKey, NodeState>,
    pub dimensions: Dimensions,
    /// Highest sequence number that was given out.
    pub head_seq: u64,
}

/// Names and their keys.
#[derive(Debug, Default)]
pub(crate) struct Dimensions {
    pipelines: HashMap<EnvironmentKey, HashMap<PipelineId, PipelineDimension>>,
    ids: HashMap<PipelineKey, PipelineId>,
    last_pipeline: PipelineKey,
    last_series: SeriesKey,
    /// Components that have a series, and how many may have one.
    component_series: usize,
    pub max_component_series: usize,
}

/// A pipeline of an environment.
#[derive(Clone, Debug)]
pub(crate) struct PipelineDimension {
    pub key: PipelineKey,
    pub name: String,
}

/// One node.
#[derive(Debug)]
pub(crate) struct NodeState {
    pub key: NodeKey,
    pub id: NodeId,
    pub environment: EnvironmentKey,
    pub status: NodeStatus,
    /// Lives of the agent and how far they are applied; the last one reported last.
    pub boots: Vec<(BootId, u64)>,
    /// When a boot came back after another one had reported: two machines in turn.
    pub boot_returns: Vec<UnixMillis>,
    pub pipelines: HashMap<PipelineId, PipelineState>,
    /// As last written; `None` before this collector's first report of the node.
    pub agent: Option<ReportedAgent>,
    /// Reports that this collector has applied.
    pub reports: u64,
    /// Log lines that may still come.
    pub log_budget: LogBudget,
}

/// A pipeline on a node.
#[derive(Debug)]
pub(crate) struct PipelineState {
    pub series: SeriesKey,
    pub status: PipelineStatus,
    pub row: PipelineStatusRow,
    /// Series of components; `None` for one that has no history.
    pub components: HashMap<ComponentId, Option<SeriesKey>>,
    /// The last report of this collector's that had it, counted from 1 in [`NodeState::reports`].
    pub last_report: u64,
}

impl PipelineState {
    /// Whether the node's reports still have it.
    pub(crate) fn is_present(&self) -> bool {
        self.row.present != 0
    }
}

impl IngestState {
    /// The state as the database has it.
    pub(crate) fn load(snapshot: IngestSnapshot, max_component_series: usize) -> Self {
        let series = snapshot.nodes.iter().flat_map(|node| &node.series);
        let mut dimensions = Dimensions {
            last_series: snapshot.last_series,
            component_series: series.filter(|(_, component, _)| !component.is_empty()).count(),
            max_component_series,
            ..Dimensions::default()
        };
        for (key, environment, id, name) in snapshot.pipelines {
            dimensions.last_pipeline = dimensions.last_pipeline.max(key);
            if let Ok(id) = PipelineId::parse(&id) {
                dimensions.insert(environment, id, PipelineDimension { key, name });
            }
        }
        let nodes = snapshot.nodes.into_iter().map(|node| (node.key, NodeState::load(node, &dimensions))).collect();
        IngestState { nodes, dimensions, head_seq: snapshot.position.head }
    }
}

impl Dimensions {
    fn insert(&mut self, environment: EnvironmentKey, id: PipelineId, dimension: PipelineDimension) {
        self.ids.insert(dimension.key, id.clone());
        self.pipelines.entry(environment).or_default().insert(id, dimension);
    }

    /// A pipeline of an environment, if it is known.
    pub(crate) fn pipeline(&mut self, environment: EnvironmentKey, id: &PipelineId) -> Option<&mut PipelineDimension> {
        self.pipelines.get_mut(&environment)?.get_mut(id)
    }

    /// Makes a pipeline known and returns its key.
    pub(crate) fn add_pipeline(&mut self, environment: EnvironmentKey, id: &PipelineId, name: &str) -> PipelineKey {
        self.last_pipeline.0 += 1;
        let dimension = PipelineDimension { key: self.last_pipeline, name: name.to_owned() };
        self.insert(environment, id.clone(), dimension);
        self.last_pipeline
    }

    /// The next free key of a series. Those of one node come one after the other with its first
    /// report, so that its rows lie together in every minute.
    pub(crate) fn next_series(&mut self) -> SeriesKey {
        self.last_series.0 += 1;
        self.last_series
    }

    /// The same for a component, unless so many have one that this one gets no history.
    pub(crate) fn next_component_series(&mut self) -> Option<SeriesKey> {
        if self.component_series >= self.max_component_series {
            return None;
        }
        self.component_series += 1;
        Some(self.next_series())
    }
}

impl NodeState {
    /// A node as the database has it.
    pub(crate) fn load(stored: StoredNode, dimensions: &Dimensions) -> Self {
        let mut own = HashMap::default();
        let mut components: HashMap<PipelineKey, HashMap<ComponentId, Option<SeriesKey>>> = HashMap::default();
        for (pipeline, component, series) in stored.series {
            if component.is_empty() {
                own.insert(pipeline, series);
            } else if let Ok(component) = ComponentId::parse(&component) {
                components.entry(pipeline).or_default().insert(component, Some(series));
            }
        }
        let mut pipelines = HashMap::default();
        for (status, row) in stored.statuses {
            let key = PipelineKey(row.pipeline);
            if let (Some(id), Some(series)) = (dimensions.ids.get(&key), own.get(&key)) {
                let components = components.remove(&key).unwrap_or_default();
                pipelines
                    .insert(id.clone(), PipelineState { series: *series, status, row, components, last_report: 0 });
            }
        }
        NodeState {
            key: stored.key,
            id: stored.id,
            environment: stored.environment,
            status: stored.status,
            boots: stored.boots,
            boot_returns: Vec::new(),
            pipelines,
            agent: None,
            reports: 0,
            log_budget: LogBudget::default(),
        }
    }

    /// How far a life of the agent is applied.
    pub(crate) fn progress(&self, boot: BootId) -> Option<u64> {
        self.boots.iter().find(|(known, _)| *known == boot).map(|(_, seq)| *seq)
    }

    /// Moves the progress of a boot, makes it the latest, and returns the boot that is forgotten
    /// for it.
    pub(crate) fn advance(&mut self, boot: BootId, seq: u64) -> Option<BootId> {
        self.boots.retain(|(known, _)| *known != boot);
        self.boots.push((boot, seq));
        (self.boots.len() > REMEMBERED_BOOTS).then(|| self.boots.remove(0).0)
    }

    /// Pipelines whose process lives.
    pub(crate) fn pipelines_running(&self) -> u32 {
        let running = self.pipelines.values().filter(|pipeline| pipeline.is_present() && pipeline.status.is_running());
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }
}
