//! Each built-in rule fires once and clears once; a preview shows the same.

use serde_json::Value;
use systole_shared::{BootId, Counter, PipelineReport};
use systole_tests::clock;
use systole_tests::harness::reports::{pipeline, report, running};
use systole_tests::harness::{DatabaseKind, NodeClient, SOON, eventually, eventually_true};
use systole_tests::stub::totals::Counts;
use uuid::Uuid;

use super::alert_scene::{Scene, report_state};

on_each_database! {
    rules_of_states_fire_once_and_clear_once,
    rules_over_minutes_fire_once_and_clear_once_and_a_preview_shows_it,
}

const MINUTE: i64 = 60_000;

async fn rules_of_states_fire_once_and_clear_once(database: DatabaseKind) {
    let mut scene = Scene::start(database).await;
    let mut node = scene.node("edge-1").await;

    // The node falls silent, and comes back.
    report_state(&mut node, "orders", "RUNNING").await;
    scene.until_firing("node-unreachable", 1).await;
    report_state(&mut node, "orders", "RUNNING").await;
    scene.until_clear("node-unreachable").await;
    assert_eq!(scene.history("node-unreachable").await[..2], ["firing", "resolved"]);
    scene.silence("rule=node-unreachable").await;

    for (rule, status) in [("pipeline-crash-loop", "CRASH_LOOP"), ("pipeline-unhealthy", "CRASHED")] {
        report_state(&mut node, "orders", status).await;
        scene.until_firing(rule, 1).await;
        report_state(&mut node, "orders", "RUNNING").await;
        scene.until_clear(rule).await;
        assert_eq!(scene.history(rule).await, ["firing", "resolved"], "{rule}");
    }

    // A clock that is a minute behind, and is set.
    let mut request = node.next_request(vec![pipeline("orders", "RUNNING")]);
    request.sent_at -= MINUTE;
    node.post(&request).await;
    scene.until_firing("clock-skew", 1).await;
    report_state(&mut node, "orders", "RUNNING").await;
    scene.until_clear("clock-skew").await;
    assert_eq!(scene.history("clock-skew").await, ["firing", "resolved"]);

    // Reports that never come.
    node.next_seq += 5;
    report_state(&mut node, "orders", "RUNNING").await;
    let lost = scene.until_firing("reports-lost", 1).await;
    assert_eq!(lost[0]["nodeName"], "edge-1");

    // Two agents of one identity, in turn.
    let mut twin = node.clone();
    (twin.boot, twin.next_seq) = (BootId(Uuid::now_v7()), 1);
    for _ in 0..3 {
        report_state(&mut twin, "orders", "RUNNING").await;
        report_state(&mut node, "orders", "RUNNING").await;
    }
    scene.until_firing("duplicate-identity", 1).await;
    eventually_true("one of them is gone", SOON, async || {
        report_state(&mut node, "orders", "RUNNING").await;
        scene.active("duplicate-identity").await.is_empty()
    })
    .await;
    assert_eq!(scene.history("duplicate-identity").await, ["firing", "resolved"]);

    if database == DatabaseKind::Sqlite {
        low_disk_fires_and_clears(&mut scene).await;
    }

    let previewed = preview(&scene, "pipeline-unhealthy").await;
    let [alert] = previewed.as_slice() else { panic!("{previewed:?}") };
    assert_eq!((&alert["subject"], alert["endedAt"].is_null()), (&"edge-1/orders".into(), false));
}

/// The collector's own disk, by a bound that no disk has. A PostgreSQL has a disk that the collector does not see.
async fn low_disk_fires_and_clears(scene: &mut Scene) {
    let text = std::fs::read_to_string(scene.config()).unwrap();
    std::fs::write(
        scene.config(),
        format!("low_disk_warn_bytes = '999999999999999'\nlow_disk_stop_bytes = '0'\n{text}"),
    )
    .unwrap();
    scene.kill_and_run().await;
    let low = scene.until_firing("collector-disk-low", 1).await;
    assert_eq!((&low[0]["subject"], &low[0]["environmentName"]), (&"collector".into(), &Value::Null));
    let of_environment = scene.collector.viewer_of("default").await;
    let seen = of_environment.list("/api/v1/alerts").await;
    assert!(seen.iter().all(|alert| alert["rule"] != "collector-disk-low"), "it is of no environment: {seen:?}");
    std::fs::write(scene.config(), text).unwrap();
    scene.kill_and_run().await;
    scene.until_clear("collector-disk-low").await;
    assert_eq!(scene.history("collector-disk-low").await, ["firing", "resolved"]);
}

