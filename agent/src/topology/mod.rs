//! How the components of a pipeline are connected, read from the engine's configuration.
//!
//! Parsed here, and not asked from `vector graph`: that would be a process with the pipeline's secrets for
//! every configuration, it does not know the types of components, and other engines have nothing like it. What
//! the file says is what Vector's own graph shows: `testdata/topology` holds both.
//!
//! A configuration that cannot be read has no topology. That is the engine's own affair: it will say so.

pub(crate) mod document;
#[cfg(test)]
mod document_tests;
pub(crate) mod files;
mod glob;
pub(crate) mod metrics;
mod otelcol;
mod vector;
mod yaml;

use sha2::{Digest, Sha256};
use systole_shared::Topology;
use systole_shared::topology::{MAX_TOPOLOGY_COMPONENTS, MAX_TOPOLOGY_EDGES};

use self::files::Engine;
use crate::files::hex;
use crate::model::pipeline::CommandConfig;

/// The topology of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extracted {
    /// The graph, within the protocol's bounds.
    pub(crate) topology: Topology,
    /// SHA-256 of all files of the configuration together.
    pub(crate) checksum: String,
}

/// Reads the configuration of a command. `content` is that of its `config_file`, if it has one. Blocks.
pub(crate) fn of_command(command: &CommandConfig, content: Option<&[u8]>) -> Option<Extracted> {
    let engine = Engine::of(command)?;
    let found = files::find(engine, command, content)?;
    let mut hash = Sha256::new();
    found.iter().for_each(|file| hash.update(&file.text));
    let mut topology = match engine {
        Engine::Vector => vector::read(&found)?,
        Engine::Otelcol => otelcol::read(&found)?,
    };
    topology.components.truncate(MAX_TOPOLOGY_COMPONENTS);
    topology.edges.truncate(MAX_TOPOLOGY_EDGES);
    Some(Extracted { topology, checksum: hex(&hash.finalize()) })
}

#[cfg(test)]
mod tests;
