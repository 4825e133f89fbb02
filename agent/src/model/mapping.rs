//! What the metrics of an engine mean, as data: which metric is which field of which component.
//!
//! The tables of the engines that are built in are TOML files like a user's own, read by the same
//! code; a further engine is a further file and no code.
//!
//! Ids of components of `otelcol` and `fluentbit` begin with their kind (`receiver/otlp`), because these
//! engines give a source and a sink the same name. Of alternative metrics (`first_of`) a component's
//! counter keeps the set that it had at the last scrape, so that a set that appears later is not
//! counted twice.

use std::collections::HashMap;

use serde::Serialize;
use systole_shared::ComponentKind;

/// A field of a component that a metric can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) enum Field {
    /// A counter, reported as delta.
    Counter(Counter),
    /// A gauge, reported as seen.
    Gauge(Gauge),
}

/// The counters of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) enum Counter {
    /// Events received.
    ReceivedEvents,
    /// Events sent.
    SentEvents,
    /// Bytes received.
    ReceivedBytes,
    /// Bytes sent.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

/// The types of components that matter here, as an engine calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct InternalTypes {
    /// The label that holds a component's type. Without one the type is the component's name up to
    /// the first dot or slash.
    pub(crate) type_label: Option<String>,
    /// Sources of the engine's own metrics and logs, and of its host's metrics.
    pub(crate) sources: Vec<String>,
    /// Sinks that serve metrics to scrapers.
    pub(crate) exporters: Vec<String>,
    /// Components that make metrics of the user's own; an exporter may be fed by them.
    pub(crate) makers: Vec<String>,
}

/// The part of a component in the engine's own monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    #[default]
    None,
    /// A source of it.
    Source,
    /// A sink that may serve it.
    Exporter,
    /// It makes metrics that are no monitoring of the engine.
    Maker,
}

impl InternalTypes {
    /// The role of a component of this kind and type.
    pub(crate) fn role(&self, kind: ComponentKind, component_type: &str) -> Role {
        let is_in = |types: &[String]| types.iter().any(|known| known == component_type);
        match kind {
            ComponentKind::Source if is_in(&self.sources) => Role::Source,
            ComponentKind::Sink if is_in(&self.exporters) => Role::Exporter,
            _ if is_in(&self.makers) => Role::Maker,
            _ => Role::None,
        }
    }
}

/// The content of a mapping table, before it is prepared for look-ups.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct MappingParts {
    /// The name that pipelines use.
    pub(crate) name: String,
    /// Metrics have their names with and without this before them.
    pub(crate) prefix: String,
    /// Metrics have their names with and without each of these after them.
    pub(crate) suffixes: Vec<String>,
    /// Components that labels name and that are left out; a `*` at the end stands for anything.
    pub(crate) ignore: Vec<String>,
    /// The metric that holds the seconds since the process's start.
    pub(crate) uptime: Option<String>,
    /// The metric that holds the process's start; `process_start_time_seconds` by default.
    pub(crate) start_time: Option<String>,
    /// A series whose timestamp stands still while those of others move has expired: it counts from
    /// zero when it moves again. Elsewhere it is only idle.
    pub(crate) timestamps_show_expiry: bool,
    /// Which components are the engine's own monitoring.
    pub(crate) internal: InternalTypes,
    /// Which metrics are which fields of which components.
    pub(crate) rules: Vec<Rule>,
}

/// One component, or the components that a label names, and the metrics that are their fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rule {
    /// The component that has these fields.
    pub(crate) component: Naming,
    /// What they do.
    pub(crate) kind: Kind,
    /// Only series with all of these labels count.
    pub(crate) labels: Vec<(String, String)>,
    /// The fields.
    pub(crate) fields: Vec<(Field, Alternatives)>,
}

/// The source of a component's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Naming {
    /// It has this one.
    Fixed(String),
    /// The value of a label, with something before it: engines give a source and a sink the same name.
    Label {
        /// The label.
        label: String,
        /// What precedes its value.
        prefix: String,
    },
}

/// The source of a component's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    /// It is this one.
    Fixed(ComponentKind),
    /// A label holds it.
    Label(String),
}

