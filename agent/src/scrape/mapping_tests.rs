//! The built-in tables, proven on what their engines say: see testdata/otelcol and testdata/fluentbit.

use systole_shared::{ComponentKind, ComponentReport, Counter as Count, PipelineSample};

use crate::config::built_in_mappings;
use crate::model::mapping::Mapping;
use crate::scrape::delta_tracker::{DeltaTracker, ReportDeltas};
use crate::scrape::page::Scrape;

fn built_in(name: &str) -> Mapping {
    built_in_mappings().find(|mapping| mapping.name() == name).unwrap()
}

/// What one report after another says of bodies that are scraped one after another.
fn reports<const N: usize>(mapping: &Mapping, bodies: [&str; N]) -> [ReportDeltas; N] {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    bodies.map(|body| {
        tracker.record(&Scrape::of(body.as_bytes(), mapping), 0);
        tracker.take()
    })
}

fn component<'m>(counted: &'m ReportDeltas, id: &str) -> &'m ComponentReport<'static> {
    let ids: Vec<_> = counted.components.iter().map(|component| component.id.as_str()).collect();
    counted.components.iter().find(|component| component.id.as_str() == id).unwrap_or_else(|| panic!("{id}: {ids:?}"))
}

/// Events in and out, errors, discarded.
fn figures(sample: Option<&PipelineSample>) -> [i64; 4] {
    let sample = sample.unwrap();
    [sample.events_in, sample.events_out, sample.errors, sample.discarded].map(|count| count.get().unwrap())
}

/// Events received and sent, errors, discarded.
fn events(component: &ComponentReport<'_>) -> [i64; 4] {
    [component.received_events, component.sent_events, component.errors, component.discarded]
        .map(|count| count.get().unwrap())
}

const OTELCOL: [&str; 2] = [
    include_str!("../../testdata/otelcol/metrics-0.135-first.txt"),
    include_str!("../../testdata/otelcol/metrics-0.135-second.txt"),
];
const OTELCOL_OLD: &str = include_str!("../../testdata/otelcol/metrics-0.57.txt");
const FLUENTBIT: [&str; 2] =
    [include_str!("../../testdata/fluentbit/v2-first.txt"), include_str!("../../testdata/fluentbit/v2-second.txt")];
const FLUENTBIT_V1: &str = include_str!("../../testdata/fluentbit/v1.txt");

#[test]
fn an_opentelemetry_collector_counts_what_its_receivers_took_and_its_exporters_sent() {
    let [first, second] = reports(&built_in("otelcol"), OTELCOL);
    let sent = 49_000 + 49_000 + 15_600 + 80_100;
    assert_eq!(figures(first.sample.as_ref()), [32_000 + 20_000 + 15_600 + 80_100, sent, 0, 0]);
    // In the 30 s between: 75 spans refused by receiver and memory limiter, 25 not sent, 40 log
    // records that the queue had no room for.
    assert_eq!(
        figures(second.sample.as_ref()),
        [14_500 + 10_040 + 3_600 + 38_125 + 75, 23_000 + 23_040 + 3_600 + 38_100, 75 + 75 + 25, 25 + 40]
    );
    assert_eq!(events(component(&second, "receiver/otlp")), [10_040 + 38_200, 48_165, 75, 0]);
    assert_eq!(events(component(&second, "exporter/otlp")), [0, 61_100, 25, 65]);
    let exporter = component(&second, "exporter/otlp");
    assert_eq!((exporter.kind, exporter.buffer_events), (ComponentKind::Sink, Some(Count::new(1_012))));
    assert_eq!(exporter.buffer_max_events, Some(Count::new(2_000)));
}

#[test]
fn a_processor_that_tells_its_items_under_old_and_new_names_counts_them_once() {
    let [_, second] = reports(&built_in("otelcol"), OTELCOL);
    let limiter = component(&second, "processor/memory_limiter");
    assert_eq!(events(limiter), [23_040 + 38_200, 23_040 + 38_125, 75, 0]);
    let filter = component(&second, "processor/filter/health");
    assert_eq!(events(filter), [24_540, 23_040, 0, 0]);
}

#[test]
fn names_with_units_read_as_those_without() {
    let units = [
        ("spans_total{", "spans__spans__total{"),
        ("metric_points_total{", "metric_points__datapoints__total{"),
        ("log_records_total{", "log_records__records__total{"),
        ("items_total{", "items__items__total{"),
        ("queue_size{", "queue_size__batches_{"),
        ("queue_capacity{", "queue_capacity__batches_{"),
    ];
    let with_units =
        OTELCOL.map(|body| units.iter().fold(body.to_owned(), |body, (plain, unit)| body.replace(plain, unit)));
    assert!(with_units[0].contains("otelcol_receiver_accepted_spans__spans__total{"));
    let mapping = built_in("otelcol");
    let plain = reports(&mapping, OTELCOL);
    for (with, without) in reports(&mapping, with_units.each_ref().map(String::as_str)).iter().zip(&plain) {
        assert_eq!((&with.sample, &with.components), (&without.sample, &without.components));
    }
}

