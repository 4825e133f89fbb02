//! Messages as the agent's own protocol has them.

use bytes::Bytes;
use rand::RngExt;
use systole_shared::action::PushMessage;

use super::block;
use crate::control::delivery::push::RETRY_MS;

pub(super) fn render(message: &PushMessage) -> Bytes {
    let text = block(message.name(), message);
    match message {
        // The wait after a stream that ends without a goodbye.
        PushMessage::Hello { .. } => format!("retry: {}\n\n{text}", rand::rng().random_range(RETRY_MS)).into(),
        _ => text.into(),
    }
}
