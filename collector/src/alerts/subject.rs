//! What an alert is about.

use std::fmt;
use std::sync::Arc;

use systole_shared::{NodeId, PipelineId};

use crate::config::alerts::Rule;
use crate::config::alerts::matcher::Matcher;
use crate::model::node::Labels;
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, alert};

/// A node, a pipeline on a node, or a part of the collector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Node(NodeKey),
    Pipeline(NodeKey, PipelineId),
    /// The name of the part; empty: the collector as a whole.
    Collector(String),
}

impl Subject {
    /// The node, if it is about one.
    pub(crate) fn node(&self) -> Option<NodeKey> {
        match self {
            Subject::Node(node) | Subject::Pipeline(node, _) => Some(*node),
            Subject::Collector(_) => None,
        }
    }

    /// The pipeline, if it is about one.
    pub(crate) fn pipeline(&self) -> Option<&PipelineId> {
        match self {
            Subject::Pipeline(_, id) => Some(id),
            Subject::Node(_) | Subject::Collector(_) => None,
        }
    }

    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(part) = text.strip_prefix("collector/") {
            return Some(Subject::Collector(part.to_owned()));
        }
        let rest = text.strip_prefix("node/")?;
        match rest.split_once('/') {
            None => Some(Subject::Node(NodeKey(rest.parse().ok()?))),
            Some((node, pipeline)) => {
                Some(Subject::Pipeline(NodeKey(node.parse().ok()?), PipelineId::parse(pipeline).ok()?))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Node(node) => write!(f, "node/{}", node.0),
            Subject::Pipeline(node, pipeline) => write!(f, "node/{}/{pipeline}", node.0),
            Subject::Collector(part) => write!(f, "collector/{part}"),
        }
    }
}

/// A rule and a subject: there is one alert of each at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AlertKey {
    pub rule: String,
    pub subject: Subject,
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule, self.subject)
    }
}

/// The names of a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct About {
    pub environment: EnvironmentKey,
    /// For people: `node`, `node/pipeline`, or a part of the collector.
    pub name: String,
    pub node_id: Option<NodeId>,
    pub node_name: Option<String>,
    pub pipeline_key: Option<PipelineKey>,
    pub labels: Arc<Labels>,
}

impl About {
    /// A node.
    pub(crate) fn node(node: &WatchedNode) -> Self {
        About {
            environment: node.environment,
            name: node.name.clone(),
            node_id: Some(node.id),
            node_name: Some(node.name.clone()),
            pipeline_key: None,
            labels: Arc::new(node.labels.clone()),
        }
    }

    /// A pipeline on a node.
    pub(crate) fn pipeline(node: &WatchedNode, pipeline: &WatchedPipeline) -> Self {
        let name = format!("{}/{}", node.name, pipeline.id);
        About { name, pipeline_key: Some(pipeline.key), ..Self::node(node) }
    }

    /// A part of the collector.
    pub(crate) fn collector(part: &str) -> Self {
        About {
            environment: alert::COLLECTOR_ENVIRONMENT,
            name: if part.is_empty() { "collector".to_owned() } else { part.to_owned() },
            node_id: None,
            node_name: None,
            pipeline_key: None,
            labels: Arc::default(),
        }
    }
}

/// What conditions on alerts can name.
pub(crate) struct Properties<'a> {
    pub rule: &'a Rule,
    pub environment: Option<&'a str>,
    pub node: Option<&'a str>,
    pub pipeline: Option<&'a str>,
    pub labels: &'a Labels,
}

impl Properties<'_> {
    /// Whether every condition holds.
    pub(crate) fn match_all(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| matcher.matches(self.value(&matcher.key)))
    }

    fn value(&self, key: &str) -> Option<&str> {
        match key {
            "rule" => Some(&self.rule.name),
            "severity" => Some(self.rule.severity.as_str()),
            "environment" => self.environment,
            "node" => self.node,
            "pipeline" => self.pipeline,
            label => self.labels.get(label.strip_prefix("label.").unwrap_or(label)).map(String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_read_as_it_is_written() {
        let pipeline = PipelineId::parse("a/b").unwrap();
        for subject in [
            Subject::Node(NodeKey(7)),
            Subject::Pipeline(NodeKey(7), pipeline),
            Subject::Collector(String::new()),
            Subject::Collector("slack:hooks".into()),
        ] {
            assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
        }
        assert_eq!(Subject::parse("node/x"), None);
    }
}
