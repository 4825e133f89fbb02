//! A webhook in the form of Alertmanager's, version 4: what reads that reads this.

use serde_json::{Value, json};
use systole_shared::AlertState;

use crate::alerts::group::MessageKind;
use crate::alerts::message::{Message, MessageAlert};
use crate::clock::to_rfc3339;

/// The body.
pub(crate) fn encode(message: &Message, receiver: &str) -> Value {
    let one = |alert: &MessageAlert| {
        let is_firing = alert.state == AlertState::Firing;
        json!({
            "status": if is_firing { "firing" } else { "resolved" },
            "labels": alert.prometheus_labels(),
            "annotations": {"summary": alert.subject, "description": alert.text},
            "startsAt": to_rfc3339(alert.since),
            "endsAt": alert.ended_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), to_rfc3339),
            "generatorURL": message.url.clone().unwrap_or_default(),
            "fingerprint": alert.fingerprint,
        })
    };
    let left_out = (message.firing + message.ended).saturating_sub(message.alerts.len());
    json!({
        "version": "4",
        "groupKey": message.group,
        "truncatedAlerts": left_out,
        "status": if message.kind == MessageKind::Recovery { "resolved" } else { "firing" },
        "receiver": receiver,
        "groupLabels": {"environment": message.environment, "severity": message.severity},
        "commonLabels": {"severity": message.severity},
        "commonAnnotations": {"summary": message.title, "description": message.lines.join("\n")},
        "externalURL": message.url.clone().unwrap_or_default(),
        "alerts": message.alerts.iter().map(one).collect::<Vec<_>>(),
        // More than Alertmanager has: a receiver can drop a message that it has already.
        "idempotencyKey": message.key,
        "kind": message.kind,
    })
}
