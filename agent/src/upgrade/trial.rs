//! Whether a new version is healthy: the collector accepts its reports, as it accepted those of the version
//! before. Where it accepted none, the version must make one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::uplink::{ConnectionState, ConnectionStatus};

/// Waits until the version is healthy.
///
/// # Errors
/// After `limit`, with the reason.
pub(super) async fn wait_until_healthy(
    must_connect: bool,
    connection: &ConnectionStatus,
    mut reports_made: watch::Receiver<Option<Instant>>,
    limit: Duration,
) -> Result<(), String> {
    let mut state = connection.watch();
    let healthy = async {
        // The senders live as long as the agent.
        let _ = reports_made.wait_for(Option::is_some).await;
        if must_connect {
            let _ = state.wait_for(|state| *state == ConnectionState::Connected).await;
        }
    };
    timeout(limit, healthy).await.map_err(|_| {
        let seconds = limit.as_secs();
        let cause = connection.facts().last_error.map(|(error, _)| format!(": {error}")).unwrap_or_default();
        if reports_made.borrow().is_none() {
            format!("no report was made within {seconds} s")
        } else {
            format!("the collector accepted no report within {seconds} s{cause}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn healthy(must_connect: bool, makes_report: bool) -> Result<(), String> {
        let (sender, reports_made) = watch::channel(makes_report.then(Instant::now));
        let connection = ConnectionStatus::new(None);
        let result = wait_until_healthy(must_connect, &connection, reports_made, Duration::from_secs(60)).await;
        drop(sender);
        result
    }

    #[tokio::test(start_paused = true)]
    async fn version_is_healthy_when_it_does_what_the_one_before_did() {
        healthy(false, true).await.unwrap();
        assert!(healthy(false, false).await.unwrap_err().contains("no report was made within 60 s"));
        assert!(healthy(true, true).await.unwrap_err().contains("the collector accepted no report within 60 s"));
    }
}
