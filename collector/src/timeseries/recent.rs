//! The last 720 samples of every pipeline and component, in memory: an hour at one report per 5 s.
//!
//! The rings grow in blocks, because most are never read in full, and share one byte budget. Under
//! pressure component rings shrink first (to 60 samples), then unused rings are dropped. When all are in
//! use, components and then pipelines keep fewer samples: to drop rings that the next report creates again
//! would gain nothing. Metrics report the dropped and the kept samples.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use systole_shared::{ComponentId, PipelineId, RateSample, UnixMillis};
use tokio::sync::watch;

use crate::model::NodeKey;
use crate::model::PendingSample;

/// Samples that a ring holds.
pub(crate) const RING_SAMPLES: usize = 720;

/// Samples that rings of components and of pipelines keep, under more and more pressure: an hour, five
/// minutes, one minute.
const LEVELS: [(usize, usize); 10] = [
    (RING_SAMPLES, RING_SAMPLES),
    (60, RING_SAMPLES),
    (30, RING_SAMPLES),
    (12, RING_SAMPLES),
    (12, 360),
    (12, 180),
    (12, 120),
    (12, 60),
    (0, 60),
    (0, 12),
];

/// A pipeline is idle when all others were filled so often since it was.
const IDLE_ROUNDS: u64 = 10;

/// Samples by which a ring grows, and those that it begins with: a minute, when it has just been made.
const BLOCK_SAMPLES: usize = 60;
const FIRST_SAMPLES: usize = 12;

/// Rings of a pipeline's components that are reported no more, beyond as many as are reported: those of a few
/// configurations. A pipeline whose components have new names in each report must not use up the budget.
const GONE_COMPONENTS: usize = 256;

/// What a pipeline and a component take besides their samples: names and places in tables, about.
const PIPELINE_BYTES: usize = 256;
const COMPONENT_BYTES: usize = 128;

/// After shedding, this share of the budget is free, so that it is not needed again at once.
const HEADROOM: f64 = 0.1;

/// Below this share of the budget rings may grow again. Well below what shedding leaves, so that they do
/// not shrink and grow in turn.
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
        if cap == 0 {
            return 0;
        }
        let before = self.bytes();
        while self.0.len() >= cap {
            self.0.pop_front();
        }
        if self.0.len() == self.0.capacity() {
            let more = self.0.len().clamp(FIRST_SAMPLES, BLOCK_SAMPLES);
            self.0.reserve_exact(more.min(cap - self.0.len()));
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
    /// What of [`LEVELS`] holds.
    level: usize,
    evicted: Evicted,
}

/// The rings shrunk or dropped for the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub shrunk_components: u64,
    pub shrunk_pipelines: u64,
    pub dropped_components: u64,
    pub dropped_pipelines: u64,
}

/// The size of the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SampleUsage {
    pub bytes: usize,
    pub pipelines: usize,
    pub components: usize,
    /// Samples that a ring of a component, and of a pipeline, keeps now.
    pub component_samples: usize,
    pub pipeline_samples: usize,
    pub evicted: Evicted,
}

/// All rings.
#[derive(Debug)]
pub(crate) struct RecentSamples {
    inner: Mutex<Inner>,
    budget_bytes: usize,
    pushed: watch::Sender<u64>,
}

impl RecentSamples {
    /// No rings yet, with room for `budget_bytes` of samples.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        RecentSamples { inner: Mutex::default(), budget_bytes, pushed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the samples of a batch and notifies subscribers.
    pub(crate) fn push(&self, samples: Vec<PendingSample>) {
        if samples.is_empty() {
            return;
        }
        let pushes = {
            let mut inner = self.lock();
            for sample in samples {
                inner.push(&sample);
                if inner.bytes > self.budget_bytes {
                    inner.evict(self.budget_bytes);
                }
            }
            if inner.level > 0 && (inner.bytes as f64) < self.budget_bytes as f64 * RELIEF {
                inner.level -= 1;
            }
            inner.pushes
        };
        self.pushed.send_replace(pushes);
    }

