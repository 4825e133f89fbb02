//! The last 720 samples of every pipeline and component, in memory: an hour at one report per 5 s.
//!
//! Rings grow in blocks, because most are never asked for in full, and share one byte budget. Under
//! pressure component rings shrink first (to 60 samples), then the longest idle pipelines go, with
//! their components first. What went is counted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use systole_shared::{ComponentId, PipelineId, RateSample, UnixMillis};
use tokio::sync::watch;

use crate::ingest::changes::PendingSample;
use crate::store::NodeKey;

/// Samples that a ring holds.
pub(crate) const RING_SAMPLES: usize = 720;

/// Samples that a component's ring keeps under pressure: five minutes.
const SHRUNK_SAMPLES: usize = 60;

/// Samples by which a ring grows.
const BLOCK_SAMPLES: usize = 60;

/// After shedding, this share of the budget is free, so that it is not needed again at once.
const HEADROOM: f64 = 0.1;

/// Below this share of the budget component rings may grow again. Well below what shedding leaves, so
/// that they do not shrink and grow in turn.
const RELIEF: f64 = 0.5;

/// One sample: its time and eight rates; latency is NaN when unknown.
#[derive(Clone, Copy, Debug)]
struct Slot {
    timestamp: UnixMillis,
    values: [f32; 8],
}

const SLOT_BYTES: usize = size_of::<Slot>();

impl From<&RateSample> for Slot {
    fn from(sample: &RateSample) -> Self {
        let values = [
            sample.received_events_rate,
            sample.sent_events_rate,
            sample.received_bytes_rate,
            sample.sent_bytes_rate,
            sample.error_count,
            sample.errors_rate,
            sample.discarded_rate,
            sample.latency_mean_ms.unwrap_or(f64::NAN),
        ];
        Slot { timestamp: sample.timestamp, values: values.map(|value| value as f32) }
    }
}

impl From<&Slot> for RateSample {
    fn from(slot: &Slot) -> Self {
        let [received, sent, received_bytes, sent_bytes, count, errors, discarded, latency] = slot.values.map(widen);
        RateSample {
            timestamp: slot.timestamp,
            received_events_rate: received,
            sent_events_rate: sent,
            received_bytes_rate: received_bytes,
            sent_bytes_rate: sent_bytes,
            error_count: count,
            errors_rate: errors,
            discarded_rate: discarded,
            latency_mean_ms: Some(latency).filter(|latency| !latency.is_nan()),
        }
    }
}

/// Widens without showing digits that the float never had.
fn widen(value: f32) -> f64 {
    (f64::from(value) * 1_000.0).round() / 1_000.0
}

#[derive(Debug, Default)]
struct Ring(VecDeque<Slot>);

impl Ring {
    /// Adds a sample and returns by how many bytes the ring grew.
    fn push(&mut self, slot: Slot, cap: usize) -> usize {
        let before = self.bytes();
        while self.0.len() >= cap {
            self.0.pop_front();
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(BLOCK_SAMPLES.min(RING_SAMPLES - self.0.len()));
        }
        self.0.push_back(slot);
        self.bytes() - before
    }

    /// Keeps the newest samples and returns how many bytes came free.
    fn shrink(&mut self, samples: usize) -> usize {
        let before = self.bytes();
        if self.0.len() > samples {
            self.0.drain(..self.0.len() - samples);
        }
        self.0.shrink_to(samples);
        before - self.bytes()
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * SLOT_BYTES
    }

    fn since(&self, since: UnixMillis) -> Vec<RateSample> {
        // Samples of a back-fill may come late, so the ring is not searched but sifted.
        let mut samples: Vec<_> = self.0.iter().filter(|slot| slot.timestamp > since).map(RateSample::from).collect();
        samples.sort_by_key(|sample| sample.timestamp);
        samples
    }
}

#[derive(Debug, Default)]
struct PipelineRings {
    own: Ring,
    components: HashMap<ComponentId, Ring>,
    /// The push that touched it last; the smallest is the longest idle.
    touched: u64,
}

#[derive(Debug, Default)]
struct Inner {
    pipelines: HashMap<(NodeKey, PipelineId), PipelineRings>,
    bytes: usize,
    pushes: u64,
    /// Whether component rings are held at [`SHRUNK_SAMPLES`].
    under_pressure: bool,
    shed: Shed,
}

/// What had to go for the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shed {
    pub shrunk_components: u64,
    pub dropped_components: u64,
    pub dropped_pipelines: u64,
}

/// How much the rings hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingUsage {
    pub bytes: usize,
    pub pipelines: usize,
    pub components: usize,
    pub under_pressure: bool,
    pub shed: Shed,
}

