//! The recent frames of one kind, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::Frame;

/// The limits of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingBounds {
    pub frames: usize,
    pub bytes: usize,
}

/// Frames in the order of their sequence numbers.
#[derive(Debug)]
pub(super) struct Ring {
    bounds: RingBounds,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    floor: u64,
}

impl Ring {
    /// An empty ring: of what is not behind `floor` it knows nothing.
    pub(super) fn new(bounds: RingBounds, floor: u64) -> Self {
        Ring { bounds, frames: VecDeque::new(), bytes: 0, floor }
    }

    /// Everything behind this sequence number is in the ring.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.size();
        self.frames.push_back(frame);
        while self.frames.len() > self.bounds.frames || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.size();
            self.floor = oldest.seq;
        }
    }

    /// The frames behind a sequence number.
    pub(super) fn behind(&self, seq: u64) -> impl Iterator<Item = &Arc<Frame>> {
        self.frames.range(self.frames.partition_point(|frame| frame.seq <= seq)..)
    }

    /// The newest frame that is not behind a sequence number.
    pub(super) fn last_up_to(&self, seq: u64) -> Option<&Arc<Frame>> {
        let behind = self.frames.partition_point(|frame| frame.seq <= seq);
        behind.checked_sub(1).and_then(|index| self.frames.get(index))
    }

    /// The sequence number of the newest frame from before a moment, or the floor.
    pub(super) fn seq_before(&self, moment: tokio::time::Instant) -> u64 {
        let from = self.frames.partition_point(|frame| frame.published < moment);
        from.checked_sub(1).and_then(|index| self.frames.get(index)).map_or(self.floor, |frame| frame.seq)
    }
}
