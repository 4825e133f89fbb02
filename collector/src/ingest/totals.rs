//! Turns totals into growth: for agents that report what their processes have counted since their start. Pure.
//!
//! What counts is the difference to the totals that the node reported last. They are written in the transaction of the
//! rows that they became, so that neither a restart nor a repeated report loses or doubles anything.
//!
//! - Each component is compared alone. The pipeline's own counters are the sums of its components where they
//!   agree with them; so one component that begins again does not repeat what the others have counted.
//! - A counter below its last total has begun again, as Vector's do that were idle for 300 s: its new value counts.
//!   A component that was absent has begun again, too.
//! - A new process, by its id or its age, counts whole, also when it is above the old totals.
//! - The first totals of a process count whole if it started while the node was watched. Those of an older process are
//!   only where counting begins: a process that ran for a year under another server has counted elsewhere.
//! - A report without a sample changes no totals: the next sample has what was counted meanwhile.
//! - A report that was overtaken by a later one has no sample.

mod growth;
mod process;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use systole_shared::limits::{MAX_COMPONENTS_PER_REPORT, MAX_PIPELINES_PER_REPORT};
use systole_shared::{ComponentId, PipelineId, UnixMillis};

use self::growth::{ComponentCounters, PipelineCounters, sums};
use self::process::{Process, Sighting};
use crate::model::report::{NodeReport, PipelineDeltas, ReportedComponent, ReportedPipeline, TotalsReport};

/// The form of packed totals.
const VERSION: u8 = 1;

/// The longest interval of a report. After a longer absence rates are of this time.
const MAX_INTERVAL_MS: i64 = 3_600_000;

/// The totals of a pipeline that reports no longer have are kept for this time.
const REMEMBERED_MS: i64 = 600_000;

/// Clocks and requests may differ by this much: an agent waits no longer for an answer before it tries again.
const LATENESS_MS: i64 = 30_000;

