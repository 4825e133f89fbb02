//! Bad input costs itself and nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use systole_shared::limits::{MAX_BODY_BYTES, MAX_PIPELINES_PER_REPORT, MAX_REPORTS_PER_REQUEST};
use systole_shared::{RefusalCode, ReportAck};
use systole_tests::clock;
use systole_tests::harness::collector::counts;
use systole_tests::harness::database::Database;
use systole_tests::harness::node::{Encoding, to_json};
use systole_tests::harness::reports::{distinct_counts, pipeline, report, running, with_lines};
use systole_tests::harness::{Answer, Feed, NodeClient, SOON, TestCollector};
use systole_tests::stub::totals::Counts;

/// The database answers a writer that waits for a lock after 10 s.
const BEFORE_THE_DATABASE: Duration = Duration::from_secs(8);

/// A collector with a node that has reported once.
async fn setup() -> (TestCollector, NodeClient) {
    let collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("good", distinct_counts(1))]).await;
    (collector, node)
}

/// A valid request as JSON, to be changed.
fn good(node: &NodeClient) -> Value {
    let pipelines = vec![running("good", distinct_counts(1)), running("victim", distinct_counts(1))];
    let request = node.request_of(vec![report(node.next_seq, clock::now_ms(), pipelines)]);
    serde_json::to_value(request).expect("a request is JSON")
}

/// The refusal of a whole request: a clear 4xx that is not about identity or the pace.
fn assert_refused(name: &str, answer: &Answer) {
    let clear = matches!(answer.status, 400 | 413 | 415 | 422);
    assert!(clear, "{name}: {answer:?}");
    answer.problem(answer.status);
}

#[tokio::test]
async fn unreadable_request_is_refused_whole() {
    // The node does not report meanwhile, and must not become UNREACHABLE: that would be an event.
    let mut collector = TestCollector::start_with(&["--interval", "60s"]).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("good", distinct_counts(1))]).await;
    let before = Database::open(&collector.database()).footprint();
    let spoilt = |path: &str, value: Value| {
        let mut request = good(&node);
        *request.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        request.to_string().into_bytes()
    };
    let without = |name: &str| {
        let mut request = good(&node);
        request.as_object_mut().unwrap().remove(name);
        request.to_string().into_bytes()
    };
    let text = good(&node).to_string();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("no JSON", b"hello".to_vec()),
        ("JSON cut off", text.as_bytes()[..text.len() / 2].to_vec()),
        ("something behind the JSON", format!("{text}x").into_bytes()),
        ("another top level", b"[1,2,3]".to_vec()),
        ("not UTF-8", [b"{\"bootId\":\"\xff\xfe\"".as_slice(), b"}"].concat()),
        ("too deep", b"[".repeat(100_000)),
        ("reports of the wrong type", spoilt("/reports", json!("many"))),
        ("seq of the wrong type", spoilt("/reports/0/seq", json!("first"))),
        ("seq below zero", spoilt("/reports/0/seq", json!(-1))),
        ("a report of the wrong type", spoilt("/reports/0", json!(null))),
        ("a bad bootId", spoilt("/bootId", json!("yesterday"))),
        ("no bootId", without("bootId")),
        ("no reports", without("reports")),
        ("sentAt of the wrong type", spoilt("/sentAt", json!("now"))),
    ];
    for (name, body) in cases {
        assert_refused(name, &node.post_bytes(body.clone(), Encoding::Plain).await);
        assert_refused(name, &node.post_bytes(body, Encoding::Zstd).await);
    }
    assert_eq!(Database::open(&collector.database()).footprint(), before, "nothing was written");
    assert!(collector.is_alive());
    node.report(vec![running("good", distinct_counts(2))]).await;
    assert_eq!(collector.minute_sums("good").await, distinct_counts(3));
}

