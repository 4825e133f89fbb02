//! The bytes of events: made once per event, shared by all subscribers.

use bytes::Bytes;
use systole_shared::events::{Control, EventType};
use systole_shared::{NodeId, PipelineId};

use crate::ingest::changes::PendingEvent;

/// Largest write to a subscriber.
pub(crate) const MAX_WRITE_BYTES: usize = 16 * 1024;

/// An event, ready to be written.
#[derive(Debug)]
pub(crate) struct Frame {
    pub seq: u64,
    pub environment: crate::store::EnvironmentKey,
    pub kind: EventType,
    pub node: NodeId,
    pub pipeline: Option<PipelineId>,
    pub bytes: Bytes,
}

impl Frame {
    /// Serialises an event under its id.
    pub(crate) fn new(epoch: &str, event: PendingEvent) -> Self {
        Frame {
            seq: event.seq,
            environment: event.environment,
            kind: event.kind,
            bytes: render(epoch, event.seq, event.kind.as_str(), &event.payload),
            node: event.node,
            pipeline: event.pipeline,
        }
    }
}

/// `id`, `event`, `data`, blank line. JSON has no raw line ends, so data is one line.
pub(crate) fn render(epoch: &str, seq: u64, event: &str, data: &str) -> Bytes {
    format!("id: {epoch}-{seq}\nevent: {event}\ndata: {data}\n\n").into()
}

/// A control event, without an id.
pub(crate) fn control(event: &Control) -> Bytes {
    let data = serde_json::to_string(event).expect("control events have string keys and finite numbers only");
    format!("event: {}\ndata: {data}\n\n", event.name()).into()
}

/// An id alone: moves the client's cursor without an event.
pub(crate) fn cursor(epoch: &str, seq: u64) -> Bytes {
    format!("id: {epoch}-{seq}\n\n").into()
}

/// Joins frames to as few writes as the bound allows. A frame above the bound becomes several.
pub(crate) fn join(frames: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut writes = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for frame in frames {
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
        fn joining_keeps_every_byte_in_order_and_the_bound(lengths in prop::collection::vec(1_usize..40_000, 0..20)) {
            let frames: Vec<Bytes> =
                lengths.iter().enumerate().map(|(i, len)| Bytes::from(vec![i as u8; *len])).collect();
            let writes = join(frames.clone());
            prop_assert!(writes.iter().all(|write| !write.is_empty() && write.len() <= MAX_WRITE_BYTES));
            prop_assert_eq!(writes.concat(), frames.concat());
        }
    }
}
