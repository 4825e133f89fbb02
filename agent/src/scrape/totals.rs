//! Deltas of components between two reports, and the pipeline's totals out of them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use systole_shared::{ComponentKind, ComponentReport, Counter as WireCounter, PipelineSample};

use super::deltas::KEPT_SCRAPES;
use super::page::{Gauges, ScrapedComponent};
use crate::model::mapping::Counter;

/// What was counted since the last report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    components: Vec<Component>,
    /// Where in `components` each id is.
    index: HashMap<String, usize>,
    events_in: u64,
    bytes_in: u64,
}

#[derive(Clone, Debug)]
struct Component {
    id: String,
    kind: ComponentKind,
    deltas: Deltas,
    gauges: Gauges,
    /// It is no part of the pipeline's totals.
    is_internal: bool,
}

/// Deltas of a component's counters; `None` where the engine has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deltas {
    received_events: Option<u64>,
    sent_events: Option<u64>,
    received_bytes: Option<u64>,
    sent_bytes: Option<u64>,
    errors: Option<u64>,
    discarded: Option<u64>,
}

impl Deltas {
    /// The delta of one counter.
    pub(crate) fn slot(&mut self, counter: Counter) -> &mut Option<u64> {
        match counter {
            Counter::ReceivedEvents => &mut self.received_events,
            Counter::SentEvents => &mut self.sent_events,
            Counter::ReceivedBytes => &mut self.received_bytes,
            Counter::SentBytes => &mut self.sent_bytes,
            Counter::Errors => &mut self.errors,
            Counter::Discarded => &mut self.discarded,
        }
    }

    fn add(&mut self, other: Deltas) {
        for counter in Counter::ALL {
            let mut other = other;
            if let Some(more) = *other.slot(counter) {
                let sum = self.slot(counter);
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        }
    }
}

/// Which counter of a source counts its input.
///
/// Some sources never count what they receive, only what they send on. Once decided it stays for
/// the process's run: a change in the middle would count the same events twice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct InputCounterChoice(BTreeMap<String, InputCounters>);

/// How many sources are kept that the page does not have: labels that come and go must not pile up.
const MAX_ABSENT_SOURCES: usize = 1_000;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
struct InputCounters {
    events: Option<Side>,
    bytes: Option<Side>,
    /// How many scrapes in a row did not have the source.
    #[serde(skip)]
    misses: u16,
    #[serde(skip)]
    is_on_page: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Received,
    Sent,
}

fn decide(known: &mut Option<Side>, received: u64, sent: u64) -> Side {
    if known.is_none() {
        *known = match (received, sent) {
            (0, 0) => None,
            (0, _) => Some(Side::Sent),
            _ => Some(Side::Received),
        };
    }
    known.unwrap_or(Side::Received)
}

impl InputCounterChoice {
    /// Whether no source is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sources are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Ends a scrape: forgets the sources that were missed for as long as their series are kept.
    pub(crate) fn end_scrape(&mut self) {
        let mut absent = 0;
        self.0.retain(|_, input| {
            if std::mem::take(&mut input.is_on_page) {
                input.misses = 0;
                return true;
            }
            input.misses += 1;
            absent += 1;
            input.misses <= KEPT_SCRAPES && absent <= MAX_ABSENT_SOURCES
        });
    }

    fn sides(&mut self, component: &ScrapedComponent) -> (Side, Side) {
        let total = |field| -> u64 {
            let series = component.counters.iter().filter(|counter| counter.field == field);
            series.filter_map(|counter| counter.total).fold(0, u64::saturating_add)
        };
        if !self.0.contains_key(&component.id) {
            self.0.insert(component.id.clone(), InputCounters::default());
        }
        let Some(input) = self.0.get_mut(&component.id) else { return (Side::Received, Side::Received) };
        input.is_on_page = true;
        let events = decide(&mut input.events, total(Counter::ReceivedEvents), total(Counter::SentEvents));
        let bytes = decide(&mut input.bytes, total(Counter::ReceivedBytes), total(Counter::SentBytes));
        (events, bytes)
    }
}

impl Totals {
    /// Adds what a component counted, as `deltas`, and takes its gauges.
    pub(crate) fn add(&mut self, scrape: &ScrapedComponent, deltas: Deltas, input_counters: &mut InputCounterChoice) {
        if scrape.kind == ComponentKind::Source {
            let (events, bytes) = input_counters.sides(scrape);
            let pick = |side, received: Option<u64>, sent: Option<u64>| {
                if side == Side::Received { received } else { sent }.unwrap_or(0)
            };
            let events = pick(events, deltas.received_events, deltas.sent_events);
            let bytes = pick(bytes, deltas.received_bytes, deltas.sent_bytes);
            if !scrape.is_internal {
                self.events_in = self.events_in.saturating_add(events);
                self.bytes_in = self.bytes_in.saturating_add(bytes);
            }
        }
        match self.index.get(&scrape.id) {
            Some(at) => {
                let component = &mut self.components[*at];
                component.deltas.add(deltas);
                component.gauges = scrape.gauges;
                component.is_internal |= scrape.is_internal;
            }
            None => {
                self.index.insert(scrape.id.clone(), self.components.len());
                let ScrapedComponent { kind, gauges, is_internal, .. } = *scrape;
                self.components.push(Component { id: scrape.id.clone(), kind, deltas, gauges, is_internal });
            }
        }
    }

