//! What one scrape said, in the terms of a mapping.

use std::borrow::Cow;
use std::collections::HashMap;

use systole_shared::{ComponentKind, Topology};

use super::internal;
use super::stable_hash::StableHasher;
use super::text::{Labels, Sample, TextReader};
use crate::model::mapping::{Counter, Field, Gauge, Kind, Mapping, Naming, Role, Target};

/// Everything that a scrape said of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    /// Its components, in the order of their first series.
    pub(crate) components: Vec<ScrapedComponent>,
    /// Seconds since the process's start.
    pub(crate) uptime_seconds: Option<f64>,
    /// The process's start, in seconds since the epoch.
    pub(crate) start_time_seconds: Option<f64>,
    /// The newest capture of the process's counters, where timestamps show which series have expired.
    pub(crate) captured_at: Option<i64>,
    /// Samples that the mapping knows, those of components that are left out included.
    pub(crate) mapped: u64,
    /// Samples that were read, mapped or not.
    pub(crate) samples: u64,
    /// Lines that were none.
    pub(crate) garbage_lines: u64,
}

/// One component in a scrape.
#[derive(Clone, Debug)]
pub(crate) struct ScrapedComponent {
    /// As the engine names it.
    pub(crate) id: String,
    /// What it does.
    pub(crate) kind: ComponentKind,
    /// Its counters, series by series.
    pub(crate) counters: Vec<ScrapedCounter>,
    /// Its gauges.
    pub(crate) gauges: Gauges,
    /// What it may be in the engine's own monitoring.
    pub(crate) role: Role,
    /// It is the engine's own monitoring, and no part of what the pipeline moves.
    pub(crate) is_internal: bool,
}

/// One series of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScrapedCounter {
    /// The field it adds to.
    pub(crate) field: Counter,
    /// Which of the field's alternative sets of metrics it is of; the lowest that is there counts.
    pub(crate) rank: u8,
    /// Distinguishes it from every other series of the process.
    pub(crate) series: SeriesKey,
    /// The count since the process's start, without its fraction; `None` for a value that no
    /// counter can have (NaN, infinite, negative).
    pub(crate) total: Option<u64>,
    /// When it was captured, where that shows whether the series has expired.
    pub(crate) at: Option<i64>,
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

/// A reading of a body that is still coming.
pub(crate) struct PartialScrape<'m> {
    mapping: &'m Mapping,
    text: TextReader,
    scrape: Scrape,
    /// Where each component stands in the reading.
    index: HashMap<String, usize>,
    captures: Captures,
}

/// What timestamps say of the captures that a page is made of.
#[derive(Debug, Default)]
struct Captures {
    /// The newest of a counter.
    newest: Option<i64>,
    /// That of the uptime: it never expires, and it follows a clock that is set back.
    uptime: Option<i64>,
    uptimes: u32,
}

impl Captures {
    /// The newest capture. None if the page is of several processes: one of them may stand still
    /// and go on later.
    fn of_one_process(&self) -> Option<i64> {
        if self.uptimes > 1 { None } else { self.uptime.or(self.newest) }
    }
}

impl<'m> PartialScrape<'m> {
    /// Begins, in the terms of a mapping.
    pub(crate) fn new(mapping: &'m Mapping) -> Self {
        PartialScrape {
            mapping,
            text: TextReader::default(),
            scrape: Scrape::default(),
            index: HashMap::new(),
            captures: Captures::default(),
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let PartialScrape { mapping, text, scrape, index, captures } = self;
        text.push(chunk, |sample| scrape.add(&sample, mapping, index, captures));
    }

    /// Whether the body so far ends with a whole line.
    pub(crate) fn is_at_line_end(&self) -> bool {
        self.text.is_at_line_end()
    }

    /// The body has ended.
    pub(crate) fn finish(self) -> Scrape {
        let PartialScrape { mapping, text, mut scrape, mut index, mut captures } = self;
        scrape.garbage_lines = text.finish(|sample| scrape.add(&sample, mapping, &mut index, &mut captures));
        internal::mark(&mut scrape.components);
        scrape.captured_at = captures.of_one_process().filter(|_| mapping.timestamps_show_expiry());
        scrape
    }
}

impl Scrape {
    /// What the engine's own monitoring counts is a part of the pipeline's totals.
    pub(crate) fn count_internal(&mut self) {
        self.components.iter_mut().for_each(|component| component.is_internal = false);
    }

    /// What is the engine's own monitoring, by the topology of its configuration.
    pub(crate) fn mark_internal(&mut self, topology: &Topology) {
        internal::mark_by(&mut self.components, topology);
    }

    /// Reads a whole body.
    pub(crate) fn of(body: &[u8], mapping: &Mapping) -> Self {
        let mut begun = PartialScrape::new(mapping);
        begun.push(body);
        begun.finish()
    }

