//! Tests of what a body becomes.

use systole_shared::ack::MAX_REFUSED_LISTED;
use systole_shared::limits::{MAX_LOG_LINES_PER_REPORT, MAX_PIPELINES_PER_REPORT};
use systole_shared::{ComponentKind, LogLevel, PipelineStatus, RefusalCode};

use super::*;
use crate::model::report::TotalsOfPipeline;

fn heartbeat(pipelines: &str) -> DecodedHeartbeat {
    decode_heartbeat(format!(r#"{{"pipelines":[{pipelines}]}}"#).as_bytes()).unwrap()
}

fn ids(decoded: &DecodedHeartbeat) -> Vec<&str> {
    decoded.report.pipelines.iter().map(|totals| totals.pipeline.id.as_str()).collect()
}

fn only(pipelines: &str) -> TotalsOfPipeline {
    let mut decoded = heartbeat(pipelines);
    assert_eq!(decoded.refusals.count, 0, "{:?}", decoded.refusals.listed);
    decoded.report.pipelines.remove(0)
}

#[test]
fn heartbeat_of_the_go_agent_is_read_with_its_zeros() {
    let body = br#"{"pipelines":[{"pipelineId":"orders","version":3,"status":"RUNNING","pid":41,"uptimeSeconds":60,
        "eventsIn":10,"componentMetrics":[
          {"componentId":"in","componentKind":"source","receivedEvents":10,"sentEvents":10,"latencyMeanSeconds":0.5}],
        "recentLogs":["x"],"configChecksum":"c0","novelty":1}],
        "hostMetrics":{"memoryTotalBytes":1024.0,"loadAvg1":0.5,"cpuSecondsTotal":7},
        "agentVersion":"1.9.2","vectorVersion":"vector 0.54.0","deploymentMode":"DOCKER","runningAs":"root",
        "labels":{"site":"lab"},
        "agentHealth":{"pollErrorsTotal":1,"heartbeatErrorsTotal":2,"pushReconnectsTotal":4,"uptimeSeconds":9}}"#;
    let decoded = decode_heartbeat(body).unwrap();
    assert_eq!(decoded.refusals.count, 0);
    let report = &decoded.report;
    let totals = &report.pipelines[0];
    let pipeline = &totals.pipeline;
    assert_eq!((pipeline.version, pipeline.pid, totals.uptime_seconds), (Some(3), Some(41), Some(60)));
    let sample = pipeline.sample.unwrap();
    assert_eq!((sample.events_in, sample.events_out, sample.errors, sample.utilization), (10, 0, 0, None));
    let component = &pipeline.components[0];
    assert_eq!((component.kind, component.latency_ms), (ComponentKind::Source, Some(500.0)));
    assert!(pipeline.logs.is_empty(), "they come through the other route");
    let host = report.host.unwrap();
    assert_eq!((host.memory_total_bytes, host.load_avg_1, host.net_rx_bytes), (Some(1024), Some(0.5), None));
    let health = report.health.as_ref().unwrap();
    assert_eq!((health.send_errors, health.reconnects, health.uptime_seconds), (3, 4, 9));
    let agent = report.agent.as_ref().unwrap();
    assert_eq!(agent.engines.as_deref(), Some(&["vector".to_owned()][..]));
    assert_eq!(agent.labels.as_ref().unwrap()["site"], "lab");
    assert!(report.complete && totals.components_complete);
}

