//! An event in the rings, and its bytes: made at most once per event, shared by all subscribers.
//!
//! The text of a conflated event is made when the first subscriber needs it, and only once: of ten
//! thousand nodes most are never read.

use std::sync::OnceLock;

use bytes::Bytes;
use systole_shared::events::EventType;
use systole_shared::{NodeId, PipelineId};
use tokio::time::Instant;

use super::encode::native;
use crate::model::{Payload, PendingEvent};

/// An event in the ring.
#[derive(Debug)]
pub(crate) struct Frame {
    pub seq: u64,
    pub environment: crate::model::EnvironmentKey,
    pub kind: EventType,
    pub node: Option<NodeId>,
    pub pipeline: Option<PipelineId>,
    /// The time of its publication.
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

    /// Its content.
    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The event under its id: made when the first subscriber wants it, for all of them.
    pub(crate) fn bytes(&self, epoch: &str) -> Bytes {
        let render = || native::render(epoch, self.seq, self.kind, &self.payload.to_json());
        self.bytes.get_or_init(render).clone()
    }

    /// [`Self::bytes`] without the id, for an event that comes after events with higher ids: a client that
    /// continues after its last id must not go back.
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
