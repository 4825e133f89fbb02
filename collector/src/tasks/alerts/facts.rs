//! What is known of the collector itself.

use super::AlertTasks;
use crate::alerts::evaluate::CollectorFacts;
use crate::config::alerts::target::Target;

/// Looks at everything.
pub(super) fn gather(parts: &AlertTasks, has_refused: bool) -> CollectorFacts {
    let AlertTasks { board, telemetry, timeseries, .. } = parts;
    let is_configured = |name: &str| board.settings.targets.iter().any(|target: &Target| target.name == name);
    let failing = board.results().into_iter().filter(|row| is_configured(&row.target));
    let failing = failing.filter_map(|row| {
        Some((row.target, row.failing_since?, row.last_error.unwrap_or_else(|| "it does not answer".to_owned())))
    });
    CollectorFacts {
        is_disk_low: telemetry.disk_low.get() > 0 || telemetry.disk_full.get() > 0,
        refuses_reports: has_refused || telemetry.disk_full.get() > 0,
        is_wal_full: timeseries.is_full(),
        certificate_ends_at: board.certificate_ends_at(),
        failing_targets: failing.collect(),
    }
}
