//! What a pipeline of the centre is: its content, as operators apply it and as versions keep it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use systole_shared::desired::ConfigFormat;
use utoipa::ToSchema;

/// The content of a pipeline. Where it runs, what runs it, with which configuration, and how a new version gets there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    /// The name for display. Default: the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Conditions on the labels of nodes, all of which must hold; `["*"]` is every node.
    pub selector: Vec<String>,
    /// The engine, as the nodes' own files name it.
    pub engine: String,
    /// The engine's configuration, at most 1 MiB.
    pub config: String,
    /// What `config` is written in.
    pub format: ConfigFormat,
    /// Variables of the process's environment, and the names of the secrets that are their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// The engine's log level: error, warn, info, debug or trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub log_level: Option<String>,
    /// How a new version gets to the nodes.
    #[serde(default)]
    pub rollout: RolloutPolicy,
}

/// How a new version gets to the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RolloutPolicy {
    /// The nodes that get it first: conditions on labels, as in `selector`. Empty: none.
    pub canary: Vec<String>,
    /// The nodes that get it at once after that: a number, or a share such as `10%`.
    #[schema(value_type = String)]
    pub batch: Batch,
    /// How long it must be up on a node, without interruption, to be healthy there: 1 s to 1 h.
    pub healthy_for_ms: u64,
    /// Nodes on which it may fail before the rollout halts.
    pub max_failed: u32,
}

/// Half a minute shows most configurations that cannot work.
const HEALTHY_FOR_MS: u64 = 30_000;

impl Default for RolloutPolicy {
    /// Ten batches, and none of them may fail.
    fn default() -> Self {
        RolloutPolicy { canary: Vec::new(), batch: Batch::Percent(10), healthy_for_ms: HEALTHY_FOR_MS, max_failed: 0 }
    }
}

/// The nodes of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Of the nodes that the selector takes, 1 to 100, and at least one node.
    Percent(u8),
    /// That many nodes, at least one.
    Count(u32),
}

impl Batch {
    /// Nodes of a batch when there are `nodes` in all.
    pub(crate) fn size(self, nodes: usize) -> usize {
        match self {
            Batch::Percent(percent) => (nodes * usize::from(percent)).div_ceil(100).max(1),
            Batch::Count(count) => (count as usize).max(1),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}, expected a number of nodes such as 5, or a share such as 10%");
        match text.trim().strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent @ 1..=100) => Ok(Batch::Percent(percent)),
                _ => Err(wrong()),
            },
            None => match text.trim().parse() {
                Ok(count @ 1..) => Ok(Batch::Count(count)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Batch::Percent(percent) => write!(f, "{percent}%"),
            Batch::Count(count) => write!(f, "{count}"),
        }
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A version as the database keeps it, in `definition_versions.body`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionBody {
    /// What was applied.
    pub definition: Definition,
    /// The value of each secret that it uses, by its name: the revision.
    pub secret_revisions: BTreeMap<String, i64>,
}

/// The part of a [`VersionBody`] that says which secrets it uses. The rest, which can be long, is skipped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretUses {
    pub secret_revisions: BTreeMap<String, i64>,
}

impl VersionBody {
    /// The variables of the process's environment: the name and the revision of the secret of each.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        self.definition.secrets.iter().map(|(variable, name)| {
            let revision = self.secret_revisions.get(name).copied().unwrap_or_default();
            (variable.as_str(), name.as_str(), revision)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_is_a_number_or_a_share() {
        for (text, of_25) in [("10%", 3), ("1%", 1), ("100%", 25), ("5", 5)] {
            let batch: Batch = text.parse().unwrap();
            assert_eq!((batch.size(25), batch.to_string().as_str()), (of_25, text));
        }
        for text in ["0", "0%", "101%", "", "-1", "ten"] {
            assert!(text.parse::<Batch>().is_err(), "{text}");
        }
    }

    #[test]
    fn version_body_reads_what_it_wrote() {
        let json = r#"{"definition":{"selector":["*"],"engine":"vector","config":"a: 1\n","format":"yaml",
            "secrets":{"DB":"prod/db"},"rollout":{"batch":"5"}},"secretRevisions":{"prod/db":7}}"#;
        let body: VersionBody = serde_json::from_str(json).unwrap();
        assert_eq!(body.environment().collect::<Vec<_>>(), [("DB", "prod/db", 7)]);
        assert_eq!(body.definition.rollout, RolloutPolicy { batch: Batch::Count(5), ..RolloutPolicy::default() });
        let written = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<VersionBody>(&written).unwrap(), body);
        assert!(serde_json::from_str::<Definition>(r#"{"selectr":[]}"#).unwrap_err().to_string().contains("selectr"));
    }
}