#[tokio::test]
async fn oversized_and_torn_bodies_are_refused() {
    // The node does not report meanwhile, and must not become UNREACHABLE: that would be an event.
    let mut collector = TestCollector::start_with(&["--interval", "60s"]).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("good", distinct_counts(1))]).await;
    let before = Database::open(&collector.database()).footprint();
    let body = to_json(&good(&node));
    let padded = [b" ".repeat(9 * 1024 * 1024), body.clone()].concat();
    let zeros = vec![0; 256 * 1024 * 1024];
    for (name, body, encoding) in [
        ("9 MiB, plain", padded.clone(), None),
        ("9 MiB, zstd", Encoding::Zstd.pack(&padded), Some("zstd")),
        ("9 MiB, gzip", Encoding::Gzip.pack(&padded), Some("gzip")),
        ("a zstd bomb", Encoding::Zstd.pack(&zeros), Some("zstd")),
        ("a gzip bomb", Encoding::Gzip.pack(&zeros), Some("gzip")),
    ] {
        // The server may close while the body is still on its way; with an answer it is 413.
        match Answer::try_of(node.raw_request(body, encoding)).await {
            Ok(answer) => drop(answer.problem(413)),
            Err(error) => assert_eq!(name, "9 MiB, plain", "{error:?}"),
        }
    }
    let zstd = Encoding::Zstd.pack(&body);
    let gzip = Encoding::Gzip.pack(&body);
    for (name, body, encoding) in [
        ("torn zstd", zstd[..zstd.len() / 2].to_vec(), "zstd"),
        ("torn gzip", gzip[..gzip.len() / 2].to_vec(), "gzip"),
        ("plain, said to be zstd", body.clone(), "zstd"),
        ("gzip, said to be zstd", gzip.clone(), "zstd"),
        ("plain, said to be gzip", body.clone(), "gzip"),
        ("an unknown encoding", body.clone(), "br"),
        ("a nonsensical encoding", body.clone(), "zstd, zstd, zstd"),
    ] {
        assert_refused(name, &node.post_raw(body, Some(encoding)).await);
    }
    assert_eq!(Database::open(&collector.database()).footprint(), before, "nothing was written");
    assert!(collector.is_alive());
    node.report(vec![running("good", distinct_counts(2))]).await;
    assert_eq!(collector.minute_sums("good").await, distinct_counts(3));
}

#[tokio::test]
async fn body_at_the_limit_is_accepted() {
    let (mut collector, mut node) = setup().await;
    let body = to_json(&node.next_request(vec![running("good", distinct_counts(2))]));
    let padded = [b" ".repeat(MAX_BODY_BYTES - body.len()), body].concat();
    for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Zstd] {
        let answer = node.post_bytes(padded.clone(), encoding).await;
        assert_eq!(answer.status, 200, "{encoding:?}: {answer:?}");
    }
    assert_eq!(collector.minute_sums("good").await, distinct_counts(3));
}

#[tokio::test]
async fn waiting_bodies_are_bounded_in_bytes() {
    let (mut collector, node) = setup().await;
    let mut body = to_json(&good(&node));
    body.resize(MAX_BODY_BYTES, b' ');
    let packed = Encoding::Zstd.pack(&body);
    let held = Database::hold_writes(&collector.database());
    // The same report each time: whichever is first counts, the others are duplicates.
    let (answers, mut answered) = tokio::sync::mpsc::channel(12);
    for _ in 0..12 {
        let request = node.raw_request(packed.clone(), Encoding::Zstd.name());
        let answers = answers.clone();
        tokio::spawn(async move { answers.send(Answer::of(request).await).await });
    }
    drop(answers);
    let first = tokio::time::timeout(BEFORE_THE_DATABASE, answered.recv()).await;
    let first = first.expect("the surplus body is refused at once").expect("an answer");
    first.problem(503);
    drop(held);
    let mut taken = 0;
    while let Some(answer) = answered.recv().await {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        taken += usize::from(answer.status == 200);
    }
    assert!(taken > 0, "those that had room are taken");
    assert_eq!(collector.minute_sums("victim").await, distinct_counts(1), "once");
}

#[tokio::test]
async fn request_holds_at_most_100_reports() {
    let (mut collector, node) = setup().await;
    let now = clock::now_ms();
    let request = |count: u64| {
        let one =
            |seq: u64| report(seq, now - 1_000 * (2 + count - seq) as i64, vec![running("good", distinct_counts(1))]);
        to_json(&node.request_of((2..2 + count).map(one).collect()))
    };
    let most = MAX_REPORTS_PER_REQUEST as u64;
    assert_refused("101 reports", &node.post_bytes(request(most + 1), Encoding::Zstd).await);
    assert_eq!(collector.minute_sums("good").await, distinct_counts(1));
    let answer = node.post_bytes(request(most), Encoding::Zstd).await;
    assert_eq!(answer.json::<ReportAck>().durable_seq, most + 1);
    assert_eq!(collector.minute_sums("good").await, distinct_counts(1 + most));
}

