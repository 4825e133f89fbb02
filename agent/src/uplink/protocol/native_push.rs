//! The messages of a Systole collector's push stream.

use std::time::Duration;

use systole_shared::action::PushMessage;

use super::native_actions::action_of;
use crate::uplink::instructions::Instructions;
use crate::uplink::push::StreamNote;

/// How long the first message may take, after the stream is open.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Pings that may be missing before the stream counts as dead.
const PINGS_MISSED: u32 = 2;

/// Bounds of the time between pings that a collector may name.
const PING_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(120));

/// A stream that has said nothing yet.
pub(super) const OPENED: StreamNote = StreamNote { silence: Some(HELLO_TIMEOUT), is_welcome: false, goodbye: None };

/// Passes on what a message asks for.
pub(super) fn heed(kind: &str, data: &str, instructions: &Instructions) -> StreamNote {
    let message = match serde_json::from_str(data) {
        Ok(message) => message,
        Err(error) => {
            // A later collector may send more than this version knows.
            tracing::debug!(kind, %error, "a message of the push stream is not known");
            return StreamNote::default();
        }
    };
    let mut note = StreamNote::default();
    match message {
        PushMessage::Hello { generation, ping_ms } => {
            note.is_welcome = true;
            note.silence = Some(Duration::from_millis(ping_ms).clamp(PING_BOUNDS.0, PING_BOUNDS.1) * PINGS_MISSED);
            // 0: nothing was ever wanted of the node.
            if generation > 0 {
                instructions.set_generation(generation);
            }
        }
        PushMessage::Ping { .. } => {}
        PushMessage::Desired { generation } => instructions.set_generation(generation),
        PushMessage::Action(action) => instructions.act(action_of(action)),
        PushMessage::Goodbye { retry_ms } => note.goodbye = Some(Duration::from_millis(retry_ms)),
    }
    note
}