/// All rings.
#[derive(Debug)]
pub(crate) struct Rings {
    inner: Mutex<Inner>,
    budget_bytes: usize,
    pushed: watch::Sender<u64>,
}

impl Rings {
    /// No rings yet, with room for `budget_bytes` of samples.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Rings { inner: Mutex::default(), budget_bytes, pushed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the samples of a batch and tells subscribers.
    pub(crate) fn push(&self, samples: Vec<PendingSample>) {
        if samples.is_empty() {
            return;
        }
        let pushes = {
            let mut inner = self.lock();
            for sample in samples {
                inner.push(&sample);
                if inner.bytes > self.budget_bytes {
                    inner.shed(self.budget_bytes);
                } else if inner.under_pressure && (inner.bytes as f64) < self.budget_bytes as f64 * RELIEF {
                    inner.under_pressure = false;
                }
            }
            inner.pushes
        };
        self.pushed.send_replace(pushes);
    }

    /// Changes whenever samples were added.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.pushed.subscribe()
    }

    /// Samples of a pipeline, or of one of its components, after `since`, oldest first.
    pub(crate) fn since(
        &self,
        node: NodeKey,
        pipeline: &PipelineId,
        component: Option<&ComponentId>,
        since: UnixMillis,
    ) -> Vec<RateSample> {
        let inner = self.lock();
        let Some(rings) = inner.pipelines.get(&(node, pipeline.clone())) else { return Vec::new() };
        match component {
            Some(component) => rings.components.get(component).map(|ring| ring.since(since)).unwrap_or_default(),
            None => rings.own.since(since),
        }
    }

    /// The newest sample of a pipeline.
    pub(crate) fn last(&self, node: NodeKey, pipeline: &PipelineId) -> Option<RateSample> {
        let inner = self.lock();
        let rings = inner.pipelines.get(&(node, pipeline.clone()))?;
        rings.own.0.back().map(RateSample::from)
    }

    /// How much the rings hold, and what had to go.
    pub(crate) fn usage(&self) -> RingUsage {
        let inner = self.lock();
        RingUsage {
            bytes: inner.bytes,
            pipelines: inner.pipelines.len(),
            components: inner.pipelines.values().map(|rings| rings.components.len()).sum(),
            under_pressure: inner.under_pressure,
            shed: inner.shed,
        }
    }
}

impl Inner {
    fn push(&mut self, sample: &PendingSample) {
        self.pushes += 1;
        let component_cap = if self.under_pressure { SHRUNK_SAMPLES } else { RING_SAMPLES };
        let update = &*sample.update;
        let rings = self.pipelines.entry((sample.node, update.pipeline_id.clone())).or_default();
        rings.touched = self.pushes;
        self.bytes += rings.own.push(Slot::from(&update.sample), RING_SAMPLES);
        for component in &update.components {
            let ring = match rings.components.get_mut(&component.component_id) {
                Some(ring) => ring,
                None => rings.components.entry(component.component_id.clone()).or_default(),
            };
            self.bytes += ring.push(Slot::from(&component.sample), component_cap);
        }
    }

