//! Events as `systole_shared::events` has them: the JSON that is stored, under its id.

use bytes::Bytes;
use systole_shared::events::EventType;

use super::block;

/// An event under its id.
pub(in crate::feed) fn render(epoch: &str, seq: u64, kind: EventType, json: &str) -> Bytes {
    block(Some((epoch, seq)), kind.as_str(), json)
}
