use uuid::Uuid;

use super::*;

fn boot(number: u128) -> BootId {
    BootId(Uuid::from_u128(number))
}

/// A report with so many events of the pipelines and of a component of each.
fn report(seq: u64, pipelines: &[(&str, Option<u64>)]) -> Report<'static> {
    let pipelines: Vec<_> = pipelines
        .iter()
        .map(|(id, events)| match events {
            Some(events) => {
                serde_json::json!({"id": id, "status": "RUNNING", "sample": {"eventsIn": events, "eventsOut": 0},
                "components": [{"id": "in", "kind": "source", "receivedEvents": events, "receivedBytes": 2 * events}]})
            }
            None => serde_json::json!({"id": id, "status": "RUNNING", "scrapeError": "refused"}),
        })
        .collect();
    let json = serde_json::json!({"seq": seq, "start": 1, "end": 2, "pipelines": pipelines}).to_string();
    serde_json::from_str(Box::leak(json.into_boxed_str())).unwrap()
}

/// Events in as they would be sent of a pipeline in a report, and of its component.
fn sent(ledger: &Ledger, report: &Report<'_>) -> Option<(u64, u64)> {
    let totals = ledger.totals(report.pipelines[0].id.as_str())?;
    Some((totals.counts().events_in, totals.component("in").received_events))
}

#[test]
fn totals_are_announced_as_zero_and_then_grow_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool/totals");
    let mut ledger = Ledger::open(path.clone());
    let first = report(1, &[("p", Some(5))]);
    ledger.add(boot(1), &first);
    ledger.add(boot(1), &first);
    assert_eq!(sent(&ledger, &first), Some((0, 0)));
    ledger.acknowledge(first.pipelines.iter());
    assert_eq!(sent(&ledger, &first), Some((5, 5)), "a repeated report counts once");
    ledger.save();

    let mut ledger = Ledger::open(path);
    assert!(ledger.has(boot(1), 1) && !ledger.has(boot(1), 2) && !ledger.has(boot(2), 1));
    let next = report(1, &[("p", Some(7))]);
    ledger.add(boot(1), &first);
    ledger.add(boot(2), &next);
    assert_eq!(sent(&ledger, &next), Some((12, 12)));
}

#[test]
fn totals_stay_without_a_new_sample() {
    let mut ledger = Ledger::open("/nowhere/totals".into());
    let (first, failed) = (report(1, &[("p", Some(5))]), report(2, &[("p", None)]));
    ledger.add(boot(1), &first);
    ledger.add(boot(1), &failed);
    assert_eq!(sent(&ledger, &failed), Some((0, 0)), "announced");
    ledger.acknowledge(failed.pipelines.iter());
    assert_eq!(sent(&ledger, &failed), Some((5, 0)), "its components come with the next sample");
    ledger.acknowledge(failed.pipelines.iter());
    assert_eq!(sent(&ledger, &failed), Some((5, 0)), "an absent total would be zero to the server");
}

#[test]
fn component_that_comes_later_is_announced_by_itself() {
    let mut ledger = Ledger::open("/nowhere/totals".into());
    let mut first = report(1, &[("p", Some(5))]);
    first.pipelines[0].components.clear();
    ledger.add(boot(1), &first);
    ledger.acknowledge(first.pipelines.iter());
    ledger.acknowledge(first.pipelines.iter());
    let next = report(2, &[("p", Some(3))]);
    ledger.add(boot(1), &next);
    assert_eq!(sent(&ledger, &next), Some((8, 0)));
    let totals = ledger.totals("p").unwrap();
    assert_eq!((totals.component("in").received_bytes, totals.component("in").sent_bytes), (Some(0), None));
    ledger.acknowledge(next.pipelines.iter());
    assert_eq!(sent(&ledger, &next), Some((8, 3)));
}

#[test]
fn removed_pipeline_is_forgotten_and_begins_with_zero_again() {
    let mut ledger = Ledger::open("/nowhere/totals".into());
    let with = report(1, &[("p", Some(5))]);
    ledger.add(boot(1), &with);
    ledger.acknowledge(with.pipelines.iter());
    ledger.keep_only(&report(2, &[("other", None)]));
    let again = report(3, &[("p", Some(2))]);
    ledger.add(boot(1), &again);
    assert_eq!(sent(&ledger, &again), Some((0, 0)));
    ledger.acknowledge(again.pipelines.iter());
    assert_eq!(sent(&ledger, &again), Some((2, 2)));
}

#[test]
fn another_node_of_the_server_receives_only_what_the_one_before_did_not() {
    let mut ledger = Ledger::open("/nowhere/totals".into());
    let first = report(1, &[("p", Some(5))]);
    ledger.add(boot(1), &first);
    ledger.acknowledge(first.pipelines.iter());
    ledger.acknowledge(first.pipelines.iter());
    let next = report(2, &[("p", Some(3))]);
    ledger.add(boot(1), &next);
    ledger.begin_again();
    assert_eq!(sent(&ledger, &next), Some((0, 0)));
    ledger.acknowledge(next.pipelines.iter());
    assert_eq!(sent(&ledger, &next), Some((3, 3)));
}

#[test]
fn damaged_file_is_no_totals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("totals");
    std::fs::write(&path, "{\"progress\":[").unwrap();
    let mut ledger = Ledger::open(path);
    let first = report(1, &[("p", Some(5))]);
    ledger.add(boot(1), &first);
    assert_eq!(sent(&ledger, &first), Some((0, 0)));
}
