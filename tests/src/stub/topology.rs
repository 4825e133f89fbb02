//! The stub's components and their counters' series.

use systole_shared::{ComponentKind, UnixMillis};

/// A counter that Vector has per component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Discarded events; absent until the first.
    Discarded,
    /// Errors; absent until the first.
    Errors,
    /// Bytes from the wire, sources only.
    ReceivedBytes,
    /// Size of the events taken in.
    ReceivedEventBytes,
    /// Events taken in.
    ReceivedEvents,
    /// Bytes to the wire, sinks only.
    SentBytes,
    /// Size of the events given out.
    SentEventBytes,
    /// Events given out.
    SentEvents,
}

impl Metric {
    /// Every counter, in the order in which Vector lists them.
    pub const ALL: [Metric; 8] = [
        Metric::Discarded,
        Metric::Errors,
        Metric::ReceivedBytes,
        Metric::ReceivedEventBytes,
        Metric::ReceivedEvents,
        Metric::SentBytes,
        Metric::SentEventBytes,
        Metric::SentEvents,
    ];

    /// The name without Vector's prefix.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Discarded => "component_discarded_events_total",
            Metric::Errors => "component_errors_total",
            Metric::ReceivedBytes => "component_received_bytes_total",
            Metric::ReceivedEventBytes => "component_received_event_bytes_total",
            Metric::ReceivedEvents => "component_received_events_total",
            Metric::SentBytes => "component_sent_bytes_total",
            Metric::SentEventBytes => "component_sent_event_bytes_total",
            Metric::SentEvents => "component_sent_events_total",
        }
    }

    fn absent_until_the_first(self) -> bool {
        matches!(self, Metric::Discarded | Metric::Errors)
    }
}

/// One series of a counter.
#[derive(Clone, Debug)]
pub struct Series {
    /// The counter.
    pub metric: Metric,
    /// Labels beside the component's, as they are printed: `protocol="http"`.
    pub labels: &'static str,
    /// What is shown; goes back to zero at a reset.
    value: u64,
    /// What was shown at the last scrape since the last reset.
    shown: u64,
    /// The true counts of this run.
    pub total: u64,
    /// The counts that a scraper can know: the sum of the increments that were shown.
    pub exposed: u64,
    dropped: bool,
    /// Since when it has expired: it is shown with this timestamp until it counts again, from zero.
    frozen_at: Option<UnixMillis>,
    /// The next page does not have it.
    is_missed: bool,
}

impl Series {
    fn new(metric: Metric, labels: &'static str) -> Self {
        Series {
            metric,
            labels,
            value: 0,
            shown: 0,
            total: 0,
            exposed: 0,
            dropped: false,
            frozen_at: None,
            is_missed: false,
        }
    }

    /// Counts.
    pub fn add(&mut self, count: u64) {
        self.total += count;
        if count > 0 && self.frozen_at.take().is_some() {
            self.reset();
        }
        if !self.dropped {
            self.value += count;
        }
    }

    /// The value to print, if the series exists now.
    pub fn value(&self) -> Option<u64> {
        let absent = self.dropped || self.is_missed || (self.value == 0 && self.metric.absent_until_the_first());
        (!absent).then_some(self.value)
    }

    /// Notes that the value was shown to a scraper.
    pub fn expose(&mut self) {
        if std::mem::take(&mut self.is_missed) {
            return;
        }
        self.exposed += self.value - self.shown;
        self.shown = self.value;
    }

    /// Is left out of the next page, and counts on.
    pub fn miss(&mut self) {
        self.is_missed = true;
    }

    /// Goes back to zero.
    pub fn reset(&mut self) {
        (self.value, self.shown) = (0, 0);
    }

    /// Expires: `expire_metrics_secs` have passed without an event. The exporter continues to show it for
    /// its `flush_period_secs` and longer.
    pub fn expire(&mut self, at: UnixMillis) {
        self.frozen_at.get_or_insert(at);
    }

    /// The timestamp that it is shown with, if that stands still.
    pub fn frozen_at(&self) -> Option<UnixMillis> {
        self.frozen_at
    }

    /// Vanishes, as Vector's counters do after 300 idle seconds.
    pub fn drop_out(&mut self) {
        self.reset();
        self.dropped = true;
    }

    /// Comes back, at zero.
    pub fn come_back(&mut self) {
        self.dropped = false;
    }
}

/// One component of the topology.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: ComponentKind,
    /// Vector's name of its type.
    pub component_type: &'static str,
    /// Its counters.
    pub series: Vec<Series>,
}

impl Component {
    fn new(id: &str, kind: ComponentKind, component_type: &'static str, series: &[(Metric, &'static str)]) -> Self {
        let series = series.iter().map(|(metric, labels)| Series::new(*metric, labels)).collect();
        Component { id: id.to_owned(), kind, component_type, series }
    }

    /// Counts in the series with these labels.
    pub fn add(&mut self, metric: Metric, labels: &str, count: u64) {
        if let Some(series) = self.series.iter_mut().find(|series| series.metric == metric && series.labels == labels) {
            series.add(count);
        }
    }
}

