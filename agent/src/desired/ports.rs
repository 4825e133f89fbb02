//! Which ports pipelines of the centre have: two for each, the same over restarts of the agent.
//!
//! One owner for all of them, so that no two pipelines have the same. A port is free when it can be bound: other
//! programs may have some of the range.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use systole_shared::PipelineId;

use crate::files;
use crate::model::centre::PortRange;

/// Ports of one pipeline: its metrics endpoint, and its API right after it.
const PORTS_EACH: usize = 2;

/// The ports of the node's pipelines.
#[derive(Debug)]
pub(super) struct Ports {
    path: PathBuf,
    taken: BTreeMap<PipelineId, u16>,
    /// Whether no other program has a port.
    is_free: fn(u16) -> bool,
}

impl Ports {
    /// As an earlier run of the agent left them.
    pub(super) fn load(dir: &Path) -> Self {
        Self::load_with(dir, can_be_bound)
    }

    /// The same with another test of a port.
    pub(super) fn load_with(dir: &Path, is_free: fn(u16) -> bool) -> Self {
        let path = dir.join("ports.json");
        let taken = std::fs::read(&path).ok().and_then(|content| serde_json::from_slice(&content).ok());
        Ports { path, taken: taken.unwrap_or_default(), is_free }
    }

    /// The first port of the pipeline; none when all of the range are taken.
    pub(super) fn of(&mut self, id: &PipelineId, range: PortRange) -> Option<u16> {
        let fits = |port: u16| port >= range.first && port < range.last;
        if let Some(port) = self.taken.get(id).copied().filter(|port| fits(*port)) {
            return Some(port);
        }
        let used: BTreeSet<u16> = self
            .taken
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, port)| [*port, port.saturating_add(1)])
            .collect();
        let mut pairs = (range.first..range.last).step_by(PORTS_EACH);
        let port =
            pairs.find(|port| [*port, port + 1].iter().all(|port| !used.contains(port) && (self.is_free)(*port)))?;
        self.taken.insert(id.clone(), port);
        Some(port)
    }

    /// Forgets the ports of all others, and keeps the rest on disk.
    pub(super) fn keep(&mut self, ids: &BTreeSet<PipelineId>) {
        self.taken.retain(|id, _| ids.contains(id));
        let content = serde_json::to_vec(&self.taken).unwrap_or_default();
        let is_kept = std::fs::read(&self.path).map_or(self.taken.is_empty(), |kept| kept == content);
        if is_kept {
            return;
        }
        let written =
            self.path.parent().map_or(Ok(()), files::make_dir).and_then(|()| files::replace(&self.path, &content));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "cannot save the ports of pipelines");
        }
    }
}

/// Whether a process could listen there now. The listener is closed at once.
fn can_be_bound(port: u16) -> bool {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_stable_and_within_the_range() {
        let dir = tempfile::tempdir().unwrap();
        let id = |text| PipelineId::parse(text).unwrap();
        let range = PortRange { first: 20_000, last: 20_006 };
        let load = || Ports::load_with(dir.path(), |port| port != 20_001);
        let mut ports = load();
        let found = ["a", "b", "c", "a"].map(|name| ports.of(&id(name), range));
        assert_eq!(found, [Some(20_002), Some(20_004), None, Some(20_002)]);
        ports.keep(&[id("b")].into());
        let mut ports = load();
        assert_eq!(ports.of(&id("b"), range), Some(20_004));
        assert_eq!(ports.of(&id("c"), range), Some(20_002), "another program has a port of the first pair");
        let other = PortRange { first: 30_000, last: 30_001 };
        assert_eq!(ports.of(&id("b"), other), Some(30_000), "the node's file has another range now");
    }
}