    /// Frees memory down to the budget less the headroom.
    fn shed(&mut self, budget_bytes: usize) {
        let target = (budget_bytes as f64 * (1.0 - HEADROOM)) as usize;
        if !self.under_pressure {
            self.under_pressure = true;
            for ring in self.pipelines.values_mut().flat_map(|rings| rings.components.values_mut()) {
                let freed = ring.shrink(SHRUNK_SAMPLES);
                self.shed.shrunk_components += u64::from(freed > 0);
                self.bytes -= freed;
            }
        }
        let mut idle: Vec<_> = self.pipelines.iter().map(|(key, rings)| (rings.touched, key.clone())).collect();
        idle.sort_unstable_by_key(|(touched, _)| *touched);
        for (_, key) in &idle {
            if self.bytes <= target {
                return;
            }
            if let Some(rings) = self.pipelines.get_mut(key) {
                self.shed.dropped_components += rings.components.len() as u64;
                self.bytes -= rings.components.drain().map(|(_, ring)| ring.bytes()).sum::<usize>();
            }
        }
        for (_, key) in &idle {
            if self.bytes <= target {
                return;
            }
            if let Some(rings) = self.pipelines.remove(key) {
                self.shed.dropped_pipelines += 1;
                self.bytes -= rings.own.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use systole_shared::events::{ComponentSample, MetricUpdate};
    use systole_shared::{ComponentKind, NodeId};

    use super::*;

    fn sample(timestamp: UnixMillis) -> RateSample {
        RateSample {
            timestamp,
            received_events_rate: timestamp as f64,
            sent_events_rate: 0.1,
            received_bytes_rate: 0.0,
            sent_bytes_rate: 0.0,
            error_count: 0.0,
            errors_rate: 0.0,
            discarded_rate: 0.0,
            latency_mean_ms: None,
        }
    }

    fn pending(node: i64, timestamp: UnixMillis) -> PendingSample {
        let component = ComponentSample {
            component_id: ComponentId::parse("in").unwrap(),
            kind: ComponentKind::Source,
            sample: sample(timestamp),
        };
        let update = MetricUpdate {
            node_id: NodeId(uuid::Uuid::from_u128(node as u128)),
            pipeline_id: PipelineId::parse("orders").unwrap(),
            timestamp,
            sample: sample(timestamp),
            components: vec![component],
        };
        PendingSample { node: NodeKey(node), update: Arc::new(update) }
    }

    fn of(rings: &Rings, node: i64, component: Option<&str>) -> Vec<RateSample> {
        let component = component.map(|id| ComponentId::parse(id).unwrap());
        rings.since(NodeKey(node), &PipelineId::parse("orders").unwrap(), component.as_ref(), 0)
    }

    #[test]
    fn a_ring_keeps_the_newest_720_samples() {
        let rings = Rings::new(usize::MAX);
        rings.push((1..=1_000).map(|at| pending(1, at)).collect());
        let kept = of(&rings, 1, None);
        assert_eq!(kept.len(), RING_SAMPLES);
        assert_eq!((kept[0].timestamp, kept[719].timestamp), (281, 1_000));
        assert_eq!((kept[0].sent_events_rate, kept[0].latency_mean_ms), (0.1, None));
    }

    #[test]
    fn a_young_ring_takes_a_block_and_not_the_whole() {
        let rings = Rings::new(usize::MAX);
        rings.push(vec![pending(1, 1)]);
        assert!(rings.usage().bytes <= 2 * BLOCK_SAMPLES * SLOT_BYTES + 64);
    }

    #[test]
    fn under_pressure_components_shrink_before_any_pipeline_goes() {
        let full = RING_SAMPLES * SLOT_BYTES;
        // Four full rings, room for three and a half.
        let rings = Rings::new(full * 7 / 2);
        for node in 1..=2 {
            rings.push((1..=720).map(|at| pending(node, at)).collect());
        }
        let usage = rings.usage();
        assert!(usage.under_pressure && usage.bytes <= full * 7 / 2, "{usage:?}");
        assert_eq!((of(&rings, 1, None).len(), of(&rings, 2, None).len()), (720, 720));
        assert!(of(&rings, 1, Some("in")).len() <= SHRUNK_SAMPLES);
        assert!(usage.shed.shrunk_components > 0);
        assert_eq!(usage.shed.dropped_pipelines, 0);
    }

    #[test]
    fn components_grow_again_when_there_is_room() {
        let full = RING_SAMPLES * SLOT_BYTES;
        let rings = Rings::new(full * 5 / 2);
        for node in 1..=2 {
            rings.push((1..=720).map(|at| pending(node, at)).collect());
        }
        assert!(rings.usage().under_pressure);
        // One of the two pipelines is gone, as the budget would have it; then there is room.
        {
            let mut inner = rings.lock();
            let key = (NodeKey(1), PipelineId::parse("orders").unwrap());
            let gone = inner.pipelines.remove(&key).unwrap();
            inner.bytes -= gone.own.bytes() + gone.components.values().map(Ring::bytes).sum::<usize>();
        }
        rings.push((721..=1_000).map(|at| pending(2, at)).collect());
        assert!(!rings.usage().under_pressure);
        assert!(of(&rings, 2, Some("in")).len() > SHRUNK_SAMPLES);
    }

    #[test]
    fn the_longest_idle_pipeline_goes_first() {
        let block = BLOCK_SAMPLES * SLOT_BYTES;
        let rings = Rings::new(block * 5);
        for node in 1..=6 {
            let mut only_pipeline = pending(node, 1);
            Arc::get_mut(&mut only_pipeline.update).unwrap().components.clear();
            rings.push(vec![only_pipeline]);
        }
        assert!(of(&rings, 1, None).is_empty(), "the oldest went");
        assert_eq!(of(&rings, 6, None).len(), 1);
        assert!(rings.usage().bytes <= block * 5);
        assert!(rings.usage().shed.dropped_pipelines >= 1);
    }

    #[tokio::test]
    async fn subscribers_learn_of_new_samples() {
        let rings = Rings::new(usize::MAX);
        let mut pushed = rings.subscribe();
        rings.push(vec![pending(1, 1)]);
        pushed.changed().await.unwrap();
    }
}
