//! Which node this is, beside its token: `<data-dir>/node.json`, for `systole-agent status`.
//!
//! Nothing depends on it. The token alone identifies the node to the collector. Without this file,
//! `systole-agent status` shows less until the next enrolment.

use std::path::Path;

use super::NodeIdentity;
use crate::files;

const FILE: &str = "node.json";

/// The identity from the last enrolment, if it is known.
pub(crate) fn read(data_dir: &Path) -> Option<NodeIdentity> {
    serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
}

/// Keeps what an enrolment said.
pub(crate) fn write(data_dir: &Path, node: &NodeIdentity) {
    let written = serde_json::to_vec(node)
        .map_err(std::io::Error::from)
        .and_then(|json| files::replace(&data_dir.join(FILE), &json));
    if let Err(error) = written {
        tracing::debug!(%error, "cannot save the node's id; status does not show it after a restart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_file_round_trips_and_tolerates_corruption() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let node = NodeIdentity {
            node_id: "n1".to_owned(),
            environment_id: "e1".to_owned(),
            environment_name: "default".to_owned(),
        };
        write(dir.path(), &node);
        assert_eq!(read(dir.path()), Some(node));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
