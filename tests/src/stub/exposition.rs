//! The text of /metrics, in the shape in which Vector's prometheus_exporter prints it: names with a
//! prefix, HELP and TYPE, labels in alphabetical order, a timestamp in milliseconds on every line.

use std::fmt::{Display, Write};

use systole_shared::{ComponentKind, UnixMillis};

use super::engine::Engine;
use super::topology::{Component, Metric};

/// Upper bounds of Vector's histograms.
const BUCKET_EXPONENTS: std::ops::RangeInclusive<i32> = -12..=12;
/// Room of the sink's memory buffer.
const BUFFER_MAX_EVENTS: u64 = 500;

/// Facts about the process that the engine does not know.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time that every line carries.
    pub now: UnixMillis,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Scrapes so far; moves the exporter's own counters.
    pub scrapes: u64,
    /// Whether someone taps the topology.
    pub tap: bool,
    /// Whether the process's own metrics are components of the user's own, and not of the agent.
    pub internal_metrics: bool,
}

/// Prints everything.
pub fn render(engine: &Engine, context: Context) -> String {
    let mut page = Page { text: String::with_capacity(32 * 1024), now: context.now };
    buffers(&mut page, engine);
    page.family("build_info", "gauge");
    page.line(
        "build_info",
        &["arch=\"x86_64\"", "debug=\"false\"", "revision=\"\"", "rust_version=\"1.95\"", "version=\"0.58.0\""],
        1,
    );
    counters(&mut page, engine, context);
    latency(&mut page, engine);
    histogram(&mut page, engine);
    page.family("started_total", "counter");
    page.line("started_total", &[], 1);
    if context.tap {
        tap(&mut page);
    }
    page.family("uptime_seconds", "gauge");
    page.line("uptime_seconds", &[], context.uptime_seconds);
    utilization(&mut page, engine);
    page.text
}

struct Page {
    text: String,
    now: UnixMillis,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP vector_{name} {name}\n# TYPE vector_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[&str], value: impl Display) {
        self.line_at(name, labels, value, self.now);
    }

    fn line_at(&mut self, name: &str, labels: &[&str], value: impl Display, at: UnixMillis) {
        let mut labels: Vec<&str> = labels.iter().copied().filter(|label| !label.is_empty()).collect();
        labels.push("host=\"stub\"");
        labels.sort_unstable();
        let _ = writeln!(self.text, "vector_{name}{{{}}} {value} {at}", labels.join(","));
    }

    fn component(&mut self, name: &str, component: (&str, ComponentKind, &str), extra: &[&str], value: impl Display) {
        self.component_at(name, component, extra, value, self.now);
    }

    fn component_at(
        &mut self,
        name: &str,
        component: (&str, ComponentKind, &str),
        extra: &[&str],
        value: impl Display,
        at: UnixMillis,
    ) {
        let (id, kind, component_type) = component;
        let own = [
            format!("component_id=\"{id}\""),
            format!("component_kind=\"{}\"", kind.as_str()),
            format!("component_type=\"{component_type}\""),
        ];
        let labels: Vec<&str> = own.iter().map(String::as_str).chain(extra.iter().copied()).collect();
        self.line_at(name, &labels, value, at);
    }
}

fn labels_of(component: &Component) -> (&str, ComponentKind, &str) {
    (&component.id, component.kind, component.component_type)
}

/// The source of the exporter's own events; it belongs to the agent, not to the user's pipeline.
const VF_SOURCE: (&str, ComponentKind, &str) = ("vf_internal_metrics", ComponentKind::Source, "internal_metrics");
/// The exporter itself, as an agent configures it.
const VF_SINK: (&str, ComponentKind, &str) = ("vf_metrics_exporter", ComponentKind::Sink, "prometheus_exporter");

/// The same, as a user configures it.
const OWN_SOURCE: (&str, ComponentKind, &str) = ("own_metrics", ComponentKind::Source, "internal_metrics");
/// See [`OWN_SOURCE`].
const OWN_SINK: (&str, ComponentKind, &str) = ("prometheus", ComponentKind::Sink, "prometheus_exporter");

fn counters(page: &mut Page, engine: &Engine, context: Context) {
    for metric in Metric::ALL {
        let series: Vec<_> = engine
            .components
            .iter()
            .flat_map(|component| component.series.iter().map(move |series| (component, series)))
            .filter(|(_, series)| series.metric == metric)
            .filter_map(|(component, series)| Some((component, series, series.value()?)))
            .collect();
        let own = metric == Metric::ReceivedEvents || metric == Metric::SentEvents;
        if series.is_empty() && !own {
            continue;
        }
        page.family(metric.name(), "counter");
        // Vector prints a family in no particular order: sinks first is as good as any.
        for (component, series, value) in series.into_iter().rev() {
            let labels: Vec<&str> = series.labels.split(',').collect();
            let at = series.frozen_at().unwrap_or(page.now);
            page.component_at(metric.name(), labels_of(component), &labels, value, at);
        }
        if own {
            let events = (context.scrapes + 1) * 94;
            let output = if metric == Metric::SentEvents { "output=\"_default\"" } else { "" };
            let (source, sink) = if context.internal_metrics { (OWN_SOURCE, OWN_SINK) } else { (VF_SOURCE, VF_SINK) };
            page.component(metric.name(), source, &[output], events);
            page.component(metric.name(), sink, &[], events);
        }
    }
}

