//! The agent's own interface: metrics and health for this host's monitoring, and its status for
//! `systole-agent status`.
//!
//! The same few pages on a TCP port of the loopback and on a Unix socket in the data directory. Both
//! are conveniences: a port in use or a missing data directory is logged and tried again. Connections
//! that stay open block only other connections.

mod host_names;
mod listen;
mod routes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::monitor::Monitor;
use crate::upgrade::Upgrades;

/// The socket's name in the data directory.
pub(crate) use crate::upgrade::cli::SOCKET;

/// Serves until `end`; waiting for the tracker is waiting for both listeners to be gone.
pub(crate) fn serve(
    monitor: &Arc<Monitor>,
    upgrades: &Arc<Upgrades>,
    data_dir: &Path,
    address: Option<SocketAddr>,
    end: &CancellationToken,
) -> TaskTracker {
    let servers = TaskTracker::new();
    let socket = listen::ListenAddress::Socket(data_dir.join(SOCKET));
    for place in std::iter::once(socket).chain(address.map(listen::ListenAddress::Port)) {
        servers.spawn(listen::serve(place, monitor.clone(), upgrades.clone(), end.clone()));
    }
    servers.close();
    servers
}