/// Labels of the errors that alternate in the first transform.
pub const ERRORS: [&str; 2] = [
    r#"error_type="conversion_failed",stage="processing""#,
    r#"error_code="decoder_deserialize",error_type="parser_failed",stage="processing""#,
];
/// Labels of the source's two protocols.
pub const PROTOCOLS: [&str; 2] = [r#"http_path="/",protocol="http""#, r#"protocol="tcp""#];
/// Labels of the router's outputs.
pub const ROUTES: [&str; 3] = [r#"output="get""#, r#"output="post""#, r#"output="_unmatched""#];
/// Label of an only output.
pub const DEFAULT_OUTPUT: &str = r#"output="_default""#;
/// Label of events that were discarded because they failed.
pub const UNINTENDED: &str = r#"intentional="false""#;
/// Label of events that were discarded on purpose.
pub const INTENDED: &str = r#"intentional="true""#;
/// Label of the sink's bytes.
pub const SINK_PROTOCOL: &str = r#"protocol="blackhole""#;

/// The components of a topology in the order of the flow: `demo_in`, `shape`, `router`, `step_4` …,
/// `out`.
pub fn components(count: usize) -> Vec<Component> {
    use Metric::*;
    let mut all = vec![Component::new(
        "demo_in",
        ComponentKind::Source,
        "http_server",
        &[
            (ReceivedEvents, PROTOCOLS[0]),
            (ReceivedEvents, PROTOCOLS[1]),
            (ReceivedBytes, PROTOCOLS[0]),
            (ReceivedBytes, PROTOCOLS[1]),
            (ReceivedEventBytes, PROTOCOLS[0]),
            (ReceivedEventBytes, PROTOCOLS[1]),
            (SentEvents, DEFAULT_OUTPUT),
            (SentEventBytes, DEFAULT_OUTPUT),
        ],
    )];
    for number in 2..count {
        all.push(match number {
            2 => Component::new(
                "shape",
                ComponentKind::Transform,
                "remap",
                &[
                    (ReceivedEvents, ""),
                    (ReceivedEventBytes, ""),
                    (SentEvents, DEFAULT_OUTPUT),
                    (SentEventBytes, DEFAULT_OUTPUT),
                    (Errors, ERRORS[0]),
                    (Errors, ERRORS[1]),
                    (Discarded, UNINTENDED),
                    (Discarded, INTENDED),
                ],
            ),
            3 => Component::new(
                "router",
                ComponentKind::Transform,
                "route",
                &[
                    (ReceivedEvents, ""),
                    (ReceivedEventBytes, ""),
                    (SentEvents, ROUTES[0]),
                    (SentEvents, ROUTES[1]),
                    (SentEvents, ROUTES[2]),
                    (SentEventBytes, ROUTES[0]),
                    (SentEventBytes, ROUTES[1]),
                    (SentEventBytes, ROUTES[2]),
                ],
            ),
            _ => Component::new(
                &format!("step_{number}"),
                ComponentKind::Transform,
                "remap",
                &[
                    (ReceivedEvents, ""),
                    (ReceivedEventBytes, ""),
                    (SentEvents, DEFAULT_OUTPUT),
                    (SentEventBytes, DEFAULT_OUTPUT),
                ],
            ),
        });
    }
    all.push(Component::new(
        "out",
        ComponentKind::Sink,
        "blackhole",
        &[
            (ReceivedEvents, ""),
            (ReceivedEventBytes, ""),
            (SentEvents, ""),
            (SentEventBytes, ""),
            (SentBytes, SINK_PROTOCOL),
        ],
    ));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_hides_events_since_the_last_scrape() {
        let mut series = Series::new(Metric::SentEvents, "");
        series.add(5);
        series.expose();
        series.add(2);
        series.reset();
        series.add(4);
        series.expose();
        assert_eq!((series.value(), series.total, series.exposed), (Some(4), 11, 9));
    }

    #[test]
    fn errors_are_absent_before_the_first() {
        let mut series = Series::new(Metric::Errors, "");
        assert_eq!(series.value(), None);
        series.add(1);
        assert_eq!(series.value(), Some(1));
    }

    #[test]
    fn an_expired_series_is_shown_until_it_counts_from_zero() {
        let mut series = Series::new(Metric::SentEvents, "");
        series.add(5);
        series.expose();
        series.expire(1_000);
        series.add(0);
        assert_eq!((series.value(), series.frozen_at()), (Some(5), Some(1_000)));
        series.add(7);
        series.expose();
        assert_eq!((series.value(), series.frozen_at(), series.exposed), (Some(7), None, 12));
    }

    #[test]
    fn dropped_series_returns_at_zero() {
        let mut series = Series::new(Metric::SentEvents, "");
        series.add(5);
        series.drop_out();
        series.add(1);
        assert_eq!(series.value(), None);
        series.come_back();
        assert_eq!((series.value(), series.total), (Some(0), 6));
    }
}