#[test]
fn an_old_opentelemetry_collector_is_understood_too() {
    let [report] = reports(&built_in("otelcol"), [OTELCOL_OLD]);
    assert_eq!(figures(report.sample.as_ref()), [1_487_555, 1_482_940, 1_024 + 1_024 + 3_072, 7 + 3_072 + 512]);
    let limiter = component(&report, "processor/memory_limiter");
    assert_eq!(events(limiter), [1_486_524 + 1_024 + 7, 1_486_524, 1_024, 7]);
    for body in [OTELCOL_OLD, OTELCOL[0]] {
        assert!(Scrape::of(body.as_bytes(), &built_in("otelcol")).uptime_seconds.unwrap() > 50.0);
    }
}

#[test]
fn a_fluent_bit_counts_what_its_inputs_took_and_its_outputs_sent() {
    let [first, second] = reports(&built_in("fluentbit"), FLUENTBIT);
    assert_eq!(figures(first.sample.as_ref()), [13_026, 13_016, 2, 10]);
    assert_eq!(figures(second.sample.as_ref()), [310, 210, 1 + 4 + 1, 2 + 15 + 85]);
    let sample = second.sample.as_ref().unwrap();
    assert_eq!((sample.bytes_in, sample.bytes_out), (Count::new(61_500), Count::new(41_500)));
    assert_eq!(component(&second, "input/tail.0").buffer_bytes, Some(Count::new(16_448)));
    assert_eq!(events(component(&second, "filter/grep.1")), [310, 0, 0, 15]);
    // Two of one name: each counts for itself.
    assert_eq!(events(component(&second, "input/forward.0")), [10, 0, 0, 0]);
    assert_eq!(events(component(&second, "output/forward.0")), [0, 10, 0, 0]);
    assert!(second.components.iter().all(|component| !component.id.as_str().contains("emitter")));
}

#[test]
fn the_older_interface_of_fluent_bit_is_understood_too() {
    let [report] = reports(&built_in("fluentbit"), [FLUENTBIT_V1]);
    assert_eq!(figures(report.sample.as_ref()), [510, 506, 0, 4]);
    for (body, expected) in
        [(FLUENTBIT_V1, (Some(184.0), Some(1_667_783_454.0))), (FLUENTBIT[0], (Some(1189.0), Some(1_761_553_217.0)))]
    {
        let scrape = Scrape::of(body.as_bytes(), &built_in("fluentbit"));
        assert_eq!((scrape.uptime_seconds, scrape.start_time_seconds), expected);
        assert_eq!(scrape.garbage_lines, 0);
    }
}

fn own(table: &str) -> Result<Mapping, crate::config::ConfigErrors> {
    let mut errors = crate::config::ConfigErrors::default();
    crate::config::read_mapping("own", table.parse().unwrap(), &mut errors).ok_or(errors)
}

#[test]
fn a_set_of_metrics_that_appears_later_takes_over_without_a_gap_or_a_double() {
    let mapping = own(r#"
        [[component]]
        component_label = "c"
        kind = "sink"
        sent_events = { first_of = ["new", ["old_a", "old_b"]] }
    "#)
    .unwrap();
    let bodies = [
        "old_a{c=\"x\"} 3\nold_b{c=\"x\"} 4\n",
        "old_a{c=\"x\"} 5\nold_b{c=\"x\"} 4\nnew{c=\"x\"} 9\n",
        "old_a{c=\"x\"} 6\nold_b{c=\"x\"} 5\nnew{c=\"x\"} 11\n",
        "new{c=\"x\"} 20\n",
    ];
    let counted = reports(&mapping, bodies).map(|report| report.sample.unwrap().events_out.get().unwrap());
    assert_eq!(counted, [7, 2, 2, 9]);
}

#[test]
fn suffixes_and_prefixes_may_be_there_or_not() {
    let mapping = own(r#"
        prefix = "e_"
        suffixes = ["_total", "_x"]
        component_label = "c"
        sent_events = "out"
    "#)
    .unwrap();
    for name in ["out", "out_total", "out_x", "e_out", "e_out_total", "e_out_x"] {
        assert_eq!(mapping.targets(name).len(), 1, "{name}");
    }
    assert_eq!(mapping.targets("out_total_x"), []);
}

#[test]
fn mistakes_in_components_are_told_each_with_its_key() {
    let errors = own(r#"
        [[component]]
        id = "a"
        component_label = "b"
        sent_events = "x"
        [[component]]
        sent_events = "x"
        [[component]]
        id = "c"
        id_prefix = "p"
        kind = "sink"
        kind_label = "k"
        sent_events = { first_of = [1] }
        received_events = { any_of = ["x"] }
        utilization = { first_of = ["x"] }
        errors = []
    "#)
    .unwrap_err();
    let expected = [
        "metrics.own.component \"a\": id",
        "metrics.own.component 2: id",
        "metrics.own.component \"c\": id_prefix",
        "metrics.own.component \"c\": kind_label",
        "metrics.own.component \"c\": received_events: first_of",
        "metrics.own.component \"c\": received_events: any_of",
        "metrics.own.component \"c\": sent_events: first_of",
        "metrics.own.component \"c\": errors",
        "metrics.own.component \"c\": utilization",
    ];
    assert_eq!(errors.keys(), expected, "{errors}");
}
