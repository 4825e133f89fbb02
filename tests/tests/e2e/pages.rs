//! Pages at a metrics address: incomplete pages, pages of another program, compressed pages, and the
//! engine's own monitoring.

use std::io::Write;

use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::ports::free_address;
use systole_tests::harness::{AgentPipeline, ApiClient, SOON, StubVector, TestAgent, TestCollector, eventually_true};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PIPELINE: &str = "orders";

/// A server that answers every request with the same body.
async fn page(headers: &str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("it is bound"));
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

fn at(url: String, settings: Vec<(&'static str, serde_json::Value)>) -> AgentPipeline {
    AgentPipeline { id: PIPELINE.to_owned(), name: None, command: None, metrics_url: Some(url), settings }
}

async fn state(viewer: &ApiClient) -> serde_json::Value {
    let path = format!("/api/v1/pipelines/{PIPELINE}");
    if viewer.get(&path).await.status != 200 {
        return serde_json::Value::Null;
    }
    viewer.get_json(&path).await["nodes"][0].clone()
}

/// What the pipeline's state says of a page, until it has these words.
async fn reason_with(headers: &str, body: &[u8], mapping: &str, words: &[&str]) {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let url = page(headers, body.to_vec()).await;
    let _agent = TestAgent::start(&collector, None, &[at(url, vec![("metrics", mapping.into())])]).await;
    let mut last = serde_json::Value::Null;
    eventually_true(&format!("a reason with {words:?}"), SOON, async || {
        last = state(&viewer).await;
        let reason = last["reason"].as_str().unwrap_or_default();
        last["status"] != "RUNNING" && words.iter().all(|word| reason.contains(word))
    })
    .await;
    assert_eq!(collector.samples(PIPELINE).await, 0, "no zero is made up");
}

#[tokio::test]
async fn a_page_of_another_namespace_is_a_gap_that_names_what_was_expected() {
    let body = b"shop_component_sent_events_total{component_id=\"out\",component_kind=\"sink\"} 7\nprocess_start_time_seconds 1\n";
    reason_with("", body, "vector", &["component_received_events_total", "vector_"]).await;
}

#[tokio::test]
async fn a_page_to_log_in_is_a_gap_that_says_so() {
    let body = b"<html><body>Please log in</body></html>\n";
    reason_with("content-type: text/html\r\n", body, "otelcol", &["web page", "receiver_accepted_spans"]).await;
}

#[tokio::test]
async fn a_page_in_an_unknown_compression_is_a_gap_that_names_it() {
    reason_with("content-encoding: br\r\n", b"\x0b\x02\x80", "vector", &["`br`"]).await;
}

#[tokio::test]
async fn a_gzip_page_that_was_not_asked_for_is_read() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"component_sent_events_total{component_id=\"out\",component_kind=\"sink\"} 7\n").unwrap();
    let url = page("content-encoding: gzip\r\n", encoder.finish().unwrap()).await;
    let _agent = TestAgent::start(&collector, None, &[at(url, vec![])]).await;
    eventually_true("the page is read", SOON, async || state(&viewer).await["status"] == "RUNNING").await;
}

#[tokio::test]
async fn a_series_that_misses_one_scrape_counts_only_what_is_new() {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("burst?events=7000").await;
    stub.pause_and_let_scrape().await;
    let before = stub.life().scrapes;
    stub.control("miss-series?component=out&metric=sent_events").await;
    stub.control("burst?events=450").await;
    eventually_true("it was missed and is back", SOON, async || stub.life().scrapes >= before + 2).await;
    let expected = stub.totals().total;
    assert_eq!((expected.events_in, expected.events_out), (7_450, 7_450));
    eventually_true("everything is in the minutes", SOON, async || {
        let sums = collector.minute_sums(PIPELINE).await;
        assert!(sums.events_out <= 7_450, "counted again: {sums:?}");
        sums == expected
    })
    .await;
}

/// Events in and out of a pipeline that exports its own metrics, and which components it shows.
async fn with_monitoring(settings: Vec<(&'static str, serde_json::Value)>) -> (u64, u64) {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused", "--internal-metrics"]);
    let mut pipeline = AgentPipeline::supervised(PIPELINE, &stub);
    pipeline.settings.extend(settings);
    let _agent = TestAgent::start(&collector, None, &[pipeline]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    stub.control("burst?events=1500").await;
    stub.pause_and_let_scrape().await;
    eventually_true("everything is in the minutes", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in >= 1_500
    })
    .await;
    let viewer = collector.viewer().await;
    let (hour, now) = (3_600_000, systole_tests::clock::now_ms());
    let range = format!("from={}&to={}&step=minute", now - hour, now + hour);
    let path = format!("/api/v1/pipelines/{PIPELINE}/components/minutes?{range}");
    eventually_true("the monitoring stays visible", SOON, async || {
        let answer = viewer.get(&path).await;
        let text = String::from_utf8_lossy(&answer.body);
        text.contains("own_metrics") && text.contains("prometheus")
    })
    .await;
    let sums = collector.minute_sums(PIPELINE).await;
    (sums.events_in, sums.events_out)
}

#[tokio::test]
async fn own_metrics_of_a_vector_do_not_count_in_the_pipelines_totals() {
    assert_eq!(with_monitoring(vec![]).await, (1_500, 1_500));
}

#[tokio::test]
async fn own_metrics_of_a_vector_count_where_the_pipeline_says_so() {
    let (events_in, events_out) = with_monitoring(vec![("count_internal", true.into())]).await;
    assert!(events_in > 1_500 && events_out > 1_500, "{events_in} in, {events_out} out");
}

#[tokio::test]
async fn a_proxy_in_front_of_the_collector_is_named() {
    let collector = TestCollector::start().await;
    let proxy = format!("http://{}", free_address());
    let setup = AgentSetup { variables: vec![("HTTP_PROXY", proxy.clone())], ..AgentSetup::default() };
    let agent = TestAgent::start_with(&collector, setup, &[]).await;
    eventually_true("the status names the proxy", SOON, async || {
        let mut command = tokio::process::Command::new(binary("systole-agent"));
        let output =
            command.args(["status", "--json", "--data-dir"]).arg(agent.data_dir()).output().await.expect("it starts");
        String::from_utf8_lossy(&output.stdout).contains(&proxy)
    })
    .await;
}
