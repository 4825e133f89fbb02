//! Surrogate keys of the dimension tables. They are types, so that a key of one kind is never taken for
//! another.

use serde::{Deserialize, Serialize};

/// Surrogate key of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct EnvironmentKey(pub i64);

/// Surrogate key of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct NodeKey(pub i64);

/// Surrogate key of a pipeline of an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PipelineKey(pub i64);

/// Surrogate key of a series: a pipeline on a node, or one of its components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey(pub i64);

/// Surrogate key of a pipeline that the centre defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DefinitionKey(pub i64);

/// Key of a rollout, which is also its number for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RolloutKey(pub i64);
