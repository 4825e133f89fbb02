//! The stub of Vector behaves like Vector where the other tests rely on it.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::ports::free_address;
use systole_tests::harness::process::Process;
use systole_tests::harness::{ApiClient, SOON, StubVector, eventually, eventually_true};
use systole_tests::stub::totals::Totals;
use tokio::process::Command;

async fn output(args: &[&str]) -> Output {
    Command::new(binary("stub-vector")).args(args).output().await.expect("the stub starts")
}

#[tokio::test]
async fn stub_prints_vectors_version_and_validates() {
    let version = output(&["--version"]).await;
    assert_eq!(version.stdout, b"vector 0.58.0 (x86_64-unknown-linux-gnu stub)\n");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good.yaml", "sources: {}\n");
    let bad = file("bad.yaml", "sources: {}\n# stub: invalid\n");
    assert_eq!(output(&["validate", "--no-environment", &good]).await.status.code(), Some(0));
    assert_eq!(output(&["validate", "--no-environment", &bad]).await.status.code(), Some(78));
    assert_eq!(output(&["validate", "missing.yaml"]).await.status.code(), Some(78));
    assert_eq!(output(&["--config", &bad]).await.status.code(), Some(78), "it does not start with it either");
}

#[tokio::test]
async fn stub_reads_its_port_from_the_sidecar() {
    let directory = tempfile::tempdir().unwrap();
    let (api, metrics) = (free_address(), free_address());
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let totals = directory.path().join("totals.json");
    let config =
        write("orders.yaml", format!("sources: {{}}\n# stub: totals={}\n# stub: rate=1000\n", totals.display()));
    let sidecar = write(
        "orders.yaml.vf-metrics.yaml",
        format!(
            "api:\n  enabled: true\n  address: {api}\nsinks:\n  vf_metrics_exporter:\n    type: prometheus_exporter\n    \
             inputs: [vf_internal_metrics]\n    address: {metrics}\n"
        ),
    );
    let log = directory.path().join("log");
    let mut command = Command::new(binary("stub-vector"));
    let mut stub = Process::start("stub", command.arg("--config").arg(config).arg("--config").arg(sidecar), &log);
    let listening = async || Totals::read(&totals).ok()??.current()?.address;
    assert_eq!(eventually("the stub listens", SOON, listening).await, metrics);
    let page = ApiClient::new(&format!("http://{metrics}")).get("/metrics").await;
    assert_eq!(page.status, 200);
    stub.signal(Signal::SIGTERM);
    assert_eq!(stub.wait(SOON).await.code(), Some(0));
    assert!(stub.output().contains("Vector has stopped."));
}

#[tokio::test]
async fn stub_exposes_its_totals() {
    let directory = tempfile::tempdir().unwrap();
    let mut stub = start(directory.path(), &["--paused", "--errors-every", "10"]).await;
    stub.control("burst?events=1000").await;
    let page = String::from_utf8(metrics(&stub).await).unwrap();
    let sum = |name: &str, component: &str| -> u64 {
        let lines = page.lines().filter(|line| line.starts_with(&format!("vector_component_{name}_total{{")));
        let own = lines.filter(|line| line.contains(&format!("component_id=\"{component}\"")));
        own.map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    let life = stub.life();
    assert_eq!(life.exposed, life.total);
    assert_eq!((sum("received_events", "demo_in"), sum("errors", "shape")), (1_000, 100));
    for (id, counts) in &life.components {
        assert_eq!(sum("received_events", id), counts.received_events, "{id}");
        assert_eq!(sum("sent_events", id), counts.sent_events, "{id}");
        assert_eq!(sum("received_bytes", id), counts.received_bytes, "{id}");
        assert_eq!(sum("sent_bytes", id), counts.sent_bytes, "{id}");
    }
    stub.control("crash?code=7").await;
    assert_eq!(stub.exit_code(SOON).await, Some(7));
}

#[tokio::test]
async fn stub_can_hang_and_ignore_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let mut stub = start(directory.path(), &[]).await;
    stub.control("hang").await;
    let client = ApiClient::new(stub.metrics_url().trim_end_matches("/metrics"));
    let request = client.request(reqwest::Method::GET, "/metrics").timeout(Duration::from_millis(300));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    stub.control("unhang").await;
    let scrapes = stub.life().scrapes;
    metrics(&stub).await;
    assert_eq!(stub.life().scrapes, scrapes + 1);

    stub.control("ignore-sigterm").await;
    stub.signal(Signal::SIGTERM);
    let before = stub.life().total.events_in;
    eventually_true("it counts on", SOON, async || stub.life().total.events_in > before + 50).await;
    stub.control("heed-sigterm").await;
    stub.signal(Signal::SIGTERM);
    assert_eq!(stub.exit_code(SOON).await, Some(0));
}

async fn start(directory: &Path, flags: &[&str]) -> StubVector {
    let mut stub = StubVector::new(directory, "stub", flags);
    stub.start().await;
    stub
}

async fn metrics(stub: &StubVector) -> Vec<u8> {
    ApiClient::new(stub.metrics_url().trim_end_matches("/metrics")).get("/metrics").await.body
}
