//! What is shipped for Prometheus and Grafana, with a real Prometheus.

use std::path::{Path, PathBuf};

use serde_json::Value;
use systole_shared::Counter;
use systole_tests::harness::prometheus::{Prometheus, promtool};
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{NodeClient, SOON, TestCollector, eventually_true};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file).canonicalize().unwrap()
}

#[tokio::test]
async fn shipped_rules_pass_their_tests() {
    let rules = deploy("prometheus/systole.rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "").await.unwrap();
    let tests = deploy("prometheus/systole.rules.test.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "").await.unwrap();
}

#[tokio::test]
async fn prometheus_reads_the_fleet_and_every_panel_of_the_dashboard_has_data() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let mut node = NodeClient::enroll(&collector, None, "edge \"1\"").await;
    let mut report = async || {
        let mut pipeline = running("orders", distinct_counts(1));
        for component in &mut pipeline.components {
            component.buffer_events = Some(Counter::new(5));
            component.buffer_max_events = Some(Counter::new(10));
        }
        node.report(vec![pipeline]).await;
    };
    report().await;
    let viewer = collector.viewer().await;
    let plain = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
    assert!(!plain.contains("systole_node_up"), "the fleet is only there when it is asked for");
    let page = String::from_utf8(viewer.get("/metrics?fleet=1").await.body).unwrap();
    promtool(&["check", "metrics"], &page).await.unwrap();
    let counts = distinct_counts(1);
    for line in [
        r#"systole_node_up{environment="default",node="edge \"1\"",node_id=""#.to_owned(),
        format!(r#"pipeline="orders",direction="in"}} {}"#, counts.events_in),
        format!(
            r#"systole_pipeline_errors_total{{environment="default",node="edge \"1\"",node_id="{}",pipeline="orders"}} {}"#,
            node_id(&viewer).await,
            counts.errors
        ),
        "systole_fleet_series_left_out 0".to_owned(),
    ] {
        assert!(page.contains(&line), "{line} is not in {page}");
    }
    viewer.get("/metrics?fleet=2").await.problem(400);
    viewer.get("/metrics?fleat=1").await.problem(400);

    let scrape = collector.create_token("scrape", None).await;
    let rules = deploy("prometheus/systole.rules.yml");
    let prometheus = Prometheus::start(collector.address(), scrape.token.reveal(), &rules).await;
    let dashboard: Value = serde_json::from_slice(&std::fs::read(deploy("grafana/systole.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let query =
                target["expr"].as_str().unwrap().replace("$environment", ".*").replace("$__rate_interval", "1m");
            eventually_true(&format!("{} has data: {query}", panel["title"]), SOON, async || {
                report().await;
                !prometheus.query(&query).await.is_empty()
            })
            .await;
        }
    }
    let ratio = "systole:pipeline_error_ratio:rate5m";
    eventually_true(ratio, SOON, async || {
        report().await;
        !prometheus.query(ratio).await.is_empty()
    })
    .await;
}

async fn node_id(viewer: &systole_tests::harness::ApiClient) -> String {
    viewer.list("/api/v1/nodes").await[0]["id"].as_str().unwrap().to_owned()
}
