//! One event of a sample or tap, as it leaves the node: redacted, and not too long.

use systole_shared::action::{MAX_TAP_EVENT_BYTES, TappedEvent};

use super::redact::Redaction;
use crate::clock;

/// Longest id of a component in an event.
const MAX_COMPONENT_BYTES: usize = 512;

/// The event as it is sent.
pub(super) fn event_of(component: &str, text: String, redaction: &Redaction) -> TappedEvent {
    let mut event = redaction.apply(text);
    let end = event.floor_char_boundary(MAX_TAP_EVENT_BYTES);
    let truncated = end < event.len();
    event.truncate(end);
    let component_id = component[..component.floor_char_boundary(MAX_COMPONENT_BYTES)].to_owned();
    TappedEvent { at: clock::unix_millis(), component_id, event, truncated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_event_is_redacted_and_then_cut() {
        let long = format!(r#"{{"password":"{}","text":"{}"}}"#, "p".repeat(20_000), "\u{e4}".repeat(20_000));
        let event = event_of("parse", long, &Redaction::new(&["password".to_owned()]));
        assert!(event.truncated && event.event.len() <= MAX_TAP_EVENT_BYTES);
        assert!(event.event.starts_with(r#"{"password":"[redacted]","#), "{}", &event.event[..40]);
        assert!(!event_of("parse", "{}".to_owned(), &Redaction::default()).truncated);
    }
}
