//! Proven on what a real Vector said: see testdata/vector-0.58/README.md.

use systole_shared::{ComponentKind, Counter};

use super::*;
use crate::scrape::deltas::KEPT_SCRAPES;

const DEMO: &[u8] = include_bytes!("../../testdata/vector-0.58/metrics.txt");
const WITH_TAP: &[u8] = include_bytes!("../../testdata/vector-0.58/metrics-with-tap.txt");
const RICH: &[u8] = include_bytes!("../../testdata/vector-0.58/metrics-errors-buffers.txt");

fn scrape(body: &[u8]) -> Scrape {
    Scrape::of(body, &crate::config::vector_mapping())
}

fn first_report(body: &[u8]) -> ReportDeltas {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(body), 0);
    tracker.take()
}

fn component<'m>(counted: &'m ReportDeltas, id: &str) -> &'m ComponentReport<'static> {
    counted.components.iter().find(|component| component.id.as_str() == id).unwrap()
}

fn count(value: u64) -> Counter {
    Counter::new(value)
}

/// A Vector of one source and one sink.
fn body(received: u64, sent: u64, out: u64, uptime: u64) -> Vec<u8> {
    format!(
        "vector_component_received_events_total{{component_id=\"in\",component_kind=\"source\"}} {received}\n\
         vector_component_sent_events_total{{component_id=\"in\",component_kind=\"source\"}} {sent}\n\
         vector_component_sent_events_total{{component_id=\"out\",component_kind=\"sink\"}} {out}\n\
         vector_uptime_seconds {uptime}\n"
    )
    .into_bytes()
}

#[test]
fn a_components_value_is_the_sum_of_its_series() {
    let counted = first_report(RICH);
    assert_eq!(component(&counted, "router").sent_events, count(49 + 50 + 281));
    assert_eq!(component(&counted, "parse").sent_events, count(384));
    assert_eq!(component(&counted, "parse").received_events, count(385));
    assert_eq!(component(&counted, "web").errors, count(8));
    assert_eq!(component(&counted, "only_errors").discarded, count(270));
    assert_eq!(component(&counted, "down").discarded, count(48));
}

#[test]
fn a_pipelines_totals_are_those_of_its_sources_and_sinks() {
    let sample = first_report(RICH).sample.unwrap();
    // Without the 3886 of internal_metrics and the 88 of internal_logs.
    assert_eq!(sample.events_in, count(381 + 4));
    assert_eq!(sample.events_out, count(88 + 330 + 37));
    assert_eq!(sample.errors, count(11 + 4 + 4));
    assert_eq!(sample.discarded, count(270 + 48));
    // `demo` has received no bytes, and sources have no sent bytes.
    assert_eq!(sample.bytes_in, count(116));
    assert_eq!(sample.bytes_out, count(9202 + 42187 + 82217));
    assert!(!sample.reset);
}

#[test]
fn own_monitoring_counts_where_it_is_wanted_and_is_always_visible() {
    let mut all = scrape(RICH);
    all.count_internal();
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&all, 0);
    let wanted = tracker.take();
    let usual = first_report(RICH);
    let sample = wanted.sample.unwrap();
    assert_eq!((sample.events_in, sample.bytes_in), (count(88 + 381 + 3886 + 4), count(37283 + 3_142_416 + 116)));
    assert_eq!(component(&usual, "internal").received_events, count(3886));
    assert_eq!(wanted.components, usual.components);
}

#[test]
fn gauges_are_taken_as_seen() {
    let counted = first_report(RICH);
    let hole = component(&counted, "hole");
    assert_eq!((hole.buffer_events, hole.buffer_max_events), (Some(count(7)), Some(count(8))));
    assert_eq!(hole.buffer_bytes, Some(count(6418)));
    assert_eq!(component(&counted, "files").buffer_max_bytes, Some(count(268_435_488)));
    let latency = component(&counted, "parse").latency_ms.unwrap();
    assert!((latency - 0.284_905_704).abs() < 1e-9, "{latency}");
    let sample = counted.sample.unwrap();
    let most = counted.components.iter().filter_map(|component| component.utilization).fold(0.0, f64::max);
    assert!(most > 0.0 && most <= 1.0, "{most}");
    assert_eq!(sample.utilization, Some(most));
    // parse 385, only_errors 380 and router 380 events.
    let expected = (0.000_284_905_704_190_038_65 * 385.0
        + 0.000_235_711_671_447_434_2 * 380.0
        + 0.000_102_702_619_323_384_13 * 380.0)
        / 1145.0
        * 1_000.0;
    assert!((sample.latency_ms.unwrap() - expected).abs() < 1e-9);
}