#[tokio::test]
async fn invalid_item_is_refused_alone_with_its_reason() {
    let (mut collector, mut node) = setup().await;
    use RefusalCode::*;
    let victim = "/reports/0/pipelines/1";
    let cases: Vec<(&str, Value, RefusalCode)> = vec![
        ("sample/eventsIn", json!(-1), NegativeCounter),
        ("sample/bytesOut", json!(i64::MIN), NegativeCounter),
        ("sample/eventsOut", json!(u64::MAX), CounterTooLarge),
        ("sample/errors", json!(1e30), CounterTooLarge),
        ("components/0/receivedEvents", json!(-5), NegativeCounter),
        ("components/1/sentBytes", json!(9_223_372_036_854_775_808_u64), CounterTooLarge),
        ("id", json!(""), InvalidId),
        ("id", json!("x".repeat(300)), InvalidId),
        ("id", json!("vic\u{0}tim"), InvalidId),
        ("id", json!("vic\ntim"), InvalidId),
        ("components/0/id", json!(""), InvalidId),
        ("id", json!("good"), DuplicateId),
    ];
    let mut taken = 1;
    for (field, value, code) in cases {
        let mut request = good(&node);
        *request.pointer_mut(&format!("{victim}/{field}")).unwrap() = value.clone();
        let answer = node.post_bytes(to_json(&request), Encoding::Zstd).await;
        assert_eq!(answer.status, 200, "{field} = {value}: {answer:?}");
        let ack: ReportAck = answer.json();
        assert_eq!(ack.durable_seq, node.next_seq, "{field} = {value}");
        let codes: Vec<RefusalCode> = ack.refused.iter().map(|refused| refused.code).collect();
        assert_eq!(codes, [code], "{field} = {value}: {answer:?}");
        assert_eq!((ack.refused[0].seq, ack.refused_count), (node.next_seq, 1));
        assert!(!ack.refused[0].detail.is_empty());
        node.next_seq += 1;
        taken += 1;
        assert_eq!(collector.minute_sums("good").await, distinct_counts(taken), "{field} = {value}");
    }
    assert!(collector.is_alive());
}

#[tokio::test]
async fn field_of_wrong_type_never_writes_half_a_report() {
    let (mut collector, mut node) = setup().await;
    let mut taken = 1;
    for (field, value) in [
        ("sample/eventsIn", json!("five")),
        ("sample/eventsIn", json!(1.5)),
        ("sample", json!([])),
        ("status", json!(7)),
        ("status", json!(null)),
        ("id", json!({})),
        ("components", json!("none")),
        ("components/0/kind", json!(3)),
    ] {
        let mut request = good(&node);
        *request.pointer_mut(&format!("/reports/0/pipelines/1/{field}")).unwrap() = value.clone();
        let answer = node.post_bytes(to_json(&request), Encoding::Plain).await;
        if answer.status == 200 {
            let ack: ReportAck = answer.json();
            assert_eq!(ack.refused_count, 1, "{field} = {value}: {answer:?}");
            node.next_seq += 1;
            taken += 1;
        } else {
            assert_refused(field, &answer);
            let problem: Value = answer.json();
            let name = field.rsplit('/').next().unwrap();
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(name)), "{field}: {problem}");
        }
        assert_eq!(collector.minute_sums("good").await, distinct_counts(taken), "{field} = {value}");
    }
    node.report(vec![running("good", distinct_counts(1))]).await;
    assert_eq!(collector.minute_sums("good").await, distinct_counts(taken + 1));
}

#[tokio::test]
async fn unknown_status_keeps_its_text_and_unknown_fields_are_skipped() {
    let (mut collector, mut node) = setup().await;
    let mut request = good(&node);
    for place in [
        "",
        "/reports/0",
        "/reports/0/pipelines/1",
        "/reports/0/pipelines/1/sample",
        "/reports/0/pipelines/1/components/0",
    ] {
        request.pointer_mut(place).unwrap()["novelty"] = json!({"deep": [1, {"x": null}], "text": "\u{1F980}"});
    }
    request["reports"][0]["pipelines"][1]["status"] = json!("PAUSED_BY_MOON");
    let answer = node.post_bytes(to_json(&request), Encoding::Gzip).await;
    assert_eq!(answer.json::<ReportAck>().refused, [], "{answer:?}");
    node.next_seq += 1;
    assert_eq!(collector.minute_sums("victim").await, distinct_counts(1));
    let text = collector.viewer().await.get_json("/api/v1/pipelines/victim").await.to_string();
    assert!(text.contains("\"UNKNOWN\"") && text.contains("PAUSED_BY_MOON"), "{text}");
    node.report(vec![running("victim", distinct_counts(1))]).await;
}