/// Sets of metrics, each of which counts the same: a component's field is the sum over the first set
/// that it has any series of. Engines rename their metrics, and write both for a while.
pub(crate) type Alternatives = Vec<Vec<String>>;

/// The meaning of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A field.
    Field {
        /// Its rule, for [`Mapping::rule`].
        rule: usize,
        /// Which one.
        field: Field,
        /// Which of the [`Alternatives`] the metric belongs to.
        rank: u8,
    },
    /// Seconds since the process's start.
    Uptime,
    /// The process's start, in seconds since the epoch.
    StartTime,
}

/// A mapping, ready for look-ups.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapping {
    parts: MappingParts,
    targets: HashMap<String, Vec<Target>>,
}

/// How many metrics a message names: enough to see what kind of names are meant.
const EXPECTED_SHOWN: usize = 3;

/// What Prometheus' own client libraries call the start of their process.
const START_TIME: &str = "process_start_time_seconds";

impl Mapping {
    /// Makes a table ready.
    pub(crate) fn new(parts: MappingParts) -> Self {
        let mut targets: HashMap<String, Vec<Target>> = HashMap::new();
        let mut add = |name: &str, target: Target| {
            let plain = std::iter::once("").chain(parts.suffixes.iter().map(String::as_str));
            for suffix in plain {
                for prefix in ["", &parts.prefix] {
                    let targets = targets.entry(format!("{prefix}{name}{suffix}")).or_default();
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
            }
        };
        for (rule, Rule { fields, .. }) in parts.rules.iter().enumerate() {
            for (field, alternatives) in fields {
                for (rank, names) in (0_u8..).zip(alternatives) {
                    names.iter().for_each(|name| add(name, Target::Field { rule, field: *field, rank }));
                }
            }
        }
        if let Some(name) = &parts.uptime {
            add(name, Target::Uptime);
        }
        add(parts.start_time.as_deref().unwrap_or(START_TIME), Target::StartTime);
        Mapping { parts, targets }
    }

    /// The whole table as text: the same for the same table, in every run of the agent.
    pub(crate) fn fingerprint(&self) -> String {
        serde_json::to_string(&self.parts).expect("a table is texts, numbers and lists")
    }

    /// The fingerprint that version 0.1 kept: checkpoints have its hash.
    pub(crate) fn old_fingerprint(&self) -> String {
        format!("{:?}", self.parts)
    }

    /// The name that pipelines use.
    pub(crate) fn name(&self) -> &str {
        &self.parts.name
    }

    /// The meanings of the metric `name`; mostly none.
    pub(crate) fn targets(&self, name: &str) -> &[Target] {
        self.targets.get(name).map_or(&[], Vec::as_slice)
    }

    /// The rule of [`Target::Field`].
    pub(crate) fn rule(&self, index: usize) -> &Rule {
        &self.parts.rules[index]
    }

    /// Whether a timestamp that stands still shows that its series has expired.
    pub(crate) fn timestamps_show_expiry(&self) -> bool {
        self.parts.timestamps_show_expiry
    }

    /// Which components are the engine's own monitoring.
    pub(crate) fn internal(&self) -> &InternalTypes {
        &self.parts.internal
    }

    /// Whether this target shows that a page is one of the engine. Programs of every kind show their
    /// start under its usual name.
    pub(crate) fn is_characteristic(&self, target: Target) -> bool {
        target != Target::StartTime || self.parts.start_time.is_some()
    }

    /// Some of the metrics that a page should have, for a message.
    pub(crate) fn expected(&self) -> String {
        let fields = self.parts.rules.iter().flat_map(|rule| &rule.fields);
        let names = fields.filter_map(|(_, alternatives)| alternatives.first()?.first());
        let shown: Vec<&str> = names.take(EXPECTED_SHOWN).map(String::as_str).collect();
        let prefix = match self.parts.prefix.as_str() {
            "" => String::new(),
            prefix => format!(", with or without `{prefix}` before it"),
        };
        format!("one of {}, …{prefix}", shown.join(", "))
    }

    /// Whether the component that a label names so is left out.
    pub(crate) fn ignores(&self, component: &str) -> bool {
        self.parts.ignore.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => component.starts_with(prefix),
            None => component == pattern,
        })
    }
}
