//! Alertmanager, API v2. It groups, silences and repeats by itself, so it is not told messages but states: alerts that fire
//! again and again, with an end soon, so that they end also when the collector does not come back.

use serde_json::{Value, json};
use systole_shared::{AlertState, UnixMillis};

use crate::alerts::message::MessageAlert;
use crate::clock::to_rfc3339;

/// An alert that is not sent again ends by itself after this time; it is sent each minute.
const ENDS_AFTER_MS: i64 = 4 * 60_000;

/// The body of `POST /api/v2/alerts`.
pub(crate) fn encode(alerts: &[MessageAlert], now: UnixMillis) -> Value {
    let one = |alert: &MessageAlert| {
        let ends_at = match (alert.state, alert.ended_at) {
            (AlertState::Firing, _) | (_, None) => now.saturating_add(ENDS_AFTER_MS),
            (_, Some(ended)) => ended,
        };
        json!({
            "labels": alert.prometheus_labels(),
            "annotations": {"summary": alert.subject, "description": alert.text},
            "startsAt": to_rfc3339(alert.since.min(ends_at)),
            "endsAt": to_rfc3339(ends_at),
        })
    };
    Value::Array(alerts.iter().map(one).collect())
}
