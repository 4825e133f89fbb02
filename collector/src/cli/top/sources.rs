//! Where news comes from: two streams of the feed, and queries for what no event says.
//!
//! The first stream has the states of all nodes and pipelines, always with a snapshot. The second one has what the screen
//! shows beside them, and is opened again when that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use systole_shared::events::{Control, Event, EventType, LogEntryLine};
use systole_shared::{HostMetrics, NodeId, PipelineId};
use tokio::sync::mpsc::Sender;

use super::model::fleet::NodeDetails;
use super::model::logs::LogLine;
use super::model::rows::{Graph, GraphComponent};
use super::model::{Message, Scope, Wanted};
use crate::cli::remote::connection::Connection;
use crate::cli::remote::feed::{FeedFollower, FeedQuery, Step};
use crate::clock::now_ms;

/// `X-Systole-Client`.
const CLIENT: &str = "top";

/// Milliseconds that a node's state may wait for a newer one.
const EVERY_MS: u32 = 1_000;

/// Stored lines that a log view begins with: some screens.
const STORED_LINES: &str = "300";

/// Follows the states of all nodes and pipelines, until the collector refuses it.
///
/// # Errors
///
/// As [`FeedFollower::next`].
pub(super) async fn follow_states(connection: Arc<Connection>, news: Sender<Message>) -> anyhow::Result<()> {
    let query = FeedQuery {
        types: vec![EventType::FleetStatus, EventType::FleetTotals, EventType::StatusChange],
        with_snapshot: true,
        every_ms: Some(EVERY_MS),
        ..FeedQuery::default()
    };
    let mut feed = FeedFollower::new(connection, query, CLIENT, None);
    let (mut nodes, mut pipelines, mut totals, mut has_state) = (Vec::new(), Vec::new(), Vec::new(), false);
    loop {
        let message = match feed.next().await? {
            Step::Opened { base, .. } => {
                (nodes, pipelines, totals) = (Vec::new(), Vec::new(), Vec::new());
                Message::Opened { address: base.as_str().trim_end_matches('/').to_owned() }
            }
            Step::Lost { why, wait } => {
                // A part of a snapshot is no state to continue from.
                if !has_state {
                    feed.start_over();
                }
                let at = now_ms();
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                Message::Lost { why, at, retry_at: at.saturating_add(wait) }
            }
            Step::Control(Control::Snapshot { nodes: more, pipelines: also, totals: of_fleet, done, .. }, _) => {
                nodes.extend(more);
                pipelines.extend(also);
                totals.extend(of_fleet);
                if !done {
                    continue;
                }
                has_state = true;
                Message::Snapshot {
                    nodes: std::mem::take(&mut nodes),
                    pipelines: std::mem::take(&mut pipelines),
                    totals: std::mem::take(&mut totals),
                }
            }
            Step::Control(Control::Gap { .. }, _) => {
                has_state = false;
                feed.start_over();
                continue;
            }
            Step::Control(Control::Ping { now }, _) => Message::Clock { collector: now, at: now_ms() },
            Step::Event { data, .. } => match serde_json::from_str(&data) {
                Ok(event) => Message::Event(event),
                // A type of a later version.
                Err(_) => continue,
            },
            Step::Control(..) | Step::Moved => continue,
        };
        if news.send(message).await.is_err() {
            return Ok(());
        }
    }
}

/// Follows what the screen shows beside states.
pub(super) async fn follow_details(connection: Arc<Connection>, wanted: Wanted, news: Sender<Message>) {
    let followed = match wanted {
        Wanted::Nothing => Ok(()),
        Wanted::Rates { nodes, pipelines, every_ms } => {
            let types = vec![EventType::MetricUpdate];
            let every_ms = Some(every_ms);
            let query = FeedQuery { types, nodes, pipelines, with_snapshot: true, every_ms, ..FeedQuery::default() };
            follow_rates(FeedFollower::new(connection, query, CLIENT, None), &news).await
        }
        Wanted::Logs { number, scope } => follow_logs(connection, number, scope, &news).await,
    };
    if let Err(error) = followed {
        let _ = news.send(Message::Notice(format!("{error:#}"))).await;
    }
}

async fn follow_rates(mut feed: FeedFollower, news: &Sender<Message>) -> anyhow::Result<()> {
    loop {
        let message = match feed.next().await? {
            Step::Control(Control::Snapshot { samples, .. }, _) => Message::Samples(samples),
            Step::Event { data, .. } => match serde_json::from_str(&data) {
                Ok(event) => Message::Event(event),
                Err(_) => continue,
            },
            Step::Opened { .. } | Step::Lost { .. } | Step::Control(..) | Step::Moved => continue,
        };
        if news.send(message).await.is_err() {
            return Ok(());
        }
    }
}

/// Sends stored lines up to the beginning of the stream, and then those of the stream.
async fn follow_logs(
    connection: Arc<Connection>,
    number: u64,
    scope: Scope,
    news: &Sender<Message>,
) -> anyhow::Result<()> {
    let query = FeedQuery {
        types: vec![EventType::LogEntry],
        nodes: scope.node.into_iter().collect(),
        pipelines: scope.pipeline.clone().into_iter().collect(),
        ..FeedQuery::default()
    };
    let mut feed = FeedFollower::new(Arc::clone(&connection), query, CLIENT, None);
    let mut has_stored = false;
    loop {
        let message = match feed.next().await? {
            Step::Moved if !has_stored => {
                has_stored = true;
                let boundary = feed.position().map_or(u64::MAX, |position| position.seq);
                Message::StoredLogs(number, stored_lines(&connection, &scope, boundary).await?)
            }
            Step::Event { data, .. } => match serde_json::from_str(&data) {
                Ok(Event::LogEntry(entry)) => Message::LiveLogs(number, entry),
                _ => continue,
            },
            Step::Opened { .. } | Step::Lost { .. } | Step::Control(..) | Step::Moved => continue,
        };
        if news.send(message).await.is_err() {
            return Ok(());
        }
    }
}

