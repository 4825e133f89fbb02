//! The topology of what a pipeline runs, and whether the collector has it.
//!
//! It is sent once in each run of the agent and for each configuration. Reports are delivered exactly once; when
//! some were lost, it is sent again, because it may have been in one of them.

use std::sync::{Arc, Mutex};

use systole_shared::Topology;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::revision::Revision;
use super::{Pipeline, lock};
use crate::topology::{self, Extracted};

/// How long the files of a configuration may take to be read: the process must start.
const DISK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// What JSON needs for a component or a connection beside the names.
const OVERHEAD_BYTES: usize = 64;

/// The topology of one pipeline.
#[derive(Debug, Default)]
pub(super) struct KnownTopology(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    topology: Option<Arc<Topology>>,
    /// How many reports were lost when it was sent; none before.
    sent_at_losses: Option<u64>,
}

impl Pipeline {
    /// Reads the topology of a revision that is about to run.
    pub(super) async fn learn_topology(&self, revision: &Revision) {
        let Some(command) = revision.config.command.clone() else { return };
        let content = revision.content.clone();
        let read = spawn_blocking(move || topology::of_command(&command, content.as_deref()));
        let found = timeout(DISK_TIMEOUT, read).await.ok().and_then(Result::ok).flatten();
        // A configuration in several files has no revision of its own.
        if let (None, Some(Extracted { checksum, .. })) = (&revision.checksum, &found) {
            self.runtime.set_checksum(checksum.clone());
        }
        let topology = found.map(|found| Arc::new(found.topology));
        let mut known = lock(&self.topology.0);
        if known.topology != topology {
            *known = Known { topology, sent_at_losses: None };
        }
    }

    /// The topology of what runs, if it is known.
    pub(crate) fn topology(&self) -> Option<Arc<Topology>> {
        lock(&self.topology.0).topology.clone()
    }

    /// The topology for the next report, if the collector does not have it and it fits into `room` bytes.
    pub(crate) fn take_topology(&self, lost_reports: u64, room: &mut usize) -> Option<Topology> {
        let mut known = lock(&self.topology.0);
        if known.sent_at_losses == Some(lost_reports) {
            return None;
        }
        let topology = known.topology.clone()?;
        let bytes = json_bytes(&topology);
        if bytes > *room {
            return None;
        }
        *room -= bytes;
        known.sent_at_losses = Some(lost_reports);
        Some(Topology::clone(&topology))
    }
}

fn json_bytes(topology: &Topology) -> usize {
    let components = topology.components.iter().map(|one| one.id.len() + one.component_type.len());
    let edges = topology.edges.iter();
    let edges = edges.map(|edge| edge.from.len() + edge.to.len() + edge.output.as_ref().map_or(0, String::len));
    components.chain(edges).map(|names| names + OVERHEAD_BYTES).sum()
}