#[test]
fn the_tap_counts_nowhere() {
    let counted = first_report(WITH_TAP);
    assert!(std::str::from_utf8(WITH_TAP).unwrap().contains("component_id=\"_tap\""));
    assert!(counted.components.iter().all(|component| !component.id.as_str().starts_with('_')));
    let sinks = counted.components.iter().filter(|component| component.kind == ComponentKind::Sink);
    let out: i64 = sinks.map(|component| component.sent_events.get().unwrap()).sum();
    assert_eq!(counted.sample.unwrap().events_out.get().unwrap(), out);
}

#[test]
fn names_read_alike_without_the_prefix() {
    let plain = String::from_utf8(DEMO.to_vec()).unwrap().replace("vector_", "");
    let (with, without) = (first_report(DEMO), first_report(plain.as_bytes()));
    assert!(with.sample.unwrap().events_in.get().unwrap() > 0);
    assert_eq!(with.sample, without.sample);
    assert_eq!(with.components, without.components);
}

#[test]
fn the_same_scrape_again_counts_nothing() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(RICH), 0);
    tracker.take();
    tracker.record(&scrape(RICH), 0);
    let again = tracker.take();
    assert_eq!(again.sample.unwrap().events_in, count(0));
    assert!(again.components.iter().all(|component| component.sent_events == count(0)));
}

#[test]
fn scrapes_between_two_reports_add_up() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(&body(10, 10, 8, 1)), 0);
    tracker.record(&scrape(&body(30, 30, 20, 2)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out), (count(30), count(20)));
    assert!(tracker.take().sample.is_none());
}

#[test]
fn a_failed_scrape_is_no_sample_and_the_next_one_covers_both_intervals() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(&body(10, 10, 8, 1)), 0);
    tracker.take();
    tracker.fail("connection refused".to_owned());
    let failed = tracker.take();
    assert_eq!((failed.sample, failed.error.as_deref()), (None, Some("connection refused")));
    tracker.record(&scrape(&body(50, 50, 48, 11)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (count(40), count(40), false));
}

#[test]
fn a_watched_process_has_a_sample_from_its_second_scrape_on() {
    let mut tracker = DeltaTracker::of_watched();
    tracker.record(&scrape(&body(1000, 1000, 900, 100)), 0);
    let first = tracker.take();
    assert_eq!((first.sample, first.error), (None, None));
    tracker.record(&scrape(&body(1010, 1010, 905, 105)), 0);
    let second = tracker.take().sample.unwrap();
    assert_eq!((second.events_in, second.events_out), (count(10), count(5)));
}

#[test]
fn a_watched_process_that_was_restarted_counts_whole_even_above_its_old_values() {
    let mut tracker = DeltaTracker::of_watched();
    tracker.record(&scrape(&body(100, 100, 100, 500)), 0);
    tracker.record(&scrape(&body(120, 120, 130, 3)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (count(120), count(130), true));
    tracker.record(&scrape(&body(121, 121, 130, 8)), 0);
    assert!(!tracker.take().sample.unwrap().reset);
}

#[test]
fn a_new_process_of_a_supervised_pipeline_counts_from_zero_again() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(&body(10, 10, 10, 5)), 0);
    tracker.begin_process();
    tracker.record(&scrape(&body(25, 25, 24, 7)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (count(35), count(34), true));
}

#[test]
fn a_source_that_never_receives_counts_what_it_sends_and_stays_with_it() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(&body(0, 10, 10, 5)), 0);
    assert_eq!(tracker.take().sample.unwrap().events_in, count(10));
    // It begins to count what it receives: still the sent ones, or these 10 would count twice.
    tracker.record(&scrape(&body(15, 15, 15, 10)), 0);
    assert_eq!(tracker.take().sample.unwrap().events_in, count(5));
}

