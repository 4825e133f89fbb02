//! What one scrape said, in the terms of a mapping.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use systole_shared::ComponentKind;

use super::mapping::{Counter, Field, Gauge, Mapping, Target};
use super::text::{self, Labels, Sample};

/// Everything that a scrape said of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Its components, in the order of their first series.
    pub(crate) components: Vec<ComponentReading>,
    /// Seconds since the process's start.
    pub(crate) uptime_seconds: Option<f64>,
    /// The process's start, in seconds since the epoch.
    pub(crate) start_time_seconds: Option<f64>,
    /// Samples that were read, mapped or not.
    pub(crate) samples: u64,
    /// Lines that were none.
    pub(crate) garbage_lines: u64,
}

/// One component in a scrape.
#[derive(Clone, Debug)]
pub(crate) struct ComponentReading {
    /// As the engine names it.
    pub(crate) id: String,
    /// What it does.
    pub(crate) kind: ComponentKind,
    /// Its counters, series by series.
    pub(crate) counters: Vec<CounterReading>,
    /// Its gauges.
    pub(crate) gauges: Gauges,
}

/// One series of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CounterReading {
    /// The field it adds to.
    pub(crate) field: Counter,
    /// What tells it apart from every other series of the process.
    pub(crate) series: SeriesKey,
    /// The count since the process's start, without its fraction; `None` for a value that no
    /// counter can have (NaN, infinite, negative).
    pub(crate) total: Option<u64>,
}

/// A series of a process, as a hash of field, component, metric and labels: a fleet's agent keeps
/// thousands of them, and their texts would be most of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey(pub(crate) u64);

/// The gauges of a component.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Gauges {
    /// The greatest of its series.
    pub(crate) utilization: Option<f64>,
    /// The mean of its series.
    pub(crate) latency_seconds: Option<f64>,
    latency_series: u32,
    /// Sums of their series.
    pub(crate) buffer_events: Option<u64>,
    /// See `buffer_events`.
    pub(crate) buffer_max_events: Option<u64>,
    /// See `buffer_events`.
    pub(crate) buffer_bytes: Option<u64>,
    /// See `buffer_events`.
    pub(crate) buffer_max_bytes: Option<u64>,
}

/// Beyond this a float holds no count that could be exact.
const LARGEST_TOTAL: f64 = 9.2e18;

impl Reading {
    /// Reads the body of a metrics endpoint.
    pub(crate) fn of(body: &[u8], mapping: &Mapping) -> Self {
        let mut reading = Reading::default();
        let mut index = HashMap::new();
        let garbage = text::read(body, |sample| reading.add(&sample, mapping, &mut index));
        reading.garbage_lines = garbage;
        reading
    }

    fn add(&mut self, sample: &Sample<'_>, mapping: &Mapping, index: &mut HashMap<String, usize>) {
        self.samples += 1;
        for target in mapping.targets(sample.name) {
            match *target {
                Target::Uptime => self.uptime_seconds = Some(sample.value).filter(|value| value.is_finite()),
                Target::StartTime => self.start_time_seconds = Some(sample.value).filter(|value| value.is_finite()),
                Target::Labelled(field) => {
                    let Some(id) = mapping.component_label().and_then(|label| sample.labels.get(label)) else {
                        continue;
                    };
                    if id.is_empty() || mapping.ignores(&id) {
                        continue;
                    }
                    let kind = mapping.kind_label().and_then(|label| sample.labels.get(label));
                    let kind = kind.map_or(ComponentKind::Transform, |kind| ComponentKind::from_wire(&kind));
                    self.component(&id, kind, index).add(field, sample);
                }
                Target::Fixed(rule, field) => {
                    let rule = mapping.rule(rule);
                    let matches =
                        |(name, value): &(String, String)| sample.labels.get(name).is_some_and(|v| v == *value);
                    if rule.labels.iter().all(matches) {
                        self.component(&rule.component, rule.kind, index).add(field, sample);
                    }
                }
            }
        }
    }

    fn component(
        &mut self,
        id: &str,
        kind: ComponentKind,
        index: &mut HashMap<String, usize>,
    ) -> &mut ComponentReading {
        let at = match index.get(id) {
            Some(at) => *at,
            None => {
                let gauges = Gauges::default();
                self.components.push(ComponentReading { id: id.to_owned(), kind, counters: Vec::new(), gauges });
                index.insert(id.to_owned(), self.components.len() - 1);
                self.components.len() - 1
            }
        };
        &mut self.components[at]
    }
}

impl ComponentReading {
    fn add(&mut self, field: Field, sample: &Sample<'_>) {
        match field {
            Field::Counter(field) => {
                let valid = sample.value >= 0.0 && sample.value < LARGEST_TOTAL;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
                let total = valid.then_some(sample.value as u64);
                let series = series_key(&self.id, field, sample.name, sample.labels);
                self.counters.push(CounterReading { field, series, total });
            }
            Field::Gauge(gauge) if sample.value.is_finite() && sample.value >= 0.0 => {
                self.gauges.add(gauge, sample.value);
            }
            Field::Gauge(_) => {}
        }
    }
}

impl Gauges {
    fn add(&mut self, gauge: Gauge, value: f64) {
        let slot = match gauge {
            Gauge::Utilization => {
                self.utilization = Some(self.utilization.unwrap_or(0.0).max(value));
                return;
            }
            Gauge::LatencyMeanSeconds => {
                self.latency_series += 1;
                let mean = self.latency_seconds.unwrap_or(0.0);
                self.latency_seconds = Some(mean + (value - mean) / f64::from(self.latency_series));
                return;
            }
            Gauge::BufferEvents => &mut self.buffer_events,
            Gauge::BufferMaxEvents => &mut self.buffer_max_events,
            Gauge::BufferBytes => &mut self.buffer_bytes,
            Gauge::BufferMaxBytes => &mut self.buffer_max_bytes,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite and not negative; saturates"
        )]
        let value = value as u64;
        *slot = Some(slot.unwrap_or(0).saturating_add(value));
    }
}

/// Tells whether keys that were kept mean the same series still: how they are made may change with
/// the compiler, and strange keys would count every series whole.
pub(crate) fn keys_check() -> u64 {
    series_key("check", Counter::ReceivedEvents, "check", Labels::none()).0
}

/// Labels are summed, so that their order does not matter.
fn series_key(component: &str, field: Counter, metric: &str, labels: Labels<'_>) -> SeriesKey {
    let mut sum = 0_u64;
    for label in labels.iter() {
        let mut hasher = DefaultHasher::new();
        label.hash(&mut hasher);
        sum = sum.wrapping_add(hasher.finish());
    }
    let mut hasher = DefaultHasher::new();
    (component, field, metric, sum).hash(&mut hasher);
    SeriesKey(hasher.finish())
}
