//! The committer's state of nodes and names. It answers every look-up of the hot path without the database.
//!
//! Only the committer changes it, before the transaction that writes the same. When a transaction fails,
//! the state is loaded again.
//!
//! A node or pipeline that is seen for the first time changes from `UNKNOWN`. A node that enrolled and
//! never reports becomes UNREACHABLE like any other.
//!
//! Histories are kept for `max_component_series` components, because each costs about 80 KB of disk a day. The
//! others have recent samples and events; [`super::places`] says which have a history. After a start each
//! component takes its place with its first report.

use std::net::IpAddr;

use foldhash::HashMap;

use systole_shared::limits::REMEMBERED_BOOTS;
use systole_shared::{BootId, ComponentId, NodeId, NodeStatus, PipelineId, PipelineStatus, UnixMillis};

use super::limits::{HourlyCount, OverLimit};
use super::log_budget::LogBudget;
use super::places::ComponentPlaces;
use super::reason::PublishedReason;
use super::topologies::KnownTopologies;
use super::totals::NodeTotals;
use crate::config::IngestLimits;
use crate::model::directory::{NodeEntry, PipelineEntry};
use crate::model::live::{HostReading, LiveNode, LivePipeline, LiveSample};
use crate::model::node::{Labels, NodeSettings};
use crate::model::report::ReportedAgent;
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, SeriesKey, Throughput};
use crate::store::{DeploymentRow, IngestSnapshot, PipelineStatusRow, StoredNode};

/// Everything the committer knows.
#[derive(Debug)]
pub(crate) struct IngestState {
    pub nodes: HashMap<NodeKey, NodeState>,
    pub dimensions: Dimensions,
    /// Highest assigned sequence number.
    pub head_seq: u64,
}

/// Names and their keys.
#[derive(Debug, Default)]
pub(crate) struct Dimensions {
    pipelines: HashMap<EnvironmentKey, HashMap<PipelineId, PipelineDimension>>,
    ids: HashMap<PipelineKey, PipelineId>,
    last_pipeline: PipelineKey,
    last_series: SeriesKey,
    /// Components that have a history.
    pub places: ComponentPlaces,
    pub limits: IngestLimits,
    /// Pipelines that were new in this hour, by environment.
    new_pipelines: HashMap<EnvironmentKey, HourlyCount>,
    pub over_limit: OverLimit,
    /// Graphs of configurations that are stored.
    pub topologies: KnownTopologies,
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
    /// The name that is shown.
    pub name: String,
    pub reported_name: String,
    pub reported_labels: Labels,
    /// What is set at the collector.
    pub settings: NodeSettings,
    pub status: NodeStatus,
    pub status_reason: String,
    pub status_since: UnixMillis,
    /// The reason of the state, as last published.
    pub reason: PublishedReason,
    /// Lives of the agent and how far they are applied; the last one reported last.
    pub boots: Vec<(BootId, u64)>,
    /// Times at which a boot reported again after another one: two machines in turn.
    pub boot_returns: Vec<UnixMillis>,
    pub pipelines: HashMap<PipelineId, PipelineState>,
    /// How far it is with pipelines of the centre.
    pub deployments: HashMap<PipelineId, DeploymentState>,
    /// As last written; `None` before this collector's first report of the node.
    pub agent: Option<ReportedAgent>,
    pub agent_version: Option<String>,
    /// The host as last seen; `None` while the node is silent.
    pub host: Option<HostReading>,
    /// The address of its last report; `None` before the first one to this collector.
    pub address: Option<IpAddr>,
    /// The totals that its agent reported last, if it reports totals.
    pub totals: NodeTotals,
    pub enrolled_at: UnixMillis,
    /// Reports that this collector has applied.
    pub reports: u64,
    /// Reports that never came, before one that was refused: they count with the next one.
    pub unassigned_missing: u64,
    /// The rates of all its pipelines, by its last report.
    pub throughput: Throughput,
    /// Log lines that may still come.
    pub log_budget: LogBudget,
    /// The arrival of the last report.
    pub last_seen: UnixMillis,
    /// When it was last noticed that reports are missing.
    pub lost_reports_at: Option<UnixMillis>,
    /// How far its clock was behind ours with its last report to this process; 0 if that is no more than the protocol
    /// tolerates.
    pub clock_skew_ms: Option<i64>,
    /// Components that have a series, whether they have a place or not.
    pub known_series: usize,
    pub new_pipelines: HourlyCount,
    pub new_series: HourlyCount,
}

/// A version of a pipeline of the centre on a node.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentState {
    pub row: DeploymentRow,
    /// The reason of the phase, as last published.
    pub reason: PublishedReason,
}

/// A component that has a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComponentState {
    pub series: SeriesKey,
    /// Whether its history continues.
    pub has_place: bool,
    /// The hour of its last sample, by the collector's clock.
    pub seen_hour: i64,
}