fn buffers(page: &mut Page, engine: &Engine) {
    let Some(sink) = engine.components.last() else { return };
    let id = format!("buffer_id=\"{}\"", sink.id);
    let labels = [id.as_str(), "buffer_type=\"memory\"", "stage=\"0\""];
    let waiting = engine.events % 8;
    for (name, value) in [
        ("buffer_max_size_events", BUFFER_MAX_EVENTS),
        ("buffer_size_bytes", waiting * 140),
        ("buffer_size_events", waiting),
    ] {
        page.family(name, "gauge");
        page.component(name, labels_of(sink), &labels, value);
    }
}

fn latency(page: &mut Page, engine: &Engine) {
    page.family("component_latency_mean_seconds", "gauge");
    for component in engine.components.iter().filter(|one| one.kind == ComponentKind::Transform) {
        let value = 0.000_061 + wave(engine) * 0.000_2;
        page.component("component_latency_mean_seconds", labels_of(component), &[], value);
    }
}

fn histogram(page: &mut Page, engine: &Engine) {
    let name = "component_received_events_count";
    page.family(name, "histogram");
    for component in &engine.components {
        for exponent in BUCKET_EXPONENTS {
            let (bound, count) = (2f64.powi(exponent), if exponent < 0 { 0 } else { engine.events });
            page.component(&format!("{name}_bucket"), labels_of(component), &[&format!("le=\"{bound}\"")], count);
        }
        page.component(&format!("{name}_bucket"), labels_of(component), &["le=\"+Inf\""], engine.events);
        page.component(&format!("{name}_sum"), labels_of(component), &[], engine.events);
        page.component(&format!("{name}_count"), labels_of(component), &[], engine.events);
    }
}

fn utilization(page: &mut Page, engine: &Engine) {
    page.family("utilization", "gauge");
    // Vector has it for transforms and sinks only.
    for component in engine.components.iter().filter(|one| one.kind != ComponentKind::Source) {
        page.component("utilization", labels_of(component), &[], format!("{:.4}", 0.05 + wave(engine) * 0.4));
    }
    page.component("utilization", VF_SINK, &[], 0.0051);
}

/// What `vector tap` adds: a pseudo component that is no sink of the pipeline.
fn tap(page: &mut Page) {
    let tap = ("_tap", ComponentKind::Sink, "tap");
    page.family("buffer_send_duration_seconds", "histogram");
    page.component("buffer_send_duration_seconds_sum", tap, &["stage=\"0\""], 0.00608946);
    page.component("buffer_send_duration_seconds_count", tap, &["stage=\"0\""], 80);
    page.component("component_sent_events_total", tap, &[], 80);
}

/// Between 0 and 1, slowly up and down with the events: gauges that a person can watch.
fn wave(engine: &Engine) -> f64 {
    (engine.events as f64 / 600.0).sin().mul_add(0.5, 0.5)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::time::Instant;

    use super::super::args::Cli;
    use super::super::settings::Settings;
    use super::*;

    fn page(events: u64, flags: &[&str]) -> String {
        let args = std::iter::once("vector").chain(flags.iter().copied());
        let settings = Settings::load(Cli::try_parse_from(args).unwrap()).unwrap();
        let mut engine = Engine::new(&settings, Instant::now());
        engine.burst(events);
        let context = Context {
            now: 1_795_199_008_307,
            uptime_seconds: 14,
            scrapes: 0,
            tap: settings.tap,
            internal_metrics: settings.internal_metrics,
        };
        render(&engine, context)
    }

    #[test]
    fn exposition_line_equals_vectors() {
        // From the recording of Vector 0.58, with this program's ids and numbers.
        let expected = "vector_component_sent_bytes_total{component_id=\"out\",component_kind=\"sink\",\
                        component_type=\"blackhole\",host=\"stub\",protocol=\"blackhole\"} 163 1795199008307";
        let page = page(2, &[]);
        assert!(page.lines().any(|line| line == expected), "{page}");
    }

    #[test]
    fn error_series_appear_with_the_first_error() {
        assert!(!page(9, &["--errors-every", "10"]).contains("component_errors_total"));
        let page = page(10, &["--errors-every", "10"]);
        assert!(page.contains("vector_component_errors_total{") && page.contains("intentional=\"false\""));
    }

    #[test]
    fn exposition_has_only_comments_and_timed_samples() {
        for line in page(100, &["--tap", "--components", "7"]).lines() {
            let sample = line.ends_with(" 1795199008307") && line.contains("host=\"stub\"");
            assert!(line.starts_with("# HELP vector_") || line.starts_with("# TYPE vector_") || sample, "{line}");
        }
    }
}
