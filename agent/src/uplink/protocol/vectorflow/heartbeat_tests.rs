use serde_json::{Value, json};
use systole_shared::BootId;
use uuid::Uuid;

use super::*;

fn body(report: &Value, totals_of: &[Value], extras: &Extras) -> Value {
    let mut ledger = Ledger::open("/nowhere/totals".into());
    for (index, earlier) in totals_of.iter().enumerate() {
        let text = earlier.to_string();
        let earlier: Report<'_> = serde_json::from_str(&text).unwrap();
        ledger.add(BootId(Uuid::from_u128(index as u128 + 1)), &earlier);
        ledger.acknowledge(earlier.pipelines.iter());
        ledger.acknowledge(earlier.pipelines.iter());
    }
    let text = report.to_string();
    let report: Report<'_> = serde_json::from_str(&text).unwrap();
    serde_json::to_value(heartbeat_of(&report, &ledger, extras, |_| true)).unwrap()
}

#[test]
fn counters_are_totals_with_their_zeros() {
    let report = json!({"seq": 1, "start": 0, "end": 65_000, "pipelines": [{
        "id": "p", "status": "RUNNING", "version": 3, "pid": 7, "startedAt": 4_500, "configChecksum": "abc",
        "sample": {"eventsIn": 5, "eventsOut": 0, "utilization": 0.25},
        "components": [{"id": "in", "kind": "source", "receivedEvents": 5, "latencyMs": 2.0},
            {"id": "odd", "kind": "connector"}]}]});
    let body = body(&report, &[report.clone(), report.clone()], &Extras::default());
    let pipeline = &body["pipelines"][0];
    assert_eq!(pipeline["eventsIn"], 10);
    for zero in ["eventsOut", "errorsTotal", "bytesIn", "bytesOut", "eventsDiscarded"] {
        assert_eq!(pipeline[zero], 0, "{zero}");
    }
    assert_eq!(
        (&pipeline["version"], &pipeline["uptimeSeconds"], &pipeline["pid"]),
        (&json!(3), &json!(60), &json!(7))
    );
    assert_eq!((&pipeline["utilization"], &pipeline["configChecksum"]), (&json!(0.25), &json!("abc")));
    let source = &pipeline["componentMetrics"][0];
    assert_eq!((&source["receivedEvents"], &source["sentEvents"]), (&json!(10), &json!(0)));
    assert_eq!((&source["errorsTotal"], &source["latencyMeanSeconds"]), (&json!(0), &json!(0.002)));
    assert_eq!(source.get("receivedBytes"), None, "the engine does not count them");
    assert_eq!(pipeline["componentMetrics"][1]["componentKind"], "transform");
}

#[test]
fn failed_scrape_has_the_totals_of_before_and_no_components() {
    let report =
        json!({"seq": 1, "start": 0, "end": 1, "pipelines": [{"id": "p", "status": "RUNNING", "scrapeError": "x"}]});
    let with_sample = json!({"seq": 1, "start": 0, "end": 1, "pipelines": [{"id": "p", "status": "RUNNING",
        "sample": {"eventsIn": 5, "eventsOut": 5}}]});
    let never_scraped = body(&report, &[], &Extras::default());
    assert_eq!(never_scraped["pipelines"][0], json!({"pipelineId": "p", "version": 0, "status": "RUNNING"}));
    let body = body(&report, &[with_sample], &Extras::default());
    let pipeline = &body["pipelines"][0];
    assert_eq!((&pipeline["eventsIn"], &pipeline["errorsTotal"]), (&json!(5), &json!(0)));
    assert!(pipeline.get("componentMetrics").is_none() && pipeline.get("utilization").is_none(), "{pipeline}");
}

#[test]
fn every_state_is_one_of_the_servers() {
    let sent = |status: &str| {
        let report = json!({"seq": 1, "start": 0, "end": 1, "pipelines": [{"id": "p", "status": status}]});
        body(&report, &[], &Extras::default())["pipelines"][0]["status"].as_str().unwrap().to_owned()
    };
    for (status, expected) in [
        ("PENDING", "PENDING"),
        ("STARTING", "STARTING"),
        ("RUNNING", "RUNNING"),
        ("DEGRADED", "RUNNING"),
        ("STOPPED", "STOPPED"),
        ("CRASHED", "CRASHED"),
        ("CRASH_LOOP", "CRASHED"),
        ("NEVER_HEARD_OF", "PENDING"),
    ] {
        assert_eq!(sent(status), expected, "{status}");
    }
}

#[test]
fn long_texts_are_cut_to_what_the_server_takes() {
    let long = "ü😀".repeat(400);
    let report = json!({"seq": 1, "start": 0, "end": 1,
        "agent": {"version": long, "vectorVersion": long, "runningAs": long, "deploymentMode": "DOCKER", "labels": {"a": "own"}},
        "pipelines": [{"id": "p", "status": "RUNNING", "configChecksum": long}]});
    let extras = Extras {
        update_error: Some(long.clone()),
        labels: [("a".to_owned(), "cloud".to_owned()), ("vf.io/region".to_owned(), "r".to_owned())].into(),
        ..Extras::default()
    };
    let body = body(&report, &[], &extras);
    let units = |value: &Value| value.as_str().unwrap().encode_utf16().count();
    for (field, limit) in [("agentVersion", 100), ("vectorVersion", 100), ("runningAs", 100), ("updateError", 500)] {
        assert!((limit - 1..=limit).contains(&units(&body[field])), "{field}: {}", units(&body[field]));
    }
    assert!((127..=128).contains(&units(&body["pipelines"][0]["configChecksum"])));
    assert_eq!(body["labels"], json!({"a": "own", "vf.io/region": "r"}), "the user's win");
    assert_eq!(body["deploymentMode"], "DOCKER");
}