#[tokio::test]
async fn unknown_kind_level_and_stream_are_not_replaced_by_known_ones() {
    let (mut collector, mut node) = setup().await;
    let mut feed = collector.feed("every=0").await;
    let victim = with_lines(running("victim", distinct_counts(1)), clock::now_ms(), ["a line".to_owned()]);
    let mut request = serde_json::to_value(node.next_request(vec![victim])).unwrap();
    let pipeline = &mut request["reports"][0]["pipelines"][0];
    pipeline["logs"][0]["level"] = json!("AUDIT");
    pipeline["logs"][0]["stream"] = json!("journal");
    pipeline["components"][0]["kind"] = json!("router");
    let ack = node.post(&request).await;
    assert_eq!((ack.durable_seq, ack.refused), (2, vec![]), "nothing is lost");

    let viewer = collector.viewer().await;
    let logs = viewer.list("/api/v1/logs?pipeline=victim").await;
    assert_eq!(logs.len(), 1);
    assert_eq!((&logs[0]["level"], &logs[0]["stream"]), (&Value::Null, &"unknown".into()), "{}", logs[0]);
    let above_trace = viewer.list("/api/v1/logs?pipeline=victim&level=trace").await;
    assert_eq!(above_trace, [] as [Value; 0], "a line without a known level matches no level");
    let path = "/api/v1/pipelines/victim/components/minutes?from=0&to=9999999999999&step=minute";
    let components = viewer.list(path).await;
    let kinds: Vec<_> = components.iter().map(|item| (&item["componentId"], &item["kind"])).collect();
    assert_eq!(kinds, [(&json!("in"), &json!("unknown")), (&json!("out"), &json!("sink"))]);
    assert_eq!(components[0]["receivedEvents"], distinct_counts(1).events_in, "its counters are kept");

    let metric = feed.wait_for("the metrics", SOON, |event| event.kind == "metric_update").await;
    assert_eq!(metric.data["components"][0]["kind"], "unknown", "{}", metric.data);
    let entry = feed.wait_for("the line", SOON, |event| event.kind == "log_entry").await;
    let line = &entry.data["entries"][0];
    assert_eq!((&line["level"], &line["stream"]), (&Value::Null, &"unknown".into()), "{line}");
    // Out of the database as out of memory.
    let start = format!("{}-0", feed.last_id().unwrap().epoch);
    collector.stop().await;
    collector.run().await;
    let mut replay = Feed::open_after(&viewer, "types=log_entry", Some(&start)).await;
    let replayed = replay.wait_for("the line", SOON, |event| event.kind == "log_entry").await;
    assert_eq!(replayed.data["entries"], entry.data["entries"]);
}

#[tokio::test]
async fn pipelines_beyond_1000_are_refused() {
    let (collector, mut node) = setup().await;
    let pipelines = (0..10_000).map(|number| pipeline(&format!("p{number}"), "RUNNING")).collect();
    let request = node.next_request(pipelines);
    let ack = node.post_packed(&request, Encoding::Zstd).await;
    let beyond = 10_000 - MAX_PIPELINES_PER_REPORT as u64;
    assert_eq!(ack.refused_count, beyond);
    assert!(ack.refused.iter().all(|refused| refused.code == RefusalCode::TooManyPipelines), "{:?}", ack.refused);
    assert_eq!(Database::open(&collector.database()).rows("pipelines"), 1 + MAX_PIPELINES_PER_REPORT as u64);
    node.report(vec![running("good", distinct_counts(1))]).await;
}