#[test]
fn pipeline_has_a_sample_only_when_its_scrape_brought_something() {
    let running =
        |rest: &str| only(&format!(r#"{{"pipelineId":"a","version":1,"status":"RUNNING","pid":1{rest}}}"#)).pipeline;
    let failed = running("");
    assert!(failed.sample.is_none() && failed.scrape_error.is_some());
    assert!(running(r#","componentMetrics":[],"utilization":0"#).sample.is_none());
    assert!(running(r#","errorsTotal":1"#).sample.is_some());
    assert!(
        running(
            r#","componentMetrics":[{"componentId":"in","componentKind":"source","receivedEvents":0,"sentEvents":0}]"#
        )
        .sample
        .is_some()
    );
    let just_started = only(r#"{"pipelineId":"a","version":1,"status":"STARTING","pid":1}"#);
    assert_eq!(just_started.uptime_seconds, Some(0), "zero is left out");
    let crashed = only(r#"{"pipelineId":"a","version":1,"status":"CRASHED","pid":1,"uptimeSeconds":9}"#);
    assert_eq!((crashed.pipeline.pid, crashed.uptime_seconds), (None, None));
    let crashed = crashed.pipeline;
    assert!(crashed.sample.is_none() && crashed.scrape_error.is_none(), "no process, no gap");
}

#[test]
fn status_is_known_or_kept_as_text() {
    let pipeline = |status: &str| {
        only(&format!(r#"{{"pipelineId":"a","version":1,"status":"{status}","recentLogs":["one","two",""]}}"#)).pipeline
    };
    let looping = pipeline("CRASH_LOOP");
    assert_eq!(
        (looping.status, looping.status_text, looping.reason.as_str()),
        (PipelineStatus::CrashLoop, None, "two")
    );
    let paused = pipeline("PAUSED");
    assert_eq!(
        (paused.status, paused.status_text.as_deref(), paused.reason.as_str()),
        (PipelineStatus::Unknown, Some("PAUSED"), "")
    );
}

#[test]
fn bad_pipeline_is_refused_alone() {
    let decoded = heartbeat(
        r#"{"pipelineId":"a","version":1,"status":"RUNNING"},{"pipelineId":"b","version":"x","status":"RUNNING"},7,
           {"pipelineId":"","version":1,"status":"RUNNING"},{"pipelineId":"a","version":2,"status":"RUNNING"},
           {"pipelineId":"d","version":1,"status":"RUNNING","eventsIn":-1},{"pipelineId":"e","version":1,"status":"STOPPED"}"#,
    );
    assert_eq!(ids(&decoded), ["a", "e"]);
    let refused: Vec<_> =
        decoded.refusals.listed.iter().map(|refused| (refused.pipeline_id.as_deref(), refused.code)).collect();
    use RefusalCode::{DuplicateId, InvalidId, InvalidItem, NegativeCounter};
    assert_eq!(
        refused,
        [
            (Some("b"), InvalidItem),
            (None, InvalidItem),
            (Some(""), InvalidId),
            (Some("a"), DuplicateId),
            (Some("d"), NegativeCounter)
        ]
    );
    assert!(!decoded.report.complete, "what was refused has not stopped");
}

#[test]
fn bad_component_is_refused_alone() {
    let pipeline = |bad: &str| {
        heartbeat(&format!(
            r#"{{"pipelineId":"a","version":1,"status":"RUNNING","eventsIn":5,"componentMetrics":[
               {{"componentId":"in","componentKind":"source","receivedEvents":5,"sentEvents":5}},{bad}]}}"#
        ))
    };
    for (bad, component, code) in [
        (r#"{"componentId":"out","componentKind":"sink","receivedEvents":"5"}"#, Some("out"), RefusalCode::InvalidItem),
        ("null", None, RefusalCode::InvalidItem),
        (r#"{"componentId":"out","componentKind":"sink","errorsTotal":-1}"#, Some("out"), RefusalCode::NegativeCounter),
        (r#"{"componentId":"in","componentKind":"sink"}"#, Some("in"), RefusalCode::DuplicateId),
    ] {
        let decoded = pipeline(bad);
        let refused = &decoded.refusals.listed[0];
        assert_eq!(
            (refused.pipeline_id.as_deref(), refused.component_id.as_deref(), refused.code),
            (Some("a"), component, code)
        );
        let totals = &decoded.report.pipelines[0];
        assert_eq!((totals.pipeline.components.len(), totals.pipeline.sample.unwrap().events_in), (1, 5));
        assert!(!totals.components_complete && decoded.report.complete);
    }
}

#[test]
fn bad_part_is_refused_alone() {
    let decoded = decode_heartbeat(
        br#"{"pipelines":[{"pipelineId":"a","version":1,"status":"RUNNING"}],"hostMetrics":7,"labels":[1],
            "agentVersion":{},"runningAs":"root","agentHealth":"x"}"#,
    )
    .unwrap();
    assert_eq!(ids(&decoded), ["a"]);
    let agent = decoded.report.agent.unwrap();
    assert_eq!((agent.running_as.as_deref(), agent.version, agent.labels), (Some("root"), None, None));
    let details: Vec<_> =
        decoded.refusals.listed.iter().map(|refused| refused.detail.split(':').next().unwrap()).collect();
    assert_eq!(details, ["hostMetrics", "agentVersion", "labels", "agentHealth"]);
}

#[test]
fn samples_of_older_agents_stay_as_they_came() {
    let results = r#"[{"requestId":"r","componentKey":"in","events":[{"a":1}]}]"#;
    for agent_version in [r#""1.0""#, "7"] {
        let body = format!(r#"{{"pipelines":[],"agentVersion":{agent_version},"sampleResults":{results}}}"#);
        let decoded = decode_heartbeat(body.as_bytes()).unwrap();
        assert_eq!(decoded.sample_results.unwrap().get(), results);
    }
}

#[test]
fn list_without_items_is_null_in_go() {
    let decoded = decode_heartbeat(br#"{"pipelines":null}"#).unwrap();
    assert!(decoded.report.pipelines.is_empty() && decoded.report.complete && decoded.refusals.count == 0);
}

#[test]
fn bodies_have_bounds() {
    let many: Vec<_> =
        (0..10_000).map(|i| format!(r#"{{"pipelineId":"p{i}","version":1,"status":"RUNNING"}}"#)).collect();
    let decoded = heartbeat(&many.join(","));
    assert_eq!(decoded.report.pipelines.len(), MAX_PIPELINES_PER_REPORT);
    assert_eq!((decoded.refusals.count, decoded.refusals.listed.len()), (9_000, MAX_REFUSED_LISTED));
    let components = vec!["1"; 3_000].join(",");
    let body = format!(
        r#"{{"pipelines":[{{"pipelineId":"a","version":1,"status":"RUNNING","componentMetrics":[{components}]}}]}}"#
    );
    assert!(matches!(decode_heartbeat(body.as_bytes()), Err(DecodeError::TooManyUnreadable)));
    for malformed in [&b"{"[..], b"[]", b"7", br#"{"pipelines":7}"#, b"{}"] {
        assert!(matches!(decode_heartbeat(malformed), Err(DecodeError::Malformed(_))));
    }
}

#[test]
fn lines_have_the_time_of_their_arrival_and_their_level() {
    let body = br#"[{"pipelineId":"a","lines":["2026-11-30T10:00:00Z  WARN vector: slow","plain\u0000"]},
        {"pipelineId":"","lines":["x"]},{"pipelineId":"b","lines":["x",7]},{"pipelineId":"c","lines":null},5]"#;
    let decoded = decode_logs(body, 99).unwrap();
    let lines: Vec<_> = decoded.lines.iter().map(|lines| (lines.pipeline.as_str(), lines.lines.len())).collect();
    assert_eq!(lines, [("a", 2), ("b", 1), ("c", 0)]);
    let read = &decoded.lines[0].lines;
    assert_eq!((read[0].at, read[0].level), (99, Some(LogLevel::Warn)));
    assert_eq!((read[1].line.as_str(), read[1].level), ("plain\u{FFFD}", None));
    let codes: Vec<_> = decoded.refusals.listed.iter().map(|refused| refused.code).collect();
    assert_eq!(codes, [RefusalCode::InvalidId, RefusalCode::InvalidItem, RefusalCode::InvalidItem]);
    assert!(matches!(decode_logs(br#"{"pipelineId":"a","lines":[]}"#, 0), Err(DecodeError::Malformed(_))));
}

#[test]
fn lines_beyond_the_bound_are_dropped_and_counted() {
    let lines = vec![r#""x""#; MAX_LOG_LINES_PER_REPORT + 10].join(",");
    let body = format!(r#"[{{"pipelineId":"a","lines":[{lines}]}},{{"pipelineId":"b","lines":["y"]}}]"#);
    let decoded = decode_logs(body.as_bytes(), 0).unwrap();
    let counts: Vec<_> = decoded.lines.iter().map(|lines| (lines.lines.len(), lines.dropped)).collect();
    assert_eq!(counts, [(MAX_LOG_LINES_PER_REPORT, 10), (0, 1)]);
    assert_eq!(decoded.refusals.count, 2);
}
