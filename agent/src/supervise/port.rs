//! Is the port of a metrics endpoint free before its process is started?
//!
//! After a hard end of the agent the old process may still hold it for a while. Started then, the
//! new one would fail, or worse: the old one's counters would be taken for the new one's.

use std::time::Duration;

use reqwest::Url;
use tokio::net::TcpStream;

/// A free port refuses at once; whoever does not answer within this is not on this host.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether something answers at the address already.
pub(super) async fn is_taken(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let address = (host.trim_matches(['[', ']']), port);
    matches!(tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)))
}