async fn stored_lines(connection: &Connection, scope: &Scope, boundary: u64) -> anyhow::Result<Vec<LogLine>> {
    let node = scope.node.map(|node| node.to_string());
    let query: Vec<(&str, &str)> = [("order", "desc"), ("limit", STORED_LINES)]
        .into_iter()
        .chain(connection.environment().map(|name| ("environment", name)))
        .chain(node.as_deref().map(|node| ("node", node)))
        .chain(scope.pipeline.as_ref().map(|pipeline| ("pipeline", pipeline.as_str())))
        .collect();
    let page = connection.get(&["logs"], &query).await?;
    let items = page["items"].as_array().into_iter().flatten();
    let line = |item: &Value| {
        Some(LogLine {
            node: item["nodeId"].as_str()?.parse().ok()?,
            pipeline: PipelineId::parse(item["pipelineId"].as_str()?).ok()?,
            entry: LogEntryLine::deserialize(item).ok()?,
        })
    };
    let before = items.filter(|item| item["seq"].as_u64().is_some_and(|seq| seq <= boundary));
    let mut lines: Vec<LogLine> = before.filter_map(line).collect();
    lines.reverse();
    Ok(lines)
}

/// Asks for labels, hosts and names of all nodes.
pub(super) async fn query_details(connection: Arc<Connection>, news: Sender<Message>) {
    let mut cursor: Option<String> = None;
    loop {
        // While the collector is away the first stream says so.
        let Ok(page) = connection.get_page("nodes", cursor.as_deref()).await else { return };
        let items = page["items"].as_array().into_iter().flatten();
        let details = items.filter_map(node_details).collect();
        if news.send(Message::Details(details)).await.is_err() {
            return;
        }
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return,
        }
    }
}

fn node_details(item: &Value) -> Option<(NodeId, NodeDetails)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = item["labels"].as_object().into_iter().flatten();
    let pipelines = item["pipelines"].as_array().into_iter().flatten().filter_map(|pipeline| {
        Some((PipelineId::parse(pipeline["pipelineId"].as_str()?).ok()?, text(&pipeline["pipelineName"])))
    });
    let details = NodeDetails {
        name: text(&item["name"]),
        reason: text(&item["statusReason"]),
        labels: labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect(),
        version: text(&item["agentVersion"]),
        host: HostMetrics::deserialize(&item["host"]).unwrap_or_default(),
        pipelines: pipelines.collect(),
    };
    Some((item["id"].as_str()?.parse().ok()?, details))
}

/// Asks how the components of a pipeline are connected, and how full their buffers are.
pub(super) async fn query_graph(
    connection: Arc<Connection>,
    pipeline: PipelineId,
    node: Option<NodeId>,
    news: Sender<Message>,
) {
    let node = node.map(|node| node.to_string());
    let query: Vec<(&str, &str)> = connection
        .environment()
        .map(|name| ("environment", name))
        .into_iter()
        .chain(node.as_deref().map(|node| ("node", node)))
        .collect();
    // The rates are shown without it.
    let Ok(answer) = connection.get(&["pipelines", pipeline.as_str(), "graph"], &query).await else { return };
    let _ = news.send(Message::Graph(pipeline, graph(&answer))).await;
}

fn graph(answer: &Value) -> Graph {
    let mut components = BTreeMap::new();
    for item in answer["components"].as_array().into_iter().flatten() {
        let Some(id) = item["componentId"].as_str() else { continue };
        let component_type = item["componentType"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        components.insert(id.to_owned(), GraphComponent::new(component_type, item["bufferFill"].as_f64()));
    }
    for edge in answer["edges"].as_array().into_iter().flatten() {
        let (Some(from), Some(to)) = (edge["from"].as_str(), edge["to"].as_str()) else { continue };
        if let Some(component) = components.get_mut(from) {
            component.sends_to.push(to.to_owned());
        }
    }
    Graph::new(components)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_queries_are_read() {
        let item = json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "edge-oslo-1", "statusReason": "why",
            "labels": {"site": "oslo"}, "agentVersion": "0.1.0", "host": {"memoryTotalBytes": 4, "memoryUsedBytes": 1},
            "pipelines": [{"pipelineId": "orders", "pipelineName": "Orders"}],
        });
        let (_, details) = node_details(&item).unwrap();
        assert_eq!(
            (details.name.as_str(), details.labels.as_slice()),
            ("edge-oslo-1", ["site=oslo".to_owned()].as_slice())
        );
        assert_eq!(details.host.memory_total_bytes, Some(4));
        assert_eq!(details.pipelines[0].1, "Orders");
        let graph = graph(&json!({
            "components": [
                {"componentId": "in", "componentType": "http_server", "bufferFill": null},
                {"componentId": "out", "componentType": null, "bufferFill": 0.5},
            ],
            "edges": [{"from": "in", "to": "out"}],
        }));
        assert_eq!(graph.components["in"].sends_to, ["out"]);
        assert_eq!(graph.components["out"].buffer_fill, Some(0.5));
    }
}
