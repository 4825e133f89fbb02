//! PagerDuty, Events API v2: one incident for a group as long as it has alerts.

use serde_json::{Value, json};

use crate::alerts::group::MessageKind;
use crate::alerts::message::Message;
use crate::clock::to_rfc3339;

/// Characters of a summary, and of a key.
const MAX_SUMMARY_CHARS: usize = 1_024;
const MAX_KEY_CHARS: usize = 255;

/// The body.
pub(crate) fn encode(message: &Message, routing_key: &str) -> Value {
    let is_over = message.kind == MessageKind::Recovery;
    let dedup_key: String = format!("systole/{}", message.group).chars().take(MAX_KEY_CHARS).collect();
    let mut body = json!({
        "routing_key": routing_key,
        "event_action": if is_over { "resolve" } else { "trigger" },
        "dedup_key": dedup_key,
        "payload": {
            "summary": message.title.chars().take(MAX_SUMMARY_CHARS).collect::<String>(),
            "source": message.environment.as_deref().unwrap_or("collector"),
            "severity": message.severity.as_str(),
            "timestamp": to_rfc3339(message.created_at),
            "component": "systole",
            "custom_details": {"lines": message.lines, "firing": message.firing, "ended": message.ended},
        },
    });
    if let Some(url) = &message.url {
        body["client"] = "systole".into();
        body["client_url"] = url.as_str().into();
    }
    body
}
