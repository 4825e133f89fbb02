//! How the agent itself does, as its reports and its own interface say it.

use systole_shared::AgentHealth;
use tokio::time::Instant;

use crate::metrics::SelfCounters;
use crate::spool::outbox::Outbox;
use crate::uplink::Link;

/// Puts it together; `born` is the agent's start.
pub(crate) fn health_of(counters: &SelfCounters, outbox: &Outbox, link: &Link, born: Instant) -> AgentHealth {
    let (spool_reports, spool_bytes) = outbox.size();
    let link = link.facts();
    let (last_send_error, last_send_error_at) = link.last_error.unzip();
    AgentHealth {
        spool_reports,
        spool_bytes,
        lost_reports: counters.lost_reports.get(),
        lost_log_lines: counters.lost_log_lines.get(),
        refused_items: counters.refused_items.get(),
        send_errors: counters.send_errors.get(),
        scrape_errors: counters.scrape_errors.get(),
        garbage_metric_lines: counters.garbage_metric_lines.get(),
        uptime_seconds: born.elapsed().as_secs(),
        reconnects: counters.reconnects.get(),
        clock_skew_ms: link.clock_skew_ms,
        last_send_error,
        last_send_error_at,
        config_error: counters.config_error.get(),
    }
}
