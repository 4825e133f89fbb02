//! The bytes of events: made at most once per event, shared by all subscribers.
//!
//! The text of a conflated event is made when the first subscriber needs it, and only once: of ten
//! thousand nodes most are never read.

use std::sync::OnceLock;

use bytes::Bytes;
use systole_shared::events::{Control, EventType};
use systole_shared::{NodeId, PipelineId};

use tokio::time::Instant;

use crate::model::{Payload, PendingEvent};

/// Largest piece that a stream is given at once. With what the server may have kept back from before
/// ([`HELD_BACK_BYTES`]) and the frame of a chunk it stays under the 16 KiB of a write.
pub(crate) const MAX_WRITE_BYTES: usize = 15 * 1024;

/// The server joins an answer's head and what comes next while it has less than this to write.
pub(crate) const HELD_BACK_BYTES: usize = 512;

/// An event in the ring.
#[derive(Debug)]
pub(crate) struct Frame {
    pub seq: u64,
    pub environment: crate::model::EnvironmentKey,
    pub kind: EventType,
    pub node: NodeId,
    pub pipeline: Option<PipelineId>,
    /// When it came into the ring.
    pub published: Instant,
    payload: Payload,
    bytes: OnceLock<Bytes>,
}

impl Frame {
    pub(super) fn new(event: PendingEvent, published: Instant) -> Self {
        Frame {
            seq: event.seq,
            environment: event.environment,
            kind: event.kind,
            node: event.node,
            pipeline: event.pipeline,
            published,
            payload: event.payload,
            bytes: OnceLock::new(),
        }
    }

    /// What it says.
    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The event under its id: made when the first subscriber wants it, for all of them.
    pub(crate) fn bytes(&self, epoch: &str) -> Bytes {
        let render = || render(epoch, self.seq, self.kind.as_str(), &self.payload.to_json());
        self.bytes.get_or_init(render).clone()
    }

    /// [`Self::bytes`] without the id, for an event that comes later than ones behind it: a client that
    /// goes on from its last id must not go back.
    pub(crate) fn bytes_without_id(&self, epoch: &str) -> Bytes {
        let bytes = self.bytes(epoch);
        let id = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.slice(id..)
    }

    /// About how many bytes of a stream it takes.
    pub(super) fn wire_size(&self) -> usize {
        self.bytes.get().map_or_else(|| self.payload.size(), Bytes::len)
    }

    /// About how much memory it takes. An upper bound for what is read: it has its text beside.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + 2 * self.payload.size()
    }
}

/// `id`, `event`, `data`, blank line. JSON has no raw line ends, so data is one line.
pub(crate) fn render(epoch: &str, seq: u64, event: &str, data: &str) -> Bytes {
    format!("id: {epoch}-{seq}\nevent: {event}\ndata: {data}\n\n").into()
}

/// [`render`] without the id.
pub(crate) fn render_without_id(event: &str, data: &str) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

/// A control event, without an id.
pub(crate) fn control(event: &Control) -> Bytes {
    let data = serde_json::to_string(event).expect("control events have string keys and finite numbers only");
    render_without_id(event.name(), &data)
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
            // Alone it is the same bytes for everybody.
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
        fn joining_keeps_every_byte_in_order_and_the_bound(lengths in prop::collection::vec(prop_oneof![Just(0), 1_usize..40_000], 0..20)) {
            let frames: Vec<Bytes> =
                lengths.iter().enumerate().map(|(i, len)| Bytes::from(vec![i as u8; *len])).collect();
            let writes = join(frames.clone());
            prop_assert!(writes.iter().all(|write| !write.is_empty() && write.len() <= MAX_WRITE_BYTES));
            prop_assert_eq!(writes.concat(), frames.concat());
        }
    }
}