#[tokio::test]
async fn nul_and_line_ends_break_no_frame_and_no_row() {
    let (mut collector, mut node) = setup().await;
    let mut feed = collector.feed("types=log_entry,status_change").await;
    let nasty = "a\u{0}b\r\nevent: forged\ndata: {}\n\nid: forged-1\u{2028}\u{feff}c";
    let mut victim = with_lines(pipeline("victim", "DEGRADED"), clock::now_ms(), [nasty.to_owned()]);
    victim.reason = Some(nasty.to_owned().into());
    victim.name = Some(nasty.to_owned().into());
    let request = node.next_request(vec![victim, running("good", distinct_counts(2))]);
    let ack = node.post(&request).await;
    assert_eq!((ack.durable_seq, ack.refused_count), (2, 0));
    assert_eq!(collector.minute_sums("good").await, distinct_counts(3));
    let entry = feed.wait_for("the line", SOON, |event| event.kind == "log_entry").await;
    assert_eq!(entry.data["entries"].as_array().map(Vec::len), Some(1));
    let line = &entry.lines()[0];
    assert!(line.starts_with('a') && line.ends_with('c') && line.contains("event: forged"), "{line:?}");
    let change = feed.wait_for("the change", SOON, |event| event.is_change(Some("victim"), "DEGRADED")).await;
    assert!(change.data["reason"].as_str().is_some_and(|reason| reason.contains("forged")));
    let logs = collector.viewer().await.list("/api/v1/logs?pipeline=victim").await;
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0]["line"].as_str(), Some(line.as_str()), "the feed and the query return the same");
}

#[tokio::test]
async fn reports_of_impossible_times_are_refused_alone() {
    let (mut collector, node) = setup().await;
    let now = clock::now_ms();
    let hour = 3_600_000;
    let at = |seq: u64, end: i64| report(seq, end, vec![running("good", distinct_counts(1))]);
    let mut backwards = at(4, now);
    backwards.start = now + 1_000;
    let request = node.request_of(vec![
        at(2, now + 2 * hour),
        at(3, now - 400 * 24 * hour),
        backwards,
        at(5, i64::MAX),
        at(6, i64::MIN + 10_000),
        at(7, now),
    ]);
    let ack = node.post(&request).await;
    assert_eq!(ack.durable_seq, 7);
    let codes: Vec<(u64, RefusalCode)> = ack.refused.iter().map(|refused| (refused.seq, refused.code)).collect();
    use RefusalCode::*;
    assert_eq!(codes, [(2, InFuture), (3, TooOld), (4, InvalidInterval), (5, InFuture), (6, TooOld)]);
    assert_eq!(collector.minute_sums("good").await, distinct_counts(2));
}

#[tokio::test]
async fn extreme_times_do_not_stop_the_collector() {
    let (mut collector, mut node) = setup().await;
    let mut taken = 1;
    for extreme in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for place in [
            "/sentAt",
            "/reports/0/start",
            "/reports/0/end",
            "/reports/0/pipelines/1/logs/0/at",
            "/reports/0/pipelines/1/startedAt",
        ] {
            let victim = with_lines(running("victim", distinct_counts(1)), clock::now_ms(), ["a line".to_owned()]);
            let request = node.next_request(vec![running("good", distinct_counts(1)), victim]);
            let mut request = serde_json::to_value(request).unwrap();
            request["reports"][0]["pipelines"][1]["startedAt"] = json!(0);
            *request.pointer_mut(place).unwrap() = json!(extreme);
            let answer = node.post_bytes(to_json(&request), Encoding::Plain).await;
            assert_eq!(answer.status, 200, "{place} = {extreme}: {answer:?}");
            let ack: ReportAck = answer.json();
            assert_eq!(ack.durable_seq, node.next_seq - 1, "{place} = {extreme}");
            // Taken whole or refused whole; an item's own time costs at most the item.
            taken += u64::from(ack.refused.iter().all(|refused| refused.pipeline_id.is_some()));
        }
    }
    node.report(vec![running("good", distinct_counts(1))]).await;
    let sums = collector.minute_sums("good").await;
    assert!(collector.is_alive());
    let older = collector.stop_and_open_database().await.minute_sums("good");
    assert_eq!(older, distinct_counts(taken + 1));
    assert!(sums.events_in <= older.events_in);
}

