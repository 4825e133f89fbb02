//! Rows of the dimension tables, and the conversion of rows after a read: the same for every database.

use std::collections::HashMap;

use diesel::declare_sql_function;
use diesel::prelude::{Insertable, Queryable, Selectable};
use diesel::sql_types::{Nullable, Text};
use systole_shared::events::EventType;
use systole_shared::{LogLevel, NodeStatus, PipelineStatus, TokenHash, TokenKind};

use super::schema::*;
use super::*;
use crate::model::node::{Labels, NodeSettings};

/// Reads an id that this program wrote.
pub(super) fn parse_id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("id {text:?}")))
}

/// A number that is never negative, as it was before it was stored.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The last flushed record of the write-ahead log: the columns of `meta`.
pub(super) fn flush_mark((folds, to, minute, node): (i64, i64, i64, i64)) -> FlushMark {
    FlushMark { number: unsigned(folds), to, minute, node }
}

/// A sequence number as it is stored.
pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Surrogate keys as they are stored.
pub(super) fn keys(environments: &[EnvironmentKey]) -> Vec<i64> {
    environments.iter().map(|key| key.0).collect()
}

/// Keys of nodes as a JSON array.
pub(super) fn node_keys_json(nodes: &[NodeKey]) -> String {
    let keys: Vec<String> = nodes.iter().map(|key| key.0.to_string()).collect();
    format!("[{}]", keys.join(","))
}

/// The condition that a column is one of these keys.
macro_rules! among {
    ($column:literal, $nodes:expr) => {
        sql::<Bool>(concat!($column, " ")).sql(KEYS.0).bind::<Text, _>(node_keys_json($nodes)).sql(KEYS.1)
    };
}
pub(super) use among;

/// The same of pipelines.
pub(super) fn pipeline_keys(pipelines: &[PipelineKey]) -> Vec<i64> {
    pipelines.iter().map(|key| key.0).collect()
}

/// This level and those above, as they are stored.
pub(super) fn levels_from(least: LogLevel) -> Vec<Option<&'static str>> {
    let levels = [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
    levels.into_iter().filter(|level| *level >= least).map(|level| Some(level.as_str())).collect()
}