/// A pipeline on a node.
#[derive(Debug)]
pub(crate) struct PipelineState {
    pub series: SeriesKey,
    pub status: PipelineStatus,
    pub row: PipelineStatusRow,
    /// Components that have, or had, a history.
    pub components: HashMap<ComponentId, ComponentState>,
    /// The reason of the state, as last published.
    pub reason: PublishedReason,
    /// The last report of this collector's that had it, counted from 1 in [`NodeState::reports`].
    pub last_report: u64,
    /// Its last sample; `None` when its metrics could not be read since.
    pub sample: Option<LiveSample>,
}

impl PipelineState {
    /// Whether the node's reports still have it.
    pub(crate) fn is_present(&self) -> bool {
        self.row.present != 0
    }

    /// As lists see it.
    fn live(&self) -> LivePipeline {
        LivePipeline {
            key: PipelineKey(self.row.pipeline),
            status: self.status,
            is_present: self.is_present(),
            sample: self.sample,
        }
    }

    /// Components that have a place.
    pub(crate) fn placed(&self) -> usize {
        self.components.values().filter(|component| component.has_place).count()
    }

    /// Takes the places of all components, and returns how many there were.
    pub(crate) fn take_places(&mut self) -> usize {
        let placed = self.components.values_mut().filter(|component| component.has_place);
        placed.map(|component| component.has_place = false).count()
    }
}

impl IngestState {
    /// The state as the database has it.
    pub(crate) fn load(snapshot: IngestSnapshot, limits: IngestLimits) -> Self {
        let mut dimensions = Dimensions {
            last_series: snapshot.last_series,
            places: ComponentPlaces::new(limits.component_series),
            limits,
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

    /// Every pipeline, as lists see it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = PipelineEntry> {
        self.pipelines.iter().flat_map(|(environment, known)| {
            known.iter().map(|(id, dimension)| PipelineEntry {
                key: dimension.key,
                environment: *environment,
                id: id.clone(),
                name: dimension.name.clone(),
            })
        })
    }

    /// A pipeline by its key.
    pub(crate) fn entry(&self, key: PipelineKey) -> Option<PipelineEntry> {
        let id = self.ids.get(&key)?;
        self.pipelines.iter().find_map(|(environment, known)| {
            let dimension = known.get(id).filter(|dimension| dimension.key == key)?;
            Some(PipelineEntry { key, environment: *environment, id: id.clone(), name: dimension.name.clone() })
        })
    }

    /// The next free key of a series. Those of one node come one after the other with its first
    /// report, so that its rows lie together in every minute.
    pub(crate) fn next_series(&mut self) -> SeriesKey {
        self.last_series.0 += 1;
        self.last_series
    }

    /// Whether an environment may have one more pipeline.
    pub(crate) fn has_room(&self, environment: EnvironmentKey, now: UnixMillis) -> bool {
        let known = self.pipelines.get(&environment).map_or(0, HashMap::len);
        let new = self.new_pipelines.get(&environment).copied().unwrap_or_default();
        known < self.limits.pipelines_per_environment && new.has_room(now, self.limits.new_pipelines_per_environment)
    }

    /// Counts a pipeline that is new in an environment.
    pub(crate) fn count_new_pipeline(&mut self, environment: EnvironmentKey, now: UnixMillis) {
        self.new_pipelines.entry(environment).or_default().add(now);
    }

    /// Forgets a pipeline that no node has any more.
    pub(crate) fn forget_pipeline(&mut self, key: PipelineKey) {
        self.topologies.forget(key);
        let Some(id) = self.ids.remove(&key) else { return };
        for known in self.pipelines.values_mut() {
            if known.get(&id).is_some_and(|dimension| dimension.key == key) {
                known.remove(&id);
            }
        }
    }
}

impl NodeState {
    /// A node as the database has it.
    pub(crate) fn load(stored: StoredNode, dimensions: &Dimensions) -> Self {
        let mut own = HashMap::default();
        let mut components: HashMap<PipelineKey, HashMap<ComponentId, ComponentState>> = HashMap::default();
        let mut known_series = 0;
        for (pipeline, component, series) in stored.series {
            if component.is_empty() {
                own.insert(pipeline, series);
            } else if let Ok(component) = ComponentId::parse(&component) {
                let state = ComponentState { series, has_place: false, seen_hour: 0 };
                components.entry(pipeline).or_default().insert(component, state);
                known_series += 1;
            }
        }
        let mut pipelines = HashMap::default();
        for (status, row) in stored.statuses {
            let key = PipelineKey(row.pipeline);
            if let (Some(id), Some(series)) = (dimensions.ids.get(&key), own.get(&key)) {
                let components = components.remove(&key).unwrap_or_default();
                let reason = PublishedReason::new(&row.reason);
                let state =
                    PipelineState { series: *series, status, row, reason, components, last_report: 0, sample: None };
                pipelines.insert(id.clone(), state);
            }
        }
        let deployments = stored.deployments.into_iter().filter_map(|row| {
            let reason = PublishedReason::new(&row.reason);
            Some((PipelineId::parse(&row.slug).ok()?, DeploymentState { row, reason }))
        });
        let deployments = deployments.collect();
        let totals = stored.totals.as_deref().map(NodeTotals::unpack).unwrap_or_default();
        NodeState {
            key: stored.key,
            id: stored.id,
            environment: stored.environment,
            name: stored.settings.name.clone().unwrap_or_else(|| stored.name.clone()),
            reported_name: stored.name,
            reported_labels: stored.reported_labels,
            settings: stored.settings,
            status: stored.status,
            reason: PublishedReason::new(&stored.status_reason),
            status_reason: stored.status_reason,
            status_since: stored.status_since,
            boots: stored.boots,
            boot_returns: Vec::new(),
            pipelines,
            deployments,
            agent: None,
            agent_version: stored.agent_version,
            host: None,
            address: None,
            reports: 0,
            last_seen: stored.last_seen.max(totals.reported_at()),
            totals,
            enrolled_at: stored.enrolled_at,
            unassigned_missing: 0,
            throughput: Throughput::default(),
            lost_reports_at: None,
            clock_skew_ms: None,
            known_series,
            new_pipelines: HourlyCount::default(),
            new_series: HourlyCount::default(),
            log_budget: LogBudget::default(),
        }
    }