    /// Drops the rings of a node that was removed.
    pub(crate) fn remove_node(&self, node: NodeKey) {
        let mut inner = self.lock();
        let removed: Vec<_> = inner.pipelines.extract_if(|(owner, _), _| *owner == node).collect();
        for (_, rings) in removed {
            let components: usize = rings.components.values().map(|ring| COMPONENT_BYTES + ring.bytes()).sum();
            inner.bytes -= PIPELINE_BYTES + rings.own.bytes() + components;
        }
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

    /// The newest sample of each component of a pipeline that has one after `since`.
    pub(crate) fn last_of_components(
        &self,
        node: NodeKey,
        pipeline: &PipelineId,
        since: UnixMillis,
    ) -> Vec<(ComponentId, RateSample)> {
        let inner = self.lock();
        let Some(rings) = inner.pipelines.get(&(node, pipeline.clone())) else { return Vec::new() };
        let last = rings.components.iter().filter_map(|(id, ring)| Some((id, ring.0.back()?)));
        last.filter(|(_, slot)| slot.timestamp > since).map(|(id, slot)| (id.clone(), RateSample::from(slot))).collect()
    }

    /// Returns the size of the rings, and the evictions.
    pub(crate) fn usage(&self) -> SampleUsage {
        let inner = self.lock();
        SampleUsage {
            bytes: inner.bytes,
            pipelines: inner.pipelines.len(),
            components: inner.pipelines.values().map(|rings| rings.components.len()).sum(),
            component_samples: LEVELS[inner.level].0,
            pipeline_samples: LEVELS[inner.level].1,
            evicted: inner.evicted,
        }
    }
}

impl Inner {
    fn push(&mut self, sample: &PendingSample) {
        self.pushes += 1;
        let (component_cap, pipeline_cap) = LEVELS[self.level];
        let update = &*sample.update;
        let rings = self.pipelines.entry((sample.node, update.pipeline_id.clone())).or_insert_with(|| {
            self.bytes += PIPELINE_BYTES;
            PipelineRings::default()
        });
        rings.touched = self.pushes;
        self.bytes += rings.own.push(Slot::from(&update.sample), pipeline_cap);
        if component_cap == 0 {
            return;
        }
        for component in &update.components {
            let ring = match rings.components.get_mut(&component.component_id) {
                Some(ring) => ring,
                None => {
                    self.bytes += COMPONENT_BYTES;
                    rings.components.entry(component.component_id.clone()).or_default()
                }
            };
            self.bytes += ring.push(Slot::from(&component.sample), component_cap);
        }
        if rings.components.len() > 2 * update.components.len() + GONE_COMPONENTS {
            let before = rings.components.len();
            rings.components.retain(|_, ring| {
                let is_reported = ring.0.back().is_some_and(|slot| slot.timestamp >= update.timestamp);
                self.bytes -= if is_reported { 0 } else { ring.bytes() + COMPONENT_BYTES };
                is_reported
            });
            self.evicted.dropped_components += (before - rings.components.len()) as u64;
        }
    }

    /// Frees memory down to the budget less the headroom.
    fn evict(&mut self, budget_bytes: usize) {
        let target = (budget_bytes as f64 * (1.0 - HEADROOM)) as usize;
        if self.level == 0 {
            self.level = 1;
            self.shrink();
        }
        self.drop_idle(self.pushes.saturating_sub(IDLE_ROUNDS * self.pipelines.len() as u64), target);
        while self.bytes > target && self.level + 1 < LEVELS.len() {
            self.level += 1;
            self.shrink();
        }
        self.drop_idle(u64::MAX, target);
    }