/// The totals that a node reported last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeTotals {
    /// When the last report came; 0 when none did.
    reported_at: UnixMillis,
    pipelines: Vec<LastPipeline>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LastPipeline {
    id: PipelineId,
    process: Process,
    /// The totals of this process; `None` before the first sample of a process that began to count elsewhere.
    counted: Option<Counted>,
    /// Whether the process is new, and no sample has said so yet.
    is_reset: bool,
    #[serde(skip)]
    is_present: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    pipeline: PipelineCounters,
    components: Vec<LastComponent>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LastComponent {
    id: ComponentId,
    counters: ComponentCounters,
    #[serde(skip)]
    is_present: bool,
}

impl NodeTotals {
    /// Reads what [`Self::pack`] wrote. Of what another version wrote nothing is known: then counting begins again.
    pub(crate) fn unpack(body: &[u8]) -> Self {
        match body.split_first() {
            Some((&VERSION, packed)) => postcard::from_bytes(packed).unwrap_or_default(),
            _ => NodeTotals::default(),
        }
    }

    /// As bytes, for the database.
    pub(crate) fn pack(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("ids and whole numbers always serialise")
    }

    /// When the last report came.
    pub(crate) fn reported_at(&self) -> UnixMillis {
        self.reported_at
    }

    /// Turns a report with totals into one with growth, and remembers the totals. `watched_since` is when the node
    /// enrolled, or reported last.
    pub(crate) fn advance(&mut self, report: TotalsReport, watched_since: UnixMillis, now: UnixMillis) -> NodeReport {
        let watched_since = watched_since.max(self.reported_at);
        let start = if self.reported_at > 0 { self.reported_at.clamp(now - MAX_INTERVAL_MS, now) } else { now };
        self.pipelines.iter_mut().for_each(|last| last.is_present = false);
        let mut pipelines = Vec::with_capacity(report.pipelines.len());
        let mut places = Places::default();
        for (index, totals) in report.pipelines.into_iter().enumerate() {
            let mut pipeline = totals.pipeline;
            let sighting = Sighting { pid: pipeline.pid, uptime_seconds: totals.uptime_seconds, at: now };
            let is_known = sighting.is_of_process() || pipeline.sample.is_some();
            let last = match places.find(&self.pipelines, |last| &last.id, index, &pipeline.id) {
                Some(known) => Some(&mut self.pipelines[known]),
                None if is_known => Some(self.add(&pipeline.id, &sighting, watched_since)),
                None => None,
            };
            if let Some(last) = last {
                last.is_present = true;
                last.observe(&mut pipeline, &sighting, totals.components_complete);
            }
            pipelines.push(pipeline);
        }
        // A pipeline that was refused has not ended, and one that is absent may come back. Bounded, should that happen
        // with ever new ones.
        let is_small = self.pipelines.len() <= MAX_PIPELINES_PER_REPORT;
        let is_kept = |last: &LastPipeline| !report.complete || last.process.was_seen_after(now - REMEMBERED_MS);
        self.pipelines.retain(|last| last.is_present || is_small && is_kept(last));
        if self.pipelines.iter().map(LastPipeline::component_count).sum::<usize>() > MAX_COMPONENTS_PER_REPORT {
            self.pipelines.iter_mut().for_each(LastPipeline::forget_absent_components);
        }
        self.reported_at = now;
        NodeReport {
            seq: 0,
            start,
            end: now,
            covers_from: 0,
            agent: report.agent,
            stopping: None,
            health: report.health,
            host: report.host,
            pipelines,
            complete: report.complete,
            deployments: report.deployments,
        }
    }

    /// Begins to count a pipeline.
    fn add(&mut self, id: &PipelineId, sighting: &Sighting, watched_since: UnixMillis) -> &mut LastPipeline {
        let is_watched =
            sighting.started_at().is_some_and(|started| started >= watched_since.saturating_sub(LATENESS_MS));
        self.pipelines.push_mut(LastPipeline {
            id: id.clone(),
            process: Process::first(sighting),
            counted: is_watched.then(Counted::default),
            is_reset: false,
            is_present: true,
        })
    }
}

impl LastPipeline {
    fn observe(&mut self, pipeline: &mut ReportedPipeline, sighting: &Sighting, components_complete: bool) {
        match self.process.meet(sighting) {
            process::Met::Same => {}
            process::Met::Successor => {
                self.counted = Some(Counted::default());
                self.is_reset = true;
            }
            process::Met::Overtaken => {
                pipeline.sample = None;
                pipeline.components.clear();
                pipeline.scrape_error = Some("this heartbeat came late: a later one was counted before".to_owned());
                return;
            }
        }
        pipeline.started_at = sighting.is_of_process().then_some(self.process.started_at).flatten();
        pipeline.restarts = self.process.restarts;
        let Some(sample) = &mut pipeline.sample else { return };
        let Some(counted) = &mut self.counted else {
            self.counted = Some(Counted::of(sample, &pipeline.components));
            pipeline.sample = None;
            pipeline.components.clear();
            return;
        };
        counted.grow(sample, &mut pipeline.components, components_complete);
        sample.reset = std::mem::take(&mut self.is_reset);
    }

    fn component_count(&self) -> usize {
        self.counted.as_ref().map_or(0, |counted| counted.components.len())
    }

    fn forget_absent_components(&mut self) {
        if let Some(counted) = &mut self.counted {
            counted.components.retain(|last| last.is_present);
        }
    }
}

impl Counted {
    fn of(sample: &PipelineDeltas, components: &[ReportedComponent]) -> Self {
        let components = components.iter().map(|component| LastComponent {
            id: component.id.clone(),
            counters: ComponentCounters::of(component),
            is_present: true,
        });
        Counted { pipeline: PipelineCounters::of(sample), components: components.collect() }
    }

    /// Puts the growth in place of the totals of a sample, and remembers these.
    fn grow(&mut self, sample: &mut PipelineDeltas, components: &mut [ReportedComponent], is_complete: bool) {
        self.components.iter_mut().for_each(|last| last.is_present = false);
        let mut places = Places::default();
        let (mut sum_of_totals, mut sum_of_growth) = (PipelineCounters::default(), PipelineCounters::default());
        for (index, component) in components.iter_mut().enumerate() {
            let totals = ComponentCounters::of(component);
            let last = match places.find(&self.components, |last| &last.id, index, &component.id) {
                Some(known) => &mut self.components[known],
                None => {
                    let (id, counters) = (component.id.clone(), ComponentCounters::default());
                    self.components.push_mut(LastComponent { id, counters, is_present: true })
                }
            };
            last.counters.grow(component);
            (last.counters, last.is_present) = (totals, true);
            sums(component.kind, &totals, &totals, &mut sum_of_totals);
            sums(component.kind, &totals, &ComponentCounters::of(component), &mut sum_of_growth);
        }
        if is_complete {
            self.components.retain(|last| last.is_present);
        }
        let totals = PipelineCounters::of(sample);
        self.pipeline.grow(sample);
        totals.prefer_where_equal(&sum_of_totals, &sum_of_growth, sample);
        self.pipeline = totals;
    }
}

/// Where the items of a list are by their ids. A report has them where the one before had them; only after a change all
/// of them are looked up.
struct Places<I>(Option<HashMap<I, usize>>);

impl<I> Default for Places<I> {
    fn default() -> Self {
        Places(None)
    }
}

impl<I: Clone + Eq + Hash> Places<I> {
    fn find<T>(&mut self, items: &[T], id_of: fn(&T) -> &I, expected: usize, id: &I) -> Option<usize> {
        if items.get(expected).is_some_and(|item| id_of(item) == id) {
            return Some(expected);
        }
        let index = || items.iter().enumerate().map(|(place, item)| (id_of(item).clone(), place)).collect();
        self.0.get_or_insert_with(index).get(id).copied()
    }
}
