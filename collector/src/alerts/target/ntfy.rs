//! ntfy, by its JSON: the topic is in the body, and the request goes to the root of the server.

use reqwest::Url;
use serde_json::{Value, json};
use systole_shared::AlertSeverity;

use crate::alerts::group::MessageKind;
use crate::alerts::message::Message;

/// Bytes of a message: what ntfy takes before it makes a file of it.
const MAX_BYTES: usize = 3_500;

/// Where to send, and the body. `url` ends with the topic.
pub(crate) fn encode(message: &Message, url: &Url) -> (Url, Value) {
    let mut root = url.clone();
    root.set_path("/");
    let topic = url.path().trim_matches('/').to_owned();
    let (priority, tag) = match (message.kind, message.severity) {
        (MessageKind::Recovery, _) => (3, "white_check_mark"),
        (_, AlertSeverity::Critical) => (5, "rotating_light"),
        (_, AlertSeverity::Warning) => (4, "warning"),
        (_, AlertSeverity::Info) => (3, "information_source"),
    };
    let mut text = String::new();
    for line in &message.lines {
        if text.len() + line.len() > MAX_BYTES {
            text.push('…');
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    let mut body = json!({
        "topic": topic,
        "title": message.title,
        "message": text.trim_end(),
        "priority": priority,
        "tags": [tag],
    });
    if let Some(url) = &message.url {
        body["click"] = url.as_str().into();
    }
    (root, body)
}
