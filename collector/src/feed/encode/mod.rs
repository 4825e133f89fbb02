//! The bytes of a stream: blocks of server-sent events, one form of the events in each of `native` and
//! `vectorflow`. Control events and cursors are the same in both.

pub(super) mod native;
mod vectorflow;

use bytes::Bytes;
use systole_shared::UnixMillis;
use systole_shared::events::Control;

use super::Encoding;
use super::frame::Frame;
use crate::store::StoredEvent;

/// Largest piece that a stream receives at once. With the bytes that the server may have kept back from
/// before ([`HELD_BACK_BYTES`]) and the frame of a chunk it stays under the 16 KiB of a write.
pub(crate) const MAX_WRITE_BYTES: usize = 15 * 1024;

/// The server joins an answer's head and what comes next while it has less than this to write.
pub(crate) const HELD_BACK_BYTES: usize = 512;

/// An event out of the rings. It has no id after an event with a higher id: a client that continues from its last
/// id must not go back.
pub(super) fn live(encoding: Encoding, epoch: &str, frame: &Frame, has_id: bool) -> Bytes {
    match encoding {
        Encoding::Native if has_id => frame.bytes(epoch),
        Encoding::Native => frame.bytes_without_id(epoch),
        Encoding::VectorFlow => {
            vectorflow::render(has_id.then_some((epoch, frame.seq)), frame.kind.as_str(), frame.payload())
        }
    }
}

/// An event out of the database, under its id.
pub(super) fn stored(encoding: Encoding, epoch: &str, event: &StoredEvent) -> Bytes {
    match encoding {
        Encoding::Native => native::render(epoch, event.seq, event.kind, &event.payload),
        Encoding::VectorFlow => vectorflow::render_text(Some((epoch, event.seq)), event.kind.as_str(), &event.payload),
    }
}

/// `id` if it has one, `event`, `data`, blank line. JSON has no raw line ends, so data is one line.
pub(super) fn block(id: Option<(&str, u64)>, event: &str, data: &str) -> Bytes {
    match id {
        Some((epoch, seq)) => format!("id: {epoch}-{seq}\nevent: {event}\ndata: {data}\n\n").into(),
        None => format!("event: {event}\ndata: {data}\n\n").into(),
    }
}

/// What a stream begins with.
pub(super) fn greeting(encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Native => Bytes::new(),
        Encoding::VectorFlow => Bytes::from_static(vectorflow::CONNECTED),
    }
}

/// What keeps an idle stream alive.
pub(super) fn ping(encoding: Encoding, now: UnixMillis) -> Bytes {
    match encoding {
        Encoding::Native => control(&Control::Ping { now }),
        Encoding::VectorFlow => Bytes::from_static(vectorflow::KEEPALIVE),
    }
}

/// A control event, without an id.
pub(crate) fn control(event: &Control) -> Bytes {
    let data = serde_json::to_string(event).expect("control events have string keys and finite numbers only");
    block(None, event.name(), &data)
}

/// An id alone: moves the client's cursor without an event.
pub(crate) fn cursor(epoch: &str, seq: u64) -> Bytes {
    format!("id: {epoch}-{seq}\n\n").into()
}

/// Joins frames to as few writes as the bound allows. A frame above the bound becomes several.
pub(crate) fn join(frames: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    // An event may have no bytes (in VectorFlow's form, without components), and a chunk must have some.
    let mut frames = frames.into_iter().filter(|frame| !frame.is_empty()).peekable();
    let mut writes = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    while let Some(frame) = frames.next() {
        if open.is_empty() && frames.peek().is_none() && frame.len() <= MAX_WRITE_BYTES {
            // A single event has the same bytes for every subscriber.
            writes.push(frame);
            break;
        }
        if !open.is_empty() && open.len() + frame.len() > MAX_WRITE_BYTES {
            writes.push(Bytes::from(std::mem::take(&mut open)));
        }
        if frame.len() > MAX_WRITE_BYTES {
            writes.extend(
                (0..frame.len())
                    .step_by(MAX_WRITE_BYTES)
                    .map(|from| frame.slice(from..frame.len().min(from + MAX_WRITE_BYTES))),
            );
        } else {
            open.extend_from_slice(&frame);
        }
    }
    if !open.is_empty() {
        writes.push(open.into());
    }
    writes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frame_join_keeps_bytes_order_and_bound(lengths in prop::collection::vec(prop_oneof![Just(0), 1_usize..40_000], 0..20)) {
            let frames: Vec<Bytes> =
                lengths.iter().enumerate().map(|(i, len)| Bytes::from(vec![i as u8; *len])).collect();
            let writes = join(frames.clone());
            prop_assert!(writes.iter().all(|write| !write.is_empty() && write.len() <= MAX_WRITE_BYTES));
            prop_assert_eq!(writes.concat(), frames.concat());
        }
    }
}