#[test]
fn a_clock_that_is_set_moves_the_start_of_a_process_and_makes_it_no_other_one() {
    let scrape = |received: u64, start: u64| {
        let text = format!(
            "component_received_events_total{{component_id=\"in\",component_kind=\"source\"}} {received}\n\
             process_start_time_seconds {start}\n"
        );
        scrape(text.as_bytes())
    };
    let mut tracker = DeltaTracker::of_watched();
    tracker.record(&scrape(1000, 100_000), 103_600_000);
    // The clock goes 10 minutes on, then an hour back, then the process is a new one indeed.
    let mut events = |received, start, now| {
        tracker.record(&scrape(received, start), now);
        let sample = tracker.take().sample.unwrap();
        (sample.events_in.get().unwrap(), sample.reset)
    };
    assert_eq!(events(1010, 100_600, 104_205_000), (10, false));
    assert_eq!(events(1020, 97_000, 100_610_000), (10, false));
    assert_eq!(events(1500, 100_612, 100_615_000), (1500, true));
}

#[test]
fn what_was_counted_before_a_process_started_beside_another_is_reported() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&scrape(&body(10, 10, 8, 1)), 0);
    tracker.begin_process_beside_another();
    tracker.record(&scrape(&body(1000, 1000, 1000, 2)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out), (count(10), count(8)));
}

#[test]
fn an_answer_that_lost_every_component_is_a_failed_scrape_and_nothing_counts_twice() {
    let mut tracker = DeltaTracker::of_watched();
    tracker.record(&scrape(&body(1000, 1000, 900, 100)), 0);
    tracker.take();
    tracker.record(&scrape(b"exporter_up 0\n"), 0);
    let lost = tracker.take();
    assert!(lost.sample.is_none() && lost.error.is_some());
    tracker.record(&scrape(&body(1010, 1010, 905, 110)), 0);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out), (count(10), count(5)));
}

#[test]
fn counters_beyond_all_bounds_are_as_large_as_can_be() {
    let mut text = String::new();
    for number in 0..4 {
        for (id, kind) in [("a", "source"), ("b", "source"), ("c", "sink"), ("d", "sink")] {
            for name in ["component_received_events_total", "component_sent_events_total", "component_errors_total"] {
                text.push_str(&format!(
                    "{name}{{component_id=\"{id}\",component_kind=\"{kind}\",n=\"{number}\"}} 9.1e18\n"
                ));
            }
        }
    }
    let counted = first_report(text.as_bytes());
    let sample = counted.sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.errors), (Counter::MAX, Counter::MAX, Counter::MAX));
}

#[test]
fn sources_that_come_and_go_leave_nothing_behind() {
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    for number in 0..100 {
        let text =
            format!("component_received_events_total{{component_id=\"{number}\",component_kind=\"source\"}} 1\n");
        tracker.record(&scrape(text.as_bytes()), 0);
    }
    assert_eq!(tracker.input_counters.len(), 1 + usize::from(KEPT_SCRAPES));
}

#[test]
fn a_users_own_mapping_names_components_itself() {
    let table = r#"
        [[component]]
        id = "reports"
        kind = "source"
        received_events = "applied_total"
        [[component]]
        id = "events"
        kind = "sink"
        sent_events = ["published_total", "replayed_total"]
        labels = { kind = "a" }
    "#;
    let mut errors = crate::config::ConfigErrors::default();
    let mapping = crate::config::read_mapping("own", table.parse().unwrap(), &mut errors).unwrap();
    let body = b"applied_total{node=\"1\"} 3\napplied_total{node=\"2\"} 4\npublished_total{kind=\"a\"} 5\n\
                 published_total{kind=\"b\"} 100\nreplayed_total{kind=\"a\"} 6\n";
    let mut tracker = DeltaTracker::of_supervised();
    tracker.begin_process();
    tracker.record(&Scrape::of(body, &mapping), 0);
    let counted = tracker.take();
    assert_eq!(component(&counted, "reports").received_events, count(7));
    assert_eq!(component(&counted, "events").sent_events, count(11));
    assert_eq!(counted.sample.unwrap().events_out, count(11));
}

