//! Names of nodes and pipelines, which events do not carry: asked for when a node is first met, and
//! again when it has a pipeline that is not known yet.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use systole_shared::{NodeId, PipelineId};
use tokio::time::Instant;

use super::super::remote::connection::Connection;

/// Time before a name that was not found is queried again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Nodes to remember; beyond this number all are forgotten and queried again.
const MAX_NODES: usize = 50_000;

/// The names found so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: HashMap<NodeId, Known>,
}

#[derive(Debug)]
struct Known {
    name: Option<String>,
    pipelines: HashMap<String, String>,
    asked_at: Instant,
}

impl Names {
    /// Queries the names of a node and a pipeline. A name that cannot be found stays an id.
    pub(super) async fn learn(&mut self, connection: &Connection, node: NodeId, pipeline: Option<&PipelineId>) {
        let now = Instant::now();
        if let Some(known) = self.nodes.get(&node) {
            let is_known = known.name.is_some() && pipeline.is_none_or(|id| known.pipelines.contains_key(id.as_str()));
            if is_known || now < known.asked_at + ASK_AGAIN_AFTER {
                return;
            }
        }
        let found = connection.get(&["nodes", &node.to_string()], &[]).await.unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pipelines = found["pipelines"].as_array().into_iter().flatten();
        let pipelines = pipelines.filter_map(|item| Some((text(&item["pipelineId"])?, text(&item["pipelineName"])?)));
        let known = Known { name: text(&found["name"]), pipelines: pipelines.collect(), asked_at: now };
        if self.nodes.len() >= MAX_NODES {
            self.nodes.clear();
        }
        self.nodes.insert(node, known);
    }

    /// A node and a pipeline as people call them.
    pub(super) fn subject(&self, node: NodeId, pipeline: Option<&PipelineId>) -> String {
        let known = self.nodes.get(&node);
        let name = known.and_then(|known| known.name.clone()).unwrap_or_else(|| node.to_string());
        let Some(id) = pipeline else { return name };
        let pipeline = known.and_then(|known| known.pipelines.get(id.as_str())).map_or(id.as_str(), String::as_str);
        format!("{name}/{pipeline}")
    }
}

/// Nodes of this name, which several may have.
///
/// # Errors
///
/// When the collector does not return them.
pub(super) async fn nodes_named(connection: &Connection, name: &str) -> anyhow::Result<Vec<NodeId>> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = connection.get_page("nodes", cursor.as_deref()).await?;
        let items = page["items"].as_array().into_iter().flatten().filter(|item| item["name"] == name);
        found.extend(items.filter_map(|item| item["id"].as_str()?.parse::<NodeId>().ok()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(found),
        }
    }
}
