//! Fills the last minutes in memory from the database after a start.

use super::AlertTasks;
use crate::config::alerts::Rule;
use crate::config::alerts::rule::Condition;
use crate::store::StoreError;
use crate::timeseries::minute_windows::{KNOWN_MINUTES, WHOLE_MINUTES};

/// Minutes that are read at once.
const AT_ONCE: i64 = 5;

/// How many minutes the rules look back.
pub(super) fn needed<'a>(rules: impl Iterator<Item = &'a Rule>) -> i64 {
    let minutes = |seconds: u64| i64::try_from(seconds / 60).unwrap_or(KNOWN_MINUTES);
    let needed = rules.map(|rule| match &rule.condition {
        Condition::Gap { after } => minutes(after.as_secs() + rule.hold.as_secs()) + 2,
        Condition::Rate { .. } | Condition::Host { .. } => WHOLE_MINUTES,
        _ => 0,
    });
    needed.max().unwrap_or(0).min(KNOWN_MINUTES)
}

/// Reads `minutes` minutes up to now.
pub(super) async fn load(parts: &AlertTasks, minutes: i64, now_minute: i64) -> Result<(), StoreError> {
    let mut from = now_minute - minutes;
    while from <= now_minute {
        let to = (from + AT_ONCE).min(now_minute + 1);
        parts.timeseries.load_windows(from, to).await?;
        from = to;
    }
    Ok(())
}