    /// Forgets gauges, which are of a process that is no more or of a scrape long ago.
    pub(crate) fn clear_gauges(&mut self) {
        self.components.iter_mut().for_each(|component| component.gauges = Gauges::default());
    }

    /// The components that are a part of the pipeline's totals.
    fn counted(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|component| !component.is_internal)
    }

    /// The pipeline as a whole.
    pub(crate) fn sample(&self, reset: bool) -> PipelineSample {
        let sum =
            |of: fn(&Component) -> Option<u64>| -> u64 { self.counted().filter_map(of).fold(0, u64::saturating_add) };
        let sinks = |of: fn(&Deltas) -> Option<u64>| -> u64 {
            let sinks = self.counted().filter(|component| component.kind == ComponentKind::Sink);
            sinks.filter_map(|component| of(&component.deltas)).fold(0, u64::saturating_add)
        };
        PipelineSample {
            events_in: WireCounter::new(self.events_in),
            events_out: WireCounter::new(sinks(|deltas| deltas.sent_events)),
            errors: WireCounter::new(sum(|component| component.deltas.errors)),
            discarded: WireCounter::new(sum(|component| component.deltas.discarded)),
            bytes_in: WireCounter::new(self.bytes_in),
            bytes_out: WireCounter::new(sinks(|deltas| deltas.sent_bytes)),
            utilization: self.counted().filter_map(|component| component.gauges.utilization).reduce(f64::max),
            latency_ms: self.latency_ms(),
            reset,
        }
    }

    /// The mean over components, each weighted by the events it took in; unweighted when none did.
    fn latency_ms(&self) -> Option<f64> {
        let latencies: Vec<(f64, f64)> = self
            .counted()
            .filter_map(|component| {
                let events = component.deltas.received_events.or(component.deltas.sent_events).unwrap_or(0);
                #[expect(clippy::cast_precision_loss, reason = "a weight")]
                component.gauges.latency_seconds.map(|seconds| (seconds, events as f64))
            })
            .collect();
        if latencies.is_empty() {
            return None;
        }
        let weight: f64 = latencies.iter().map(|(_, events)| events).sum();
        let seconds = if weight > 0.0 {
            latencies.iter().map(|(seconds, events)| seconds * events).sum::<f64>() / weight
        } else {
            #[expect(clippy::cast_precision_loss, reason = "a handful of components")]
            let count = latencies.len() as f64;
            latencies.iter().map(|(seconds, _)| seconds).sum::<f64>() / count
        };
        Some(seconds * 1_000.0)
    }

    /// The components.
    pub(crate) fn into_components(self) -> Vec<ComponentReport<'static>> {
        self.components.into_iter().map(Component::into_report).collect()
    }
}

impl Component {
    fn into_report(self) -> ComponentReport<'static> {
        let Component { id, kind, deltas, gauges, .. } = self;
        let counter = |value: Option<u64>| WireCounter::new(value.unwrap_or(0));
        ComponentReport {
            id: id.into(),
            kind,
            received_events: counter(deltas.received_events),
            sent_events: counter(deltas.sent_events),
            received_bytes: deltas.received_bytes.map(WireCounter::new),
            sent_bytes: deltas.sent_bytes.map(WireCounter::new),
            errors: counter(deltas.errors),
            discarded: counter(deltas.discarded),
            latency_ms: gauges.latency_seconds.map(|seconds| seconds * 1_000.0),
            utilization: gauges.utilization,
            buffer_events: gauges.buffer_events.map(WireCounter::new),
            buffer_max_events: gauges.buffer_max_events.map(WireCounter::new),
            buffer_bytes: gauges.buffer_bytes.map(WireCounter::new),
            buffer_max_bytes: gauges.buffer_max_bytes.map(WireCounter::new),
        }
    }
}
