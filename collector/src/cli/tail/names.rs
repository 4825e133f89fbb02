//! Names of nodes and pipelines, which events do not carry: asked for when a node is first met, and
//! again when it has a pipeline that is not known yet.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use systole_shared::{NodeId, PipelineId, Token};
use tokio::time::Instant;

use super::super::remote::api::{Api, Fault};

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
    pub(super) async fn learn(
        &mut self,
        api: &Api,
        base: &Url,
        token: &Token,
        node: NodeId,
        pipeline: Option<&PipelineId>,
    ) {
        let now = Instant::now();
        if let Some(known) = self.nodes.get(&node) {
            let is_known = known.name.is_some() && pipeline.is_none_or(|id| known.pipelines.contains_key(id.as_str()));
            if is_known || now < known.asked_at + ASK_AGAIN_AFTER {
                return;
            }
        }
        let found = api.get(under(base, &format!("api/v1/nodes/{node}")), token).await.unwrap_or_default();
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
pub(super) async fn nodes_named(
    api: &Api,
    base: &Url,
    token: &Token,
    environment: Option<&str>,
    name: &str,
) -> Result<Vec<NodeId>, Fault> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let mut url = under(base, "api/v1/nodes");
        url.query_pairs_mut()
            .append_pair("limit", "1000")
            .extend_pairs(environment.map(|name| ("environment", name)))
            .extend_pairs(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = api.get(url, token).await?;
        let items = page["items"].as_array().into_iter().flatten().filter(|item| item["name"] == name);
        found.extend(items.filter_map(|item| item["id"].as_str()?.parse::<NodeId>().ok()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(found),
        }
    }
}

/// A path of the collector, which may be below one of a proxy.
pub(super) fn under(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_keeps_the_path_of_a_proxy() {
        let under = |base: &str| under(&base.parse().unwrap(), "api/v1/events").to_string();
        assert_eq!(under("http://host:8080"), "http://host:8080/api/v1/events");
        assert_eq!(under("https://host/systole/"), "https://host/systole/api/v1/events");
    }
}