    fn add(
        &mut self,
        sample: &Sample<'_>,
        mapping: &Mapping,
        index: &mut HashMap<String, usize>,
        captures: &mut Captures,
    ) {
        self.samples += 1;
        let targets = mapping.targets(sample.name);
        self.mapped += u64::from(targets.iter().any(|target| mapping.is_characteristic(*target)));
        for target in targets {
            match *target {
                Target::Uptime => {
                    self.uptime_seconds = Some(sample.value).filter(|value| value.is_finite());
                    captures.uptime = sample.timestamp;
                    captures.uptimes += 1;
                }
                Target::StartTime => self.start_time_seconds = Some(sample.value).filter(|value| value.is_finite()),
                Target::Field { rule, field, rank } => {
                    let rule = mapping.rule(rule);
                    let matches =
                        |(name, value): &(String, String)| sample.labels.get(name).is_some_and(|v| v == *value);
                    if !rule.labels.iter().all(matches) {
                        continue;
                    }
                    captures.newest = captures.newest.max(sample.timestamp);
                    let Some(id) = component_id(&rule.component, sample, mapping) else { continue };
                    let kind = match &rule.kind {
                        Kind::Fixed(kind) => *kind,
                        Kind::Label(label) => {
                            let kind = sample.labels.get(label);
                            kind.map_or(ComponentKind::Transform, |kind| ComponentKind::from_wire(&kind))
                        }
                    };
                    let role = || role(&rule.component, kind, sample, mapping);
                    self.component(&id, kind, role, index).add(field, rank, sample);
                }
            }
        }
    }

    fn component(
        &mut self,
        id: &str,
        kind: ComponentKind,
        role: impl FnOnce() -> Role,
        index: &mut HashMap<String, usize>,
    ) -> &mut ScrapedComponent {
        let at = match index.get(id) {
            Some(at) => *at,
            None => {
                let gauges = Gauges::default();
                let (name, id, counters) = (id.to_owned(), id.to_owned(), Vec::new());
                let role = role();
                self.components.push(ScrapedComponent { id, kind, counters, gauges, role, is_internal: false });
                index.insert(name, self.components.len() - 1);
                self.components.len() - 1
            }
        };
        &mut self.components[at]
    }
}

/// The id of the component that a series is of; none if it is of no component, or of one that is left out.
fn component_id<'a>(naming: &'a Naming, sample: &Sample<'a>, mapping: &Mapping) -> Option<Cow<'a, str>> {
    match naming {
        Naming::Fixed(id) => Some(Cow::Borrowed(id)),
        Naming::Label { label, prefix } => {
            let name = sample.labels.get(label).filter(|name| !name.is_empty() && !mapping.ignores(name))?;
            Some(if prefix.is_empty() { name } else { Cow::Owned(format!("{prefix}{name}")) })
        }
    }
}

/// What the component that a series is of may be in the engine's own monitoring.
fn role(naming: &Naming, kind: ComponentKind, sample: &Sample<'_>, mapping: &Mapping) -> Role {
    let types = mapping.internal();
    if let Some(label) = &types.type_label {
        return sample.labels.get(label).map_or(Role::None, |text| types.role(kind, &text));
    }
    let name = match naming {
        Naming::Fixed(id) => Some(Cow::Borrowed(id.as_str())),
        Naming::Label { label, .. } => sample.labels.get(label),
    };
    name.map_or(Role::None, |name| types.role(kind, name.split(['.', '/']).next().unwrap_or_default()))
}

/// Which of a component's alternative sets of metrics count, field by field.
#[derive(Debug, Default)]
pub(crate) struct Ranks(Vec<(Counter, u8)>);

impl Ranks {
    /// The rank that counts.
    pub(crate) fn of(&self, field: Counter) -> u8 {
        self.0.iter().find(|(known, _)| *known == field).map_or(0, |(_, rank)| *rank)
    }
}

impl ScrapedComponent {
    /// Which ranks count: the lowest that is there, but one that the last scrape had, so that what one
    /// set reported before is not reported again by another that appears only now.
    pub(crate) fn ranks(&self, is_known: impl Fn(SeriesKey) -> bool) -> Ranks {
        let mut ranks = Vec::new();
        for field in Counter::ALL {
            let of_field = || self.counters.iter().filter(move |counter| counter.field == field);
            if of_field().any(|counter| counter.rank > 0) {
                let known = of_field().filter(|counter| is_known(counter.series)).map(|counter| counter.rank).min();
                let rank = known.or_else(|| of_field().map(|counter| counter.rank).min());
                ranks.push((field, rank.unwrap_or(0)));
            }
        }
        Ranks(ranks)
    }

    fn add(&mut self, field: Field, rank: u8, sample: &Sample<'_>) {
        match field {
            Field::Counter(field) => {
                let valid = sample.value >= 0.0 && sample.value < LARGEST_TOTAL;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
                let total = valid.then_some(sample.value as u64);
                let series = series_key(&self.id, field, sample.name, sample.labels);
                self.counters.push(ScrapedCounter { field, rank, series, total, at: sample.timestamp });
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

/// Tells whether keys that were kept mean the same series still: keys that are made in another way would
/// count every series whole.
pub(crate) fn keys_check() -> u64 {
    series_key("check", Counter::ReceivedEvents, "check", Labels::none()).0
}

/// Labels are summed, so that their order does not matter.
fn series_key(component: &str, field: Counter, metric: &str, labels: Labels<'_>) -> SeriesKey {
    let label = |(name, value): (&str, Cow<'_, str>)| StableHasher::default().text(name).text(&value).finish();
    let sum = labels.iter().map(label).fold(0, u64::wrapping_add);
    SeriesKey(StableHasher::default().text(component).number(number_of(field)).text(metric).number(sum).finish())
}

/// The number of a counter in keys that are kept: it must not change.
fn number_of(counter: Counter) -> u64 {
    match counter {
        Counter::ReceivedEvents => 0,
        Counter::SentEvents => 1,
        Counter::ReceivedBytes => 2,
        Counter::SentBytes => 3,
        Counter::Errors => 4,
        Counter::Discarded => 5,
    }
}