#[tokio::test]
async fn overflowing_sums_affect_no_other_pipeline() {
    let (mut collector, mut node) = setup().await;
    let most = i64::MAX as u64;
    let huge =
        Counts { events_in: most, events_out: most, errors: most, discarded: most, bytes_in: most, bytes_out: most };
    let mut other = NodeClient::enroll(&collector, None, "n2").await;
    for node in [&mut node, &mut other] {
        for _ in 0..3 {
            let request = node.next_request(vec![running("huge", huge), running("good", distinct_counts(1))]);
            let answer = node.post_bytes(to_json(&request), Encoding::Plain).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json::<ReportAck>().durable_seq, node.next_seq - 1);
        }
    }
    assert_eq!(collector.minute_sums("good").await, distinct_counts(7));
    // Whatever the sum is, it can be asked for, and it did not wrap around.
    let path = "/api/v1/pipelines/huge/minutes?from=0&to=9999999999999&step=minute";
    let items = collector.viewer().await.list(path).await;
    assert!(items.iter().all(|item| counts(item).events_in >= most / 2), "{items:?}");
}

#[tokio::test]
async fn long_lines_are_cut_and_surplus_lines_refused() {
    let (mut collector, mut node) = setup().await;
    let long = "x".repeat(200_000);
    let victim = with_lines(pipeline("long", "RUNNING"), clock::now_ms(), [long]);
    let many = with_lines(pipeline("many", "RUNNING"), clock::now_ms(), (0..6_000).map(|number| number.to_string()));
    let request = node.next_request(vec![victim, many, running("good", distinct_counts(2))]);
    let ack = node.post_packed(&request, Encoding::Zstd).await;
    assert!(ack.refused_count > 0);
    assert!(ack.refused.iter().all(|refused| refused.code == RefusalCode::TooManyLogLines), "{:?}", ack.refused);
    assert_eq!(collector.minute_sums("good").await, distinct_counts(3));
    let viewer = collector.viewer().await;
    let logs = viewer.list("/api/v1/logs?pipeline=long").await;
    let line = logs[0]["line"].as_str().unwrap();
    assert!(line.len() <= 64 * 1024 && line.ends_with(systole_shared::limits::CUT_MARK), "{} bytes", line.len());
}

#[tokio::test]
async fn endless_body_is_answered_413_while_it_arrives() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut collector, mut node) = setup().await;
    let enroll = collector.create_token("enroll", None).await;
    for (path, token) in [("/api/v1/agent/reports", node.token()), ("/api/v1/agent/enroll", enroll.token.reveal())] {
        let address = collector.url().trim_start_matches("http://").to_owned();
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let (mut answers, mut body) = stream.into_split();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        body.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
        let endless = tokio::spawn(async move { while body.write_all(&chunk).await.is_ok() {} });
        let mut answer = [0; 13];
        let read = tokio::time::timeout(SOON, answers.read_exact(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 413 ", "{path}");
        endless.abort();
    }
    assert!(collector.is_alive());
    node.report(vec![running("good", distinct_counts(1))]).await;
}

#[tokio::test]
async fn invalid_enrolments_create_no_invalid_nodes() {
    let mut collector = TestCollector::start().await;
    let token = collector.create_token("enroll", None).await;
    let client = collector.client();
    let post = |body: String| {
        let request = client.request(reqwest::Method::POST, "/api/v1/agent/enroll");
        Answer::of(request.header("content-type", "application/json").body(body))
    };
    let good =
        json!({"token": token.token.reveal(), "hostname": "h", "os": "linux/amd64", "agentVersion": "1", "labels": {}});
    for (field, value) in
        [("token", json!(7)), ("hostname", json!(null)), ("labels", json!("many")), ("labels", json!({"a": 1}))]
    {
        let mut body = good.clone();
        body[field] = value;
        assert_refused(field, &post(body.to_string()).await);
    }
    for body in ["", "{", "[]", "null"] {
        assert_refused(body, &post(body.to_owned()).await);
    }
    assert_eq!(collector.viewer().await.list("/api/v1/nodes").await.len(), 0);
    let mut strange = good;
    strange["hostname"] = json!("h\u{0}\r\n".to_owned() + &"x".repeat(100_000));
    strange["labels"] =
        (0..1_000).map(|number| (format!("l{number}"), json!("v\u{0}"))).collect::<serde_json::Map<_, _>>().into();
    let answer = post(strange.to_string()).await;
    assert!(matches!(answer.status, 200 | 400 | 413 | 422), "{answer:?}");
    for node in collector.viewer().await.list("/api/v1/nodes").await {
        assert!(!node.to_string().contains("\\u0000"), "NUL is kept");
        assert!(node["name"].as_str().unwrap().len() <= 1_024);
    }
    assert!(collector.is_alive());
}
