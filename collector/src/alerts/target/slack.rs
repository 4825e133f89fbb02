//! Slack's incoming webhooks; Mattermost and Discord (`/slack`) take the same.

use serde_json::{Value, json};
use systole_shared::AlertSeverity;

use crate::alerts::group::MessageKind;
use crate::alerts::message::Message;

/// The body.
pub(crate) fn encode(message: &Message) -> Value {
    let colour = match (message.kind, message.severity) {
        (MessageKind::Recovery, _) => "#2e7d32",
        (_, AlertSeverity::Critical) => "#c62828",
        (_, AlertSeverity::Warning) => "#f9a825",
        (_, AlertSeverity::Info) => "#1565c0",
    };
    let title = escaped(&message.title);
    let title = match &message.url {
        Some(url) => format!("<{url}|{title}>"),
        None => title,
    };
    json!({
        "text": title,
        "attachments": [{"color": colour, "text": escaped(&message.lines.join("\n")), "fallback": message.title}],
    })
}

/// The three characters that have a meaning there.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
