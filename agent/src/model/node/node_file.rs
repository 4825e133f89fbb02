//! Which node this is, beside its token: `<data-dir>/node.json`, for people who ask the agent.
//!
//! Nothing depends on it. The token alone says to the collector who speaks, and without this file
//! only `systole-agent status` knows less until the next enrolment.

use std::path::Path;

use super::NodeIdentity;
use crate::files;

const FILE: &str = "node.json";

/// What the last enrolment said, if that is known.
pub(crate) fn read(data_dir: &Path) -> Option<NodeIdentity> {
    serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
}

/// Keeps what an enrolment said.
pub(crate) fn write(data_dir: &Path, node: &NodeIdentity) {
    let written = serde_json::to_vec(node)
        .map_err(std::io::Error::from)
        .and_then(|json| files::replace(&data_dir.join(FILE), &json));
    if let Err(error) = written {
        tracing::debug!(%error, "the node's id cannot be kept; status does not show it after a restart");
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::{EnvironmentId, NodeId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_node_is_known_again_and_a_broken_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let node = NodeIdentity {
            node_id: NodeId(Uuid::from_u128(1)),
            environment_id: EnvironmentId(Uuid::from_u128(2)),
            environment_name: "default".to_owned(),
        };
        write(dir.path(), &node);
        assert_eq!(read(dir.path()), Some(node));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