    /// Has every ring keep what the level says.
    fn shrink(&mut self) {
        let (component_cap, pipeline_cap) = LEVELS[self.level];
        for rings in self.pipelines.values_mut() {
            let freed = rings.own.shrink(pipeline_cap);
            self.evicted.shrunk_pipelines += u64::from(freed > 0);
            self.bytes -= freed;
            for ring in rings.components.values_mut() {
                let freed = ring.shrink(component_cap);
                self.evicted.shrunk_components += u64::from(freed > 0);
                self.bytes -= freed;
            }
            if component_cap == 0 {
                self.evicted.dropped_components += rings.components.len() as u64;
                self.bytes -= rings.components.len() * COMPONENT_BYTES;
                rings.components = HashMap::default();
            }
        }
    }

    /// Drops rings that were not touched since a push, the longest idle first: all components, then
    /// pipelines.
    fn drop_idle(&mut self, since: u64, target: usize) {
        if self.bytes <= target {
            return;
        }
        let idle = self.pipelines.iter().filter(|(_, rings)| rings.touched < since);
        let mut idle: Vec<_> = idle.map(|(key, rings)| (rings.touched, key.clone())).collect();
        idle.sort_unstable_by_key(|(touched, _)| *touched);
        for (_, key) in &idle {
            if self.bytes <= target {
                return;
            }
            if let Some(rings) = self.pipelines.get_mut(key) {
                self.evicted.dropped_components += rings.components.len() as u64;
                self.bytes -= rings.components.drain().map(|(_, ring)| COMPONENT_BYTES + ring.bytes()).sum::<usize>();
            }
        }
        for (_, key) in &idle {
            if self.bytes <= target {
                return;
            }
            if let Some(rings) = self.pipelines.remove(key) {
                self.evicted.dropped_pipelines += 1;
                self.bytes -= PIPELINE_BYTES + rings.own.bytes();
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

    fn memtable(node: i64, timestamp: UnixMillis) -> PendingSample {
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

    fn of(rings: &RecentSamples, node: i64, component: Option<&str>) -> Vec<RateSample> {
        let component = component.map(|id| ComponentId::parse(id).unwrap());
        rings.since(NodeKey(node), &PipelineId::parse("orders").unwrap(), component.as_ref(), 0)
    }

    #[test]
    fn ring_keeps_the_latest_720_samples() {
        let rings = RecentSamples::new(usize::MAX);
        rings.push((1..=1_000).map(|at| memtable(1, at)).collect());
        let kept = of(&rings, 1, None);
        assert_eq!(kept.len(), RING_SAMPLES);
        assert_eq!((kept[0].timestamp, kept[719].timestamp), (281, 1_000));
        assert_eq!((kept[0].sent_events_rate, kept[0].latency_mean_ms), (0.1, None));
    }

    #[test]
    fn components_with_new_names_in_each_report_do_not_fill_the_budget() {
        let rings = RecentSamples::new(usize::MAX);
        for at in 1..=10_000 {
            let mut pushed = memtable(1, at);
            let update = Arc::get_mut(&mut pushed.update).unwrap();
            let mut renamed = update.components[0].clone();
            renamed.component_id = ComponentId::parse(&format!("in-{at}")).unwrap();
            update.components.push(renamed);
            rings.push(vec![pushed]);
        }
        assert!(rings.usage().components <= GONE_COMPONENTS + 4, "{:?}", rings.usage());
        assert_eq!(of(&rings, 1, Some("in")).len(), RING_SAMPLES, "the one that stays keeps its samples");
        assert_eq!(of(&rings, 1, Some("in-10000")).len(), 1);
    }

    #[test]
    fn new_ring_allocates_one_block() {
        let rings = RecentSamples::new(usize::MAX);
        rings.push(vec![memtable(1, 1)]);
        assert!(rings.usage().bytes <= 2 * BLOCK_SAMPLES * SLOT_BYTES + PIPELINE_BYTES + COMPONENT_BYTES + 64);
    }

    #[test]
    fn pressure_shrinks_components_before_pipelines() {
        let full = RING_SAMPLES * SLOT_BYTES;
        // Four full rings, room for three and a half.
        let rings = RecentSamples::new(full * 7 / 2);
        for node in 1..=2 {
            rings.push((1..=720).map(|at| memtable(node, at)).collect());
        }
        let usage = rings.usage();
        assert!(usage.component_samples < RING_SAMPLES && usage.bytes <= full * 7 / 2, "{usage:?}");
        assert_eq!((of(&rings, 1, None).len(), of(&rings, 2, None).len()), (720, 720));
        assert!(of(&rings, 1, Some("in")).len() <= LEVELS[1].0);
        assert!(usage.evicted.shrunk_components > 0);
        assert_eq!(usage.evicted.dropped_pipelines, 0);
    }

    #[test]
    fn components_grow_again_with_room() {
        let full = RING_SAMPLES * SLOT_BYTES;
        let rings = RecentSamples::new(full * 5 / 2);
        for node in 1..=2 {
            rings.push((1..=720).map(|at| memtable(node, at)).collect());
        }
        assert_eq!(rings.usage().component_samples, LEVELS[1].0);
        // One of the two pipelines is gone, as the budget would have it; then there is room.
        {
            let mut inner = rings.lock();
            let key = (NodeKey(1), PipelineId::parse("orders").unwrap());
            let gone = inner.pipelines.remove(&key).unwrap();
            let components = gone.components.values().map(|ring| COMPONENT_BYTES + ring.bytes()).sum::<usize>();
            inner.bytes -= PIPELINE_BYTES + gone.own.bytes() + components;
        }
        (721..=1_000).for_each(|at| rings.push(vec![memtable(2, at)]));
        assert_eq!(rings.usage().component_samples, RING_SAMPLES);
        assert!(of(&rings, 2, Some("in")).len() > LEVELS[1].0);
    }

    #[test]
    fn idle_pipeline_is_evicted_before_others_shrink() {
        let ring = |samples| PIPELINE_BYTES + samples * SLOT_BYTES;
        // Room for all but the one that comes last.
        let budget = 2 * ring(48) + 3 * ring(FIRST_SAMPLES) + 1;
        let rings = RecentSamples::new(budget);
        let only_pipelines = |nodes: std::ops::RangeInclusive<i64>, at| {
            for node in nodes {
                let mut memtable = memtable(node, at);
                Arc::get_mut(&mut memtable.update).unwrap().components.clear();
                rings.push(vec![memtable]);
            }
        };
        only_pipelines(1..=4, 1);
        (2..=48).for_each(|at| only_pipelines(3..=4, at));
        only_pipelines(5..=6, 49);
        assert!(of(&rings, 1, None).is_empty() && of(&rings, 2, None).is_empty(), "the oldest went");
        assert_eq!((of(&rings, 3, None).len(), of(&rings, 6, None).len()), (48, 1));
        let usage = rings.usage();
        assert!(usage.bytes <= budget);
        assert_eq!((usage.evicted.dropped_pipelines, usage.pipeline_samples), (2, RING_SAMPLES));
    }

    #[test]
    fn rings_in_use_all_shrink_without_churn() {
        // A thousand nodes with one component each; the budget is for fifty samples of each pair.
        let budget = 1_000 * 50 * 2 * SLOT_BYTES;
        let rings = RecentSamples::new(budget);
        let mut evicted = Vec::new();
        for at in 1..=200 {
            rings.push((1..=1_000).map(|node| memtable(node, at)).collect());
            let usage = rings.usage();
            assert!(usage.bytes <= budget, "{usage:?}");
            evicted.push(usage.evicted);
        }
        let usage = rings.usage();
        assert_eq!(
            (usage.pipelines, usage.components, usage.evicted.dropped_pipelines),
            (1_000, 1_000, 0),
            "{usage:?}"
        );
        assert_eq!(evicted[150], evicted[199], "it has come to rest");
        assert!(of(&rings, 1, None).len() >= 60 && of(&rings, 1, Some("in")).len() >= 12, "{usage:?}");
    }

    #[tokio::test]
    async fn waiters_are_notified_of_new_samples() {
        let rings = RecentSamples::new(usize::MAX);
        let mut pushed = rings.subscribe();
        rings.push(vec![memtable(1, 1)]);
        pushed.changed().await.unwrap();
    }
}
