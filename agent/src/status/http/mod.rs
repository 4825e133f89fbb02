//! The agent's own interface: metrics and health for this host's monitoring, and its status for
//! `systole-agent status`.
//!
//! The same few pages on a TCP port of the loopback and on a Unix socket in the data directory. Both
//! are conveniences: a taken port or a data directory that is gone is told and tried again, and
//! whoever holds connections open holds up nobody but others who ask.

mod host_names;
mod listen;
mod routes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::monitor::Monitor;

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "agent.sock";

/// Serves until `end`; waiting for the tracker is waiting for both listeners to be gone.
pub(crate) fn serve(
    monitor: &Arc<Monitor>,
    data_dir: &Path,
    address: Option<SocketAddr>,
    end: &CancellationToken,
) -> TaskTracker {
    let servers = TaskTracker::new();
    let socket = listen::ListenAddress::Socket(data_dir.join(SOCKET));
    for place in std::iter::once(socket).chain(address.map(listen::ListenAddress::Port)) {
        servers.spawn(listen::serve(place, monitor.clone(), end.clone()));
    }
    servers.close();
    servers
}
