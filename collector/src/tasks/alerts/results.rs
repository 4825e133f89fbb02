//! The last result of a target.

use systole_shared::UnixMillis;

use crate::alerts::board::AlertBoard;
use crate::alerts::target::SendError;
use crate::config::alerts::target::Target;
use crate::store::TargetRow;
use crate::telemetry::{TargetLabel, Telemetry};

/// The result after one more attempt.
pub(super) fn noted(
    board: &AlertBoard,
    telemetry: &Telemetry,
    target: &Target,
    result: &Result<(), SendError>,
    now: UnixMillis,
) -> TargetRow {
    let before = board.result(&target.name).unwrap_or_default();
    let kind = TargetLabel { target: target.kind.as_str() };
    match result {
        Ok(()) => {
            telemetry.notifications_sent.get_or_create(&kind).inc();
            TargetRow {
                target: target.name.clone(),
                last_attempt_at: now,
                last_success_at: Some(now),
                failing_since: None,
                last_error: None,
                sent: before.sent + 1,
                failed: before.failed,
            }
        }
        Err(error) => {
            telemetry.notifications_failed.get_or_create(&kind).inc();
            if before.failing_since.is_none() {
                tracing::warn!(target = target.name, error = %error, "a notification was not delivered, trying again");
            }
            TargetRow {
                target: target.name.clone(),
                last_attempt_at: now,
                last_success_at: before.last_success_at,
                failing_since: before.failing_since.or(Some(now)),
                last_error: Some(error.to_string()),
                sent: before.sent,
                failed: before.failed + 1,
            }
        }
    }
}
