//! What the metrics of an engine mean, as data: which metric is which field of which component.
//!
//! Vector's table is a TOML file like a user's own, read by the same code; a further engine is a
//! further file and no code.

use std::collections::HashMap;

use systole_shared::ComponentKind;

/// A field of a component that a metric can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    /// A counter, reported as delta.
    Counter(Counter),
    /// A gauge, reported as seen.
    Gauge(Gauge),
}

/// The counters of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counter {
    /// Events taken in.
    ReceivedEvents,
    /// Events given out.
    SentEvents,
    /// Bytes taken in.
    ReceivedBytes,
    /// Bytes given out.
    SentBytes,
    /// Errors.
    Errors,
    /// Events dropped.
    Discarded,
}

impl Counter {
    /// Every counter.
    pub(crate) const ALL: [Counter; 6] = [
        Counter::ReceivedEvents,
        Counter::SentEvents,
        Counter::ReceivedBytes,
        Counter::SentBytes,
        Counter::Errors,
        Counter::Discarded,
    ];
}

/// The gauges of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gauge {
    /// Mean time that an event spends in the component, seconds.
    LatencyMeanSeconds,
    /// Share of time at work, 0 to 1.
    Utilization,
    /// Events that wait in the buffer.
    BufferEvents,
    /// Events that fit into the buffer.
    BufferMaxEvents,
    /// Bytes that wait in the buffer.
    BufferBytes,
    /// Bytes that fit into the buffer.
    BufferMaxBytes,
}

impl Field {
    /// Every field.
    pub(crate) const ALL: [Field; 12] = [
        Field::Counter(Counter::ReceivedEvents),
        Field::Counter(Counter::SentEvents),
        Field::Counter(Counter::ReceivedBytes),
        Field::Counter(Counter::SentBytes),
        Field::Counter(Counter::Errors),
        Field::Counter(Counter::Discarded),
        Field::Gauge(Gauge::LatencyMeanSeconds),
        Field::Gauge(Gauge::Utilization),
        Field::Gauge(Gauge::BufferEvents),
        Field::Gauge(Gauge::BufferMaxEvents),
        Field::Gauge(Gauge::BufferBytes),
        Field::Gauge(Gauge::BufferMaxBytes),
    ];

    /// The field's key in a mapping table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Field::Counter(Counter::ReceivedEvents) => "received_events",
            Field::Counter(Counter::SentEvents) => "sent_events",
            Field::Counter(Counter::ReceivedBytes) => "received_bytes",
            Field::Counter(Counter::SentBytes) => "sent_bytes",
            Field::Counter(Counter::Errors) => "errors",
            Field::Counter(Counter::Discarded) => "discarded",
            Field::Gauge(Gauge::LatencyMeanSeconds) => "latency_mean_seconds",
            Field::Gauge(Gauge::Utilization) => "utilization",
            Field::Gauge(Gauge::BufferEvents) => "buffer_size_events",
            Field::Gauge(Gauge::BufferMaxEvents) => "buffer_max_size_events",
            Field::Gauge(Gauge::BufferBytes) => "buffer_size_bytes",
            Field::Gauge(Gauge::BufferMaxBytes) => "buffer_max_size_bytes",
        }
    }
}

/// What a mapping table says, before it is made ready for look-ups.
#[derive(Clone, Debug, Default)]
pub(crate) struct MappingParts {
    /// What pipelines call it.
    pub(crate) name: String,
    /// Metrics have their names with and without this.
    pub(crate) prefix: String,
    /// The label that names the component; needed by `labelled`.
    pub(crate) component_label: Option<String>,
    /// The label that holds the component's kind.
    pub(crate) kind_label: Option<String>,
    /// Components that are left out; a `*` at the end stands for anything.
    pub(crate) ignore: Vec<String>,
    /// The metric that holds the seconds since the process's start.
    pub(crate) uptime: Option<String>,
    /// The metric that holds the process's start; `process_start_time_seconds` by default.
    pub(crate) start_time: Option<String>,
    /// Fields whose metrics name their component in a label.
    pub(crate) labelled: Vec<(Field, Vec<String>)>,
    /// Components that the table names itself.
    pub(crate) fixed: Vec<Rule>,
}

/// A component that a mapping names itself, and the metrics that are its fields.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The component.
    pub(crate) component: String,
    /// What it does.
    pub(crate) kind: ComponentKind,
    /// Only series with all of these labels count.
    pub(crate) labels: Vec<(String, String)>,
    /// Its fields, each the sum over these metrics.
    pub(crate) fields: Vec<(Field, Vec<String>)>,
}

/// What one metric stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A field of the component that a label names.
    Labelled(Field),
    /// A field of the component of [`Mapping::rule`].
    Fixed(usize, Field),
    /// Seconds since the process's start.
    Uptime,
    /// The process's start, in seconds since the epoch.
    StartTime,
}

/// A mapping, ready for look-ups.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    parts: MappingParts,
    targets: HashMap<String, Vec<Target>>,
}

/// What Prometheus' own client libraries call the start of their process.
const START_TIME: &str = "process_start_time_seconds";

impl Mapping {
    /// Makes a table ready.
    pub(crate) fn new(parts: MappingParts) -> Self {
        let mut targets: HashMap<String, Vec<Target>> = HashMap::new();
        let mut add = |name: &str, target: Target| {
            let long = format!("{}{name}", parts.prefix);
            for name in [name.to_owned(), long] {
                let targets = targets.entry(name).or_default();
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        };
        for (field, names) in &parts.labelled {
            names.iter().for_each(|name| add(name, Target::Labelled(*field)));
        }
        for (index, rule) in parts.fixed.iter().enumerate() {
            for (field, names) in &rule.fields {
                names.iter().for_each(|name| add(name, Target::Fixed(index, *field)));
            }
        }
        if let Some(name) = &parts.uptime {
            add(name, Target::Uptime);
        }
        add(parts.start_time.as_deref().unwrap_or(START_TIME), Target::StartTime);
        Mapping { parts, targets }
    }

    /// Vector's table.
    pub(crate) fn vector() -> Self {
        let table = include_str!("vector.toml").parse().expect("the built-in table is TOML");
        let mut mistakes = crate::config::Mistakes::default();
        crate::config::read_mapping("vector", table, &mut mistakes).expect("the built-in table has no mistakes")
    }

    /// The whole table as text: the same for the same table, in every life of the agent.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:?}", self.parts)
    }

    /// What pipelines call it.
    pub(crate) fn name(&self) -> &str {
        &self.parts.name
    }

    /// What the metric `name` stands for; mostly nothing.
    pub(crate) fn targets(&self, name: &str) -> &[Target] {
        self.targets.get(name).map_or(&[], Vec::as_slice)
    }

    /// The component of [`Target::Fixed`].
    pub(crate) fn rule(&self, index: usize) -> &Rule {
        &self.parts.fixed[index]
    }

    /// The label that names the component.
    pub(crate) fn component_label(&self) -> Option<&str> {
        self.parts.component_label.as_deref()
    }

    /// The label that holds the component's kind.
    pub(crate) fn kind_label(&self) -> Option<&str> {
        self.parts.kind_label.as_deref()
    }

    /// Whether the component is left out.
    pub(crate) fn ignores(&self, component: &str) -> bool {
        self.parts.ignore.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => component.starts_with(prefix),
            None => component == pattern,
        })
    }
}
