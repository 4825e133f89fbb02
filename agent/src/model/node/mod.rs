//! The identity of this node: its name, its machine, its labels, its token.

pub(crate) mod labels;
pub(crate) mod machine;
pub(crate) mod name;
pub(crate) mod node_file;
pub(crate) mod node_token;

use serde::{Deserialize, Serialize};

/// The node as the collector knows it. Ids are text: a VectorFlow server has ids of its own form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeIdentity {
    /// The collector's id of this node.
    pub(crate) node_id: String,
    /// The environment that the enrolment token was for.
    pub(crate) environment_id: String,
    /// Its name.
    pub(crate) environment_name: String,
}
