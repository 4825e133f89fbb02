//! Tests of what a request becomes.

use systole_shared::ack::MAX_REFUSED_LISTED;
use systole_shared::limits::{MAX_PIPELINES_PER_REPORT, MAX_SHORT_TEXT_BYTES};
use systole_shared::{PipelineStatus, RefusalCode};

use super::*;

fn body(pipelines: &str) -> Vec<u8> {
    format!(
        r#"{{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,
            "reports":[{{"seq":1,"start":0,"end":5000,"pipelines":[{pipelines}]}}]}}"#
    )
    .into_bytes()
}

fn ids(decoded: &Decoded) -> Vec<&str> {
    decoded.reports[0].pipelines.iter().map(|pipeline| pipeline.id.as_str()).collect()
}

#[test]
fn pipeline_of_wrong_type_is_refused_alone() {
    let decoded = decode(&body(
        r#"{"id":"a","status":"RUNNING"},{"id":"b","status":"RUNNING","restarts":"x"},{"id":"c","status":"RUNNING"}"#,
    ))
    .unwrap();
    assert_eq!(ids(&decoded), ["a", "c"]);
    let refused = &decoded.refusals.listed[0];
    assert_eq!(refused.pipeline_id.as_deref(), Some("b"));
    assert_eq!(refused.code, RefusalCode::InvalidItem);
    assert!(refused.detail.starts_with("restarts: "), "{}", refused.detail);
    assert!(!decoded.reports[0].complete, "an incomplete report must not make its pipelines vanish");
}