    /// The labels that the node has.
    pub(crate) fn labels(&self) -> Labels {
        self.settings.labels_over(&self.reported_labels)
    }

    /// As filters see it.
    pub(crate) fn entry(&self) -> NodeEntry {
        NodeEntry {
            key: self.key,
            id: self.id,
            environment: self.environment,
            name: self.name.clone(),
            reported_name: self.reported_name.clone(),
            agent_version: self.agent_version.clone(),
            labels: self.labels(),
            maintenance_until: self.settings.maintenance.as_ref().map(|maintenance| maintenance.until),
            is_removed: false,
        }
    }

    /// As lists see it.
    pub(crate) fn live(&self) -> LiveNode {
        let mut pipelines: Vec<_> = self.pipelines.values().map(PipelineState::live).collect();
        pipelines.sort_unstable_by_key(|pipeline| pipeline.key);
        LiveNode {
            status: self.status,
            reason: self.status_reason.as_str().into(),
            last_seen_at: Some(self.last_seen).filter(|at| *at > 0),
            host: self.host.map(|host| host.sample),
            pipelines: pipelines.into(),
        }
    }

    /// As alerts see it.
    pub(crate) fn watched(&self) -> WatchedNode {
        let present = self.pipelines.iter().filter(|(_, pipeline)| pipeline.is_present());
        let mut pipelines: Vec<_> = present
            .map(|(id, pipeline)| WatchedPipeline {
                id: id.clone(),
                key: PipelineKey(pipeline.row.pipeline),
                series: pipeline.series,
                status: pipeline.status,
                reason: pipeline.row.reason.clone(),
                since: pipeline.row.since,
            })
            .collect();
        pipelines.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        WatchedNode {
            key: self.key,
            id: self.id,
            environment: self.environment,
            name: self.name.clone(),
            labels: self.labels(),
            maintenance_until: self.settings.maintenance.as_ref().map(|maintenance| maintenance.until),
            status: self.status,
            reason: self.status_reason.clone(),
            since: self.status_since,
            lost_reports_at: self.lost_reports_at,
            clock_skew_ms: self.clock_skew_ms,
            pipelines,
        }
    }

    /// Whether the node may have one more pipeline.
    pub(crate) fn has_room(&self, limits: &IngestLimits, now: UnixMillis) -> bool {
        self.pipelines.len() < limits.pipelines_per_node
            && self.new_pipelines.has_room(now, limits.new_pipelines_per_node)
    }

    /// The last applied report of an agent's run.
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

    /// Whether the node is silent and its pipelines are not UNKNOWN yet: an earlier version left them as they
    /// were.
    pub(crate) fn has_stale_pipelines(&self) -> bool {
        let is_stale = |pipeline: &PipelineState| pipeline.is_present() && pipeline.status != PipelineStatus::Unknown;
        self.status.is_silent() && self.pipelines.values().any(is_stale)
    }

    /// Pipelines whose process lives.
    pub(crate) fn pipelines_running(&self) -> u32 {
        let running = self.pipelines.values().filter(|pipeline| pipeline.is_present() && pipeline.status.is_running());
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }
}
