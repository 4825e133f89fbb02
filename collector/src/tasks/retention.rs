//! Removing what is older than its retention, in small batches that leave the writer to reports.
//!
//! Tokens of nodes and sessions are removed when they have ended. Tokens that people made stay in the
//! list.
//!
//! Minutes expire by whole hours and hours by whole days, never before they are summed
//! (docs/adr/0007-rollups-by-dirty-marks.md). Older sums stay as they are, even if a late report or a
//! longer retention brings some of their minutes back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::clock;
use crate::config::Retention;
use crate::ingest::commit_log::{CommitLog, Entry};
use crate::model::Resolution;
use crate::store::{Cutoffs, Store};
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// Rows of each table that are removed in one transaction.
const BATCH_ROWS: u32 = 1_000;

/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(60);

const PACING: Pacing = Pacing {
    first: ROUND_PAUSE,
    // For reports to be written.
    between: Duration::from_millis(100),
    retry: Duration::from_secs(5),
    max_retry: ROUND_PAUSE,
};

/// Removes expired rows, a batch at a time.
pub(crate) struct Expiry {
    pub timeseries: Arc<TimeSeries>,
    pub store: Arc<dyn Store>,
    pub retention: Retention,
    pub telemetry: Arc<Telemetry>,
    /// For collectors that follow this one.
    pub commit_log: Arc<CommitLog>,
}

#[async_trait]
impl Task for Expiry {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        let now = clock::now_ms();
        let audit_before = now.saturating_sub(i64::try_from(self.retention.audit.as_millis()).unwrap_or(i64::MAX));
        let cutoffs = cutoffs(self.retention, now);
        self.commit_log.publish(Entry::Expired(cutoffs.minutes_before));
        let removed = self.timeseries.expire(cutoffs, BATCH_ROWS).await?
            + self.store.expire_audit(audit_before, BATCH_ROWS).await?;
        self.telemetry.rows_expired.inc_by(removed);
        Ok(if removed == 0 { Activation::IdleFor(ROUND_PAUSE) } else { Activation::MoreToDo })
    }
}

/// The times before which data is expired.
pub(crate) fn cutoffs(retention: Retention, now: i64) -> Cutoffs {
    let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    Cutoffs {
        // Whole hours and days, so that the sums of what is left are whole.
        minutes_before: before(retention.minutes).div_euclid(Resolution::Hour.ms()) * 60,
        hours_before: before(retention.hours).div_euclid(Resolution::Day.ms()) * 24,
        days_before: before(retention.days).div_euclid(Resolution::Day.ms()),
        logs_before: before(retention.logs),
        events_before: before(retention.events),
        tokens_before: now,
    }
}
