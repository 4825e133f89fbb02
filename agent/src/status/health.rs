//! How the agent itself does, as its reports and its own interface say it.

use systole_shared::AgentHealth;
use tokio::time::Instant;

use crate::metrics::AgentCounters;
use crate::spool::outbox::Outbox;
use crate::uplink::ConnectionStatus;

/// Puts it together; `started` is the agent's start.
pub(crate) fn health_of(
    counters: &AgentCounters,
    outbox: &Outbox,
    connection: &ConnectionStatus,
    started: Instant,
) -> AgentHealth {
    let (spool_reports, spool_bytes) = outbox.size();
    let connection = connection.facts();
    let (last_send_error, last_send_error_at) = connection.last_error.unzip();
    AgentHealth {
        spool_reports,
        spool_bytes,
        lost_reports: counters.lost_reports.get(),
        lost_log_lines: counters.lost_log_lines.get(),
        refused_items: counters.refused_items.get(),
        send_errors: counters.send_errors.get(),
        scrape_errors: counters.scrape_errors.get(),
        garbage_metric_lines: counters.garbage_metric_lines.get(),
        uptime_seconds: started.elapsed().as_secs(),
        reconnects: counters.reconnects.get(),
        clock_skew_ms: connection.clock_skew_ms,
        last_send_error,
        last_send_error_at,
        config_error: counters.config_error.get(),
    }
}