#[test]
fn counters_out_of_range_cost_their_item_only() {
    let sample = |value: &str| format!(r#"{{"eventsIn":{value},"eventsOut":1}}"#);
    let decoded = decode(&body(&format!(
        r#"{{"id":"a","status":"RUNNING","sample":{}}},{{"id":"b","status":"RUNNING","sample":{}}},
           {{"id":"c","status":"RUNNING","sample":{},"components":[{{"id":"x","kind":"sink","errors":-1}}]}}"#,
        sample("-5"),
        sample("9223372036854775808"),
        sample("9223372036854775807"),
    )))
    .unwrap();
    assert_eq!(ids(&decoded), ["c"]);
    let codes: Vec<_> = decoded.refusals.listed.iter().map(|refused| refused.code).collect();
    assert_eq!(codes, [RefusalCode::NegativeCounter, RefusalCode::CounterTooLarge, RefusalCode::NegativeCounter]);
    assert_eq!(decoded.refusals.listed[2].component_id.as_deref(), Some("x"));
}

#[test]
fn pipelines_beyond_the_limit_are_refused() {
    let many: Vec<_> = (0..10_000).map(|i| format!(r#"{{"id":"p{i}","status":"RUNNING"}}"#)).collect();
    let decoded = decode(&body(&many.join(","))).unwrap();
    assert_eq!(decoded.reports[0].pipelines.len(), MAX_PIPELINES_PER_REPORT);
    assert_eq!(decoded.refusals.count, 9_000);
    assert_eq!(decoded.refusals.listed.len(), MAX_REFUSED_LISTED);
}

#[test]
fn millions_of_items_that_are_no_pipelines_are_counted_and_few_are_read() {
    let decoded = decode(&body(&format!(r#"{{"id":"a","status":"RUNNING"}},{}1"#, "1,".repeat(2_999_998)))).unwrap();
    assert_eq!(ids(&decoded), ["a"]);
    assert_eq!(decoded.refusals.count, 2_999_999);
    assert_eq!(decoded.refusals.listed.len(), MAX_REFUSED_LISTED);
    assert!(!decoded.reports[0].complete);
}

#[test]
fn many_reports_of_unreadable_items_are_refused_whole() {
    let bad = vec!["1"; MAX_PIPELINES_PER_REPORT].join(",");
    let reports: Vec<_> =
        (1..=3).map(|seq| format!(r#"{{"seq":{seq},"start":0,"end":1,"pipelines":[{bad}]}}"#)).collect();
    let boot = "01890a5d-ac96-774b-bcce-b302099a8057";
    let request = format!(r#"{{"bootId":"{boot}","sentAt":1,"reports":[{}]}}"#, reports.join(","));
    assert!(matches!(decode(request.as_bytes()), Err(DecodeError::TooManyUnreadable)));
}

#[test]
fn components_beyond_the_limit_are_counted_and_the_first_are_listed() {
    let components = vec![r#"{"id":"c","kind":"sink"}"#; 100_000].join(",");
    let pipeline = format!(r#"{{"id":"a","status":"RUNNING","components":[{components}]}}"#);
    let decoded = decode(&body(&pipeline)).unwrap();
    assert_eq!(decoded.reports[0].pipelines[0].components.len(), 1);
    assert_eq!((decoded.refusals.count, decoded.refusals.listed.len()), (99_999, MAX_REFUSED_LISTED));
}

#[test]
fn nul_is_refused_in_ids_and_replaced_in_text() {
    let decoded = decode(&body(
        r#"{"id":"a\u0000","status":"RUNNING"},
           {"id":"b","status":"RUNNING","reason":"x\u0000y","logs":[{"at":1,"stream":"stdout","line":"n\u0000l"}]}"#,
    ))
    .unwrap();
    assert_eq!(ids(&decoded), ["b"]);
    assert_eq!(decoded.refusals.listed[0].code, RefusalCode::InvalidId);
    let pipeline = &decoded.reports[0].pipelines[0];
    assert_eq!((pipeline.reason.as_str(), pipeline.logs[0].line.as_str()), ("x\u{FFFD}y", "n\u{FFFD}l"));
}

#[test]
fn error_detail_has_bounded_length() {
    let decoded = decode(&body(&format!(r#"{{"id":"a","status":"RUNNING","restarts":"{}"}}"#, "x".repeat(100_000))));
    assert!(decoded.unwrap().refusals.listed[0].detail.len() <= MAX_SHORT_TEXT_BYTES);
}

#[test]
fn unknown_status_keeps_its_text() {
    let decoded = decode(&body(r#"{"id":"a","status":"PAUSED","novelty":1}"#)).unwrap();
    let pipeline = &decoded.reports[0].pipelines[0];
    assert_eq!((pipeline.status, pipeline.status_text.as_deref()), (PipelineStatus::Unknown, Some("PAUSED")));
}

#[test]
fn malformed_request_names_the_place() {
    let malformed = |body: &[u8]| match decode(body) {
        Err(DecodeError::Malformed(detail)) => detail,
        other => panic!("{other:?}"),
    };
    assert!(malformed(b"{").contains("EOF"));
    assert!(malformed(br#"{"bootId":"x","sentAt":1,"reports":[]}"#).starts_with("bootId: "));
    let wrong = br#"{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,"reports":[{"seq":"1"}]}"#;
    assert!(malformed(wrong).starts_with("reports[0].seq: "), "{}", malformed(wrong));
}

#[test]
fn reports_must_be_ordered_and_bounded() {
    let request = |seqs: Vec<u64>| {
        let reports: Vec<_> = seqs.iter().map(|seq| format!(r#"{{"seq":{seq},"start":0,"end":1}}"#)).collect();
        format!(r#"{{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,"reports":[{}]}}"#, reports.join(","))
    };
    assert!(matches!(decode(request(vec![2, 1]).as_bytes()), Err(DecodeError::SeqOutOfOrder { index: 1, seq: 1 })));
    assert!(matches!(decode(request(vec![0]).as_bytes()), Err(DecodeError::SeqOutOfOrder { .. })));
    assert!(matches!(decode(request((1..=101).collect()).as_bytes()), Err(DecodeError::TooManyReports(101))));
    assert_eq!(decode(request((1..=100).collect()).as_bytes()).unwrap().reports.len(), 100);
}