/// A meter of a watched process that was scraped at the time 0 with 100 events at an age of 60 s,
/// and what its agent kept of it.
fn kept() -> SavedTracker {
    let mut before = DeltaTracker::of_watched();
    before.record(&scrape(&body(100, 100, 90, 60)), 0);
    before.take();
    before.save(&SourceHash::for_tests(7)).unwrap()
}

fn resumed(source: u64) -> DeltaTracker {
    let json = serde_json::to_string(&kept()).unwrap();
    let mut tracker = DeltaTracker::of_watched();
    tracker.resume(&serde_json::from_str(&json).unwrap(), &SourceHash::for_tests(source));
    tracker
}

#[test]
fn a_restarted_agent_counts_on_where_the_last_one_ended() {
    let mut tracker = resumed(7);
    tracker.record(&scrape(&body(140, 140, 125, 100)), 40_000);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (count(40), count(35), false));
}

#[test]
fn a_process_that_began_while_the_agent_was_away_counts_whole() {
    // Its counters and its age are beyond those of the one before, but not by the time between.
    let mut tracker = resumed(7);
    tracker.record(&scrape(&body(140, 140, 125, 90)), 100_000);
    let sample = tracker.take().sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.reset), (count(140), count(125), true));
}

#[test]
fn baselines_of_another_endpoint_or_other_keys_are_not_taken() {
    let mut other_keys = kept();
    other_keys.keys ^= 1;
    let mut of_other_keys = DeltaTracker::of_watched();
    of_other_keys.resume(&other_keys, &SourceHash::for_tests(7));
    for mut tracker in [resumed(8), of_other_keys] {
        tracker.record(&scrape(&body(140, 140, 125, 100)), 40_000);
        assert_eq!(tracker.take().sample, None, "the first scrape of a running process is a baseline only");
    }
}

#[test]
fn nothing_is_kept_of_an_endpoint_that_never_answered() {
    assert_eq!(DeltaTracker::of_watched().save(&SourceHash::for_tests(7)), None);
}

#[test]
fn a_watched_process_that_is_known_to_have_begun_after_the_last_answer_counts_whole() {
    let sums = |at: UnixMillis| {
        // Without uptime or start time, and with more than its predecessor had.
        let body = |count: u64| {
            format!("component_received_events_total{{component_id=\"in\",component_kind=\"source\"}} {count}\n")
        };
        let mut tracker = DeltaTracker::of_watched();
        tracker.record(&scrape(body(100).as_bytes()), 5_000);
        tracker.note_process_start(at, 0);
        tracker.record(&scrape(body(130).as_bytes()), 10_000);
        let sample = tracker.take().sample.unwrap();
        (sample.events_in, sample.reset)
    };
    assert_eq!(sums(5_001), (count(130), true));
    assert_eq!(sums(1_000), (count(30), false), "it is the one that answered");
}

#[test]
fn the_first_process_of_a_watched_pipeline_counts_whole_if_it_began_under_the_agents_eyes() {
    for (began, expected) in [(7_000, Some(count(10))), (2_000, None)] {
        let mut tracker = DeltaTracker::of_watched();
        tracker.note_process_start(began, 6_000);
        tracker.record(&scrape(&body(10, 10, 10, 1)), 8_000);
        assert_eq!(tracker.take().sample.map(|sample| sample.events_in), expected);
    }
}

#[test]
fn who_answers_after_the_end_of_a_watched_process_is_another_one() {
    let mut tracker = DeltaTracker::of_watched();
    tracker.record(&scrape(&body(100, 100, 100, 50)), 0);
    let life = tracker.process_number();
    tracker.note_process_end();
    assert_ne!(tracker.process_number(), life, "an answer on its way may be of either");
    tracker.record(&scrape(&body(130, 130, 130, 60)), 10_000);
    assert_eq!(tracker.take().sample.unwrap().events_in, count(130));
    // Seen only now, and counted already.
    tracker.note_process_start(5_000, 0);
    tracker.record(&scrape(&body(140, 140, 140, 70)), 20_000);
    assert_eq!(tracker.take().sample.unwrap().events_in, count(10));
}