/// What a rule would have done in the last hours.
async fn preview(scene: &Scene, rule: &str) -> Vec<Value> {
    let found = scene.operator.get_json(&format!("/api/v1/alerts/rules/{rule}/preview?from=-3h")).await;
    assert_eq!(found["fired"].as_u64(), found["items"].as_array().map(|items| items.len() as u64));
    found["items"].as_array().unwrap().clone()
}

fn counts(events: u64, errors: u64, discarded: u64) -> Counts {
    Counts { events_in: events, events_out: events, errors, discarded, bytes_in: 1, bytes_out: 1 }
}

/// A pipeline with buffers and lines that were dropped.
fn with_buffer(mut pipeline: PipelineReport<'static>, fill: u64, dropped: u64) -> PipelineReport<'static> {
    for component in &mut pipeline.components {
        component.buffer_events = Some(Counter::new(fill));
        component.buffer_max_events = Some(Counter::new(100));
    }
    pipeline.logs_dropped = dropped;
    pipeline
}

/// Reports of minutes before now and of this one, each with what `of` says of how many minutes ago it was.
async fn report_minutes(
    node: &mut NodeClient,
    minutes: std::ops::RangeInclusive<i64>,
    of: impl Fn(i64) -> Vec<PipelineReport<'static>>,
) {
    let now = clock::now_ms();
    let mut reports = Vec::new();
    for ago in minutes.rev() {
        // At most now: this minute is not over.
        let end = ((now / MINUTE - ago) * MINUTE + 30_000).min(now);
        reports.push(report(node.next_seq, end, of(ago)));
        node.next_seq += 1;
    }
    let request = node.request_of(reports);
    assert_eq!(node.post(&request).await.refused, []);
}

async fn rules_over_minutes_fire_once_and_clear_once_and_a_preview_shows_it(database: DatabaseKind) {
    let mut scene = Scene::start(database).await;
    scene.silence("rule=node-unreachable").await;
    let mut node = scene.node("edge-1").await;
    // An hour of events, then twelve minutes of none; and minutes of errors and of discards. The last minutes are those
    // that are over for sure when the collector looks.
    report_minutes(&mut node, 0..=75, |ago| {
        vec![
            running("quiet", counts(if ago > 13 { 10 } else { 0 }, 0, 0)),
            running("broken", counts(100, if ago <= 4 { 5 } else { 0 }, 0)),
            running("lossy", counts(100, 0, if ago <= 3 { 1 } else { 0 })),
            with_buffer(running("wordy", counts(100, 0, 0)), 0, u64::from(ago <= 2)),
        ]
    })
    .await;
    // After a start the collector looks at the last minute that is over.
    scene.kill_and_run().await;
    let rules =
        [("no-events", "quiet"), ("errors", "broken"), ("events-discarded", "lossy"), ("log-lines-lost", "wordy")];
    for (rule, id) in rules {
        let fired = scene.until_firing(rule, 1).await;
        assert_eq!(fired[0]["pipelineId"], id, "{rule}");
    }
    let value = scene.active("errors").await[0]["value"].as_f64().unwrap();
    assert!((0.01..0.06).contains(&value), "{value}");
    // The same by a preview: it fired, once, and still does.
    for (rule, id) in rules {
        let previewed = preview(&scene, rule).await;
        let [alert] = previewed.as_slice() else { panic!("{rule}: {previewed:?}") };
        assert_eq!((&alert["pipelineId"], &alert["endedAt"]), (&id.into(), &Value::Null), "{rule}");
    }

    // Well again, and a buffer that is full: seen at the end of this minute, live.
    let well = |fill| {
        vec![
            running("quiet", counts(10, 0, 0)),
            running("broken", counts(1_000_000, 0, 0)),
            running("lossy", counts(100, 0, 0)),
            with_buffer(running("wordy", counts(100, 0, 0)), fill, 0),
        ]
    };
    let buffer = eventually("the buffer is full", SOON, async || {
        node.report(well(95)).await;
        scene.active("buffer-full").await.into_iter().find(|alert| alert["state"] == "firing")
    })
    .await;
    assert_eq!(buffer["pipelineId"], "wordy");
    for (rule, _) in rules.into_iter().filter(|(rule, _)| *rule != "log-lines-lost") {
        scene.until_clear(rule).await;
        assert_eq!(scene.history(rule).await.last().unwrap(), "resolved", "{rule}");
    }
    eventually_true("the buffer is empty", SOON, async || {
        node.report(well(5)).await;
        scene.active("buffer-full").await.is_empty()
    })
    .await;
    for (rule, _) in rules.into_iter().chain([("buffer-full", "wordy")]).filter(|(rule, _)| *rule != "log-lines-lost") {
        let history = scene.history(rule).await;
        let fired = history.iter().filter(|state| *state == "firing").count();
        assert_eq!(fired, 1, "{rule}: {history:?}");
    }
}