/// A pattern of LIKE for lines that hold a text, escaped by a backslash.
pub(super) fn like_pattern(text: &str) -> String {
    format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

/// The committer's part of a node: key, id, environment, name, status, its reason and since when, the time of its enrolment, and
/// the version of its agent.
pub(super) type NodeIdentity = (i64, String, i64, String, String, String, i64, i64, Option<String>);

/// A node without what other tables hold of it.
pub(super) fn stored_node(
    (key, uuid, environment, name, status, status_reason, status_since, enrolled_at, agent_version): NodeIdentity,
) -> Result<StoredNode, StoreError> {
    Ok(StoredNode {
        key: NodeKey(key),
        id: parse_id(&uuid)?,
        environment: EnvironmentKey(environment),
        name,
        // A state that another version wrote is replaced by the node's next report.
        status: NodeStatus::from_wire(&status).unwrap_or(NodeStatus::Unknown),
        status_reason,
        status_since,
        reported_labels: Labels::new(),
        settings: NodeSettings::default(),
        boots: Vec::new(),
        enrolled_at,
        agent_version,
        last_seen: 0,
        totals: None,
        statuses: Vec::new(),
        series: Vec::new(),
        deployments: Vec::new(),
    })
}

/// Gives nodes what other tables hold of them.
pub(super) fn fill(
    nodes: &mut HashMap<i64, StoredNode>,
    boots: Vec<NodeBootRow>,
    statuses: Vec<PipelineStatusRow>,
    series: Vec<SeriesRow>,
) -> Result<(), StoreError> {
    for row in boots {
        if let Some(node) = nodes.get_mut(&row.node) {
            node.boots.push((parse_id(&row.boot)?, unsigned(row.seq)));
            node.last_seen = node.last_seen.max(row.last_seen_at);
        }
    }
    for row in statuses {
        if let Some(node) = nodes.get_mut(&row.node) {
            node.statuses.push((PipelineStatus::from_wire(&row.status), row));
        }
    }
    for row in series {
        if let Some(node) = nodes.get_mut(&row.node) {
            node.series.push((PipelineKey(row.pipeline), row.component, SeriesKey(row.id)));
        }
    }
    Ok(())
}

/// Gives nodes their deployments.
pub(super) fn add_deployments(nodes: &mut HashMap<i64, StoredNode>, rows: Vec<DeploymentRow>) {
    for row in rows {
        if let Some(node) = nodes.get_mut(&row.node) {
            node.deployments.push(row);
        }
    }
}

/// Gives nodes their last totals.
pub(super) fn add_totals(nodes: &mut HashMap<i64, StoredNode>, rows: Vec<NodeTotalsRow>) {
    for row in rows {
        if let Some(node) = nodes.get_mut(&row.node) {
            node.totals = Some(row.body);
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = tokens, treat_none_as_default_value = false)]
pub(super) struct TokenRow {
    pub uuid: String,
    pub kind: String,
    pub environment: Option<i64>,
    pub node: Option<i64>,
    pub parent: Option<String>,
    pub sha256: String,
    pub hint: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub name: Option<String>,
    pub note: Option<String>,
}

impl TokenRow {
    /// A token that was asked for.
    pub(super) fn new(token: NewToken) -> Self {
        TokenRow {
            uuid: TokenId(uuid::Uuid::now_v7()).to_string(),
            kind: token.kind.to_string(),
            environment: token.environment.map(|key| key.0),
            node: None,
            parent: token.parent.map(|id| id.to_string()),
            sha256: token.hash.to_hex(),
            hint: token.hint,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: None,
            last_used_at: None,
            name: token.label.name,
            note: token.label.note,
        }
    }

    /// The token of a host that becomes a node.
    pub(super) fn of_node(node: i64, enrolment: &NewEnrolment) -> Self {
        TokenRow {
            uuid: TokenId(uuid::Uuid::now_v7()).to_string(),
            kind: TokenKind::Node.to_string(),
            environment: Some(enrolment.environment.0),
            node: Some(node),
            parent: None,
            sha256: enrolment.hash.to_hex(),
            hint: enrolment.hint.clone(),
            created_at: enrolment.now,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            name: None,
            note: None,
        }
    }

    pub(super) fn into_stored(self) -> Result<StoredToken, StoreError> {
        Ok(StoredToken {
            id: parse_id(&self.uuid)?,
            kind: TokenKind::from_wire(&self.kind)
                .ok_or_else(|| StoreError::Corrupt(format!("token kind {:?}", self.kind)))?,
            environment: self.environment.map(EnvironmentKey),
            node: self.node.map(NodeKey),
            parent: self.parent.as_deref().map(parse_id).transpose()?,
            hash: TokenHash::from_hex(&self.sha256)
                .ok_or_else(|| StoreError::Corrupt(format!("hash of token {}", self.uuid)))?,
            hint: self.hint,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_at: self.last_used_at,
            label: TokenLabel { name: self.name, note: self.note },
        })
    }
}

/// Key, id, name and time of making.
pub(super) type EnvironmentColumns = (i64, String, String, i64);

pub(super) fn stored_environment(
    (key, uuid, name, created_at): EnvironmentColumns,
) -> Result<StoredEnvironment, StoreError> {
    Ok(StoredEnvironment { key: EnvironmentKey(key), id: parse_id(&uuid)?, name, created_at })
}

/// Key, id and name of a node.
pub(super) type NodeNameColumns = (i64, String, String);

pub(super) fn node_name((key, uuid, name): NodeNameColumns) -> Result<NodeName, StoreError> {
    Ok(NodeName { key: NodeKey(key), id: parse_id(&uuid)?, name })
}

/// Machine id and original of a new node: a twin has no machine id of its own.
pub(super) fn machine_columns(enrolment: &NewEnrolment, enrol_as: EnrolAs) -> (Option<&str>, Option<i64>) {
    match enrol_as {
        EnrolAs::TwinOf(original) => (None, Some(original.0)),
        EnrolAs::NodeOfMachine | EnrolAs::New | EnrolAs::Known(_) => (enrolment.machine_id.as_deref(), None),
    }
}

/// Labels as they are stored.
pub(super) fn labels_of(enrolment: &NewEnrolment) -> String {
    labels_json(&enrolment.labels)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = nodes)]
pub(super) struct NodeColumns {
    pub id: i64,
    uuid: String,
    environment: i64,
    name: String,
    os: String,
    agent_kind: Option<String>,
    agent_version: Option<String>,
    vector_version: Option<String>,
    deployment_mode: Option<String>,
    running_as: Option<String>,
    labels: String,
    health: Option<String>,
    host: Option<String>,
    status: String,
    status_reason: String,
    status_since: i64,
    last_seen_at: Option<i64>,
    enrolled_at: i64,
    last_address: Option<String>,
    set_name: Option<String>,
    set_labels: Option<String>,
    maintenance_until: Option<i64>,
    maintenance_note: Option<String>,
}

/// The first that is known: a name that is set wins over the one that the agent reports.
#[declare_sql_function]
extern "SQL" {
    #[sql_name = "coalesce"]
    fn shown_name(set: Nullable<Text>, reported: Text) -> Text;
}

/// Nodes with the state of their pipelines.
pub(super) fn with_pipelines(rows: Vec<NodeColumns>, statuses: Vec<PipelineStatusView>) -> Vec<NodeView> {
    let mut by_node: HashMap<i64, Vec<PipelineStatusView>> = HashMap::new();
    for status in statuses {
        by_node.entry(status.row.node).or_default().push(status);
    }
    rows.into_iter()
        .map(|row| {
            let settings = NodeSettingsRow {
                id: row.id,
                set_name: row.set_name,
                set_labels: row.set_labels,
                maintenance_until: row.maintenance_until,
                maintenance_note: row.maintenance_note,
            };
            let settings = settings.settings();
            NodeView {
                pipelines: by_node.remove(&row.id).unwrap_or_default(),
                key: NodeKey(row.id),
                id: row.uuid,
                environment: EnvironmentKey(row.environment),
                labels: labels_json(&settings.labels_over(&parse_labels(&row.labels))),
                name: settings.name.clone().unwrap_or(row.name),
                settings,
                os: row.os,
                agent_kind: row.agent_kind,
                agent_version: row.agent_version,
                vector_version: row.vector_version,
                deployment_mode: row.deployment_mode,
                running_as: row.running_as,
                health: row.health,
                host: row.host,
                status: row.status,
                status_reason: row.status_reason,
                status_since: row.status_since,
                last_seen_at: row.last_seen_at,
                enrolled_at: row.enrolled_at,
                last_address: row.last_address,
            }
        })
        .collect()
}

/// The query of [`StatusColumns`]. Its type is too long to be written down.
macro_rules! status_join {
    () => {
        pipeline_status::table
            .inner_join(pipelines::table.on(pipelines::id.eq(pipeline_status::pipeline)))
            .inner_join(nodes::table.on(nodes::id.eq(pipeline_status::node)))
            .select((
                PipelineStatusRow::as_select(),
                pipelines::slug,
                pipelines::name,
                nodes::uuid,
                shown_name(nodes::set_name, nodes::name),
            ))
    };
}
pub(super) use status_join;

/// A pipeline on a node, with ids and names of both.
pub(super) type StatusColumns = (PipelineStatusRow, String, String, String, String);

pub(super) fn status_views(rows: Vec<StatusColumns>) -> Vec<PipelineStatusView> {
    rows.into_iter()
        .map(|(row, pipeline, pipeline_name, node, node_name)| PipelineStatusView {
            pipeline,
            pipeline_name,
            node,
            node_name,
            row,
        })
        .collect()
}

/// Pipelines with their state on each node.
pub(super) fn with_nodes(rows: Vec<PipelineRow>, statuses: Vec<StatusColumns>) -> Vec<PipelineView> {
    let mut by_pipeline: HashMap<i64, Vec<PipelineStatusView>> = HashMap::new();
    for status in status_views(statuses) {
        by_pipeline.entry(status.row.pipeline).or_default().push(status);
    }
    rows.into_iter()
        .map(|row| PipelineView {
            nodes: by_pipeline.remove(&row.id).unwrap_or_default(),
            key: PipelineKey(row.id),
            environment: EnvironmentKey(row.environment),
            id: row.slug,
            name: row.name,
        })
        .collect()
}

/// A line with the ids of its node and pipeline.
pub(super) type LogColumns = (LogRow, String, String);

pub(super) fn log_views(rows: Vec<LogColumns>) -> Vec<LogView> {
    rows.into_iter()
        .map(|(row, node, pipeline)| LogView {
            seq: row.seq,
            at: row.at,
            node,
            pipeline,
            stream: row.stream,
            level: row.level,
            line: row.line,
        })
        .collect()
}

/// Events of the table `events`: status changes and deployments.
pub(super) fn kept_events(rows: Vec<EventRow>) -> Vec<StoredEvent> {
    rows.into_iter()
        .map(|row| StoredEvent {
            seq: row.seq.unsigned_abs(),
            kind: EventType::from_wire(&row.kind).unwrap_or(EventType::StatusChange),
            payload: row.payload,
        })
        .collect()
}
