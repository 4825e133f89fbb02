//! The agent's way to the collector, and what stands on it: proxies, wrong addresses, damaged files.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use systole_tests::harness::binaries::binary;
use systole_tests::harness::database::Database;
use systole_tests::harness::tls::{Authority, TlsFront};
use systole_tests::harness::{
    AgentPipeline, AgentSetup, SOON, StubVector, TestAgent, TestCollector, eventually, eventually_true,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const PIPELINE: &str = "orders";

async fn status_of(agent: &TestAgent) -> Option<Value> {
    let mut command = Command::new(binary("systole-agent"));
    let output = command.args(["status", "--json", "--data-dir"]).arg(agent.data_dir()).output().await.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

async fn error_with(agent: &TestAgent, words: &[&str]) {
    eventually(&format!("the error has {words:?}"), SOON, async || {
        let status = status_of(agent).await?;
        let error = status["health"]["lastSendError"].as_str()?;
        words.iter().all(|word| error.contains(word)).then_some(())
    })
    .await;
}

/// A proxy that answers with its own page a set number of times, and then forwards everything.
async fn proxy_with_pages(upstream: SocketAddr, status: u16, pages: usize) -> (String, watch::Sender<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    let left = watch::Sender::new(pages);
    let pages = left.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut more = pages.subscribe();
            let is_page = pages.send_if_modified(|left| left.checked_sub(1).map(|less| *left = less).is_some());
            tokio::spawn(async move {
                if !is_page {
                    let mut upstream = TcpStream::connect(upstream).await?;
                    // A connection that is open does not get past the pages.
                    return tokio::select! {
                        copied = copy_bidirectional(&mut stream, &mut upstream) => copied.map(drop),
                        _ = more.changed() => Ok(()),
                    };
                }
                let page = "<html><head><title>Not here</title></head></html>";
                let _ = timeout(Duration::from_secs(5), stream.read(&mut [0; 65_536])).await;
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    page.len()
                );
                stream.write_all(format!("{head}{page}").as_bytes()).await
            });
        }
    });
    (url, left)
}

fn address_of(collector: &TestCollector) -> SocketAddr {
    collector.url().trim_start_matches("http://").parse().expect("an address")
}

#[tokio::test]
async fn pages_of_a_proxy_cost_no_report() {
    let is_connected =
        async |agent: &TestAgent| status_of(agent).await.filter(|status| status["collector"]["state"] == "connected");
    for status in [403, 404, 413] {
        let collector = TestCollector::start_with(&["--interval", "200ms"]).await;
        let (url, pages) = proxy_with_pages(address_of(&collector), status, 0).await;
        // All pages are for reports, and none for a question about the protocol.
        let settings = vec![("push", json!(false)), ("protocol", json!("native"))];
        let setup = AgentSetup { url: Some(url), settings, ..AgentSetup::default() };
        let agent = TestAgent::start_with(&collector, setup, &[]).await;
        eventually("connected", SOON, async || is_connected(&agent).await).await;
        pages.send_replace(6);
        eventually_true("all pages were read", SOON, async || *pages.borrow() == 0).await;
        let last = eventually("connected again", SOON, async || is_connected(&agent).await).await;
        assert!(last["health"]["sendErrors"].as_u64() >= Some(6), "{last}");
        assert_eq!(last["health"]["lostReports"], 0, "{status}: {last}");
        assert_eq!(Database::open(&collector.database()).lost_reports(), 0);
    }
}

#[tokio::test]
async fn wrong_address_is_named_in_plain_words() {
    let collector = TestCollector::start().await;
    let authority = Authority::new(collector.directory(), "good");
    let front = TlsFront::start(&collector.url(), &authority.sign("server"), None).await;
    let agent_at = async |url: String| {
        let setup = AgentSetup { url: Some(url), ..AgentSetup::default() };
        TestAgent::start_with(&collector, setup, &[]).await
    };
    let plain_to_tls = agent_at(front.url().replace("https://", "http://")).await;
    error_with(&plain_to_tls, &["write https:// instead of http:// in url"]).await;
    let tls_to_plain = agent_at(collector.url().replace("http://", "https://")).await;
    error_with(&tls_to_plain, &["write http:// instead of https:// in url"]).await;
    let wrong_path = agent_at(format!("{}/systole/v1", collector.url())).await;
    error_with(&wrong_path, &["404", "check the path /systole/v1 of url"]).await;
    let (page, _) = proxy_with_pages(address_of(&collector), 200, usize::MAX).await;
    let website = agent_at(page).await;
    error_with(&website, &["an HTML page, \"Not here\"", "leads to the collector"]).await;
}

fn segments(agent: &TestAgent) -> Vec<PathBuf> {
    let files = std::fs::read_dir(agent.data_dir().join("spool")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "reports"));
    paths.sort();
    paths
}

/// Where the reports in a segment begin.
fn bodies(bytes: &[u8]) -> Vec<usize> {
    let begin = b"{\"seq\":";
    bytes.windows(begin.len()).enumerate().filter(|(_, window)| window == begin).map(|(at, _)| at).collect()
}

/// Events of the pipeline in the report that these bytes begin with.
fn events_in(bytes: &[u8]) -> u64 {
    let body = String::from_utf8_lossy(bytes).into_owned();
    let number = body.split_once("\"eventsIn\":").expect("a report has a sample").1;
    let end = number.find(|letter: char| !letter.is_ascii_digit()).expect("JSON goes on");
    number[..end].parse().expect("a number")
}

#[tokio::test]
async fn flipped_bit_in_the_spool_costs_one_report_which_is_shown_as_a_gap() {
    let mut collector = TestCollector::start_with(&["--interval", "200ms"]).await;
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "50"]);
    stub.start().await;
    let mut agent = TestAgent::start(&collector, None, &[AgentPipeline::watched(PIPELINE, &stub)]).await;
    eventually_true("the first events", SOON, async || collector.minute_sums(PIPELINE).await.events_in > 0).await;
    collector.kill().await;
    let waiting =
        async || segments(&agent).iter().map(|path| bodies(&std::fs::read(path).unwrap()).len()).sum::<usize>();
    eventually_true("reports wait", SOON, async || waiting().await >= 30).await;
    agent.kill().await;

    let path = segments(&agent).into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let places = bodies(&bytes);
    let damaged = places[places.len() / 2];
    let lost = events_in(&bytes[damaged..]);
    bytes[damaged + 40] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    collector.run().await;
    agent.run();
    let shown = stub.pause_and_let_scrape().await.exposed;
    let mut database = Database::open(&collector.database());
    eventually_true("the hole is shown", SOON, async || database.lost_reports() == 1).await;
    let health = eventually("the loss is reported", SOON, async || {
        let nodes = collector.viewer().await.list("/api/v1/nodes").await;
        nodes.into_iter().map(|node| node["health"].clone()).find(|health| health["lostReports"] == 1)
    })
    .await;
    assert_eq!(health["lostReports"], 1);
    let expected = shown.events_in - first_scrape(&stub) - lost;
    eventually_true("all events but those of the damaged report", SOON, async || {
        collector.minute_sums(PIPELINE).await.events_in == expected
    })
    .await;
    assert_eq!(database.lost_reports(), 1);
}

/// The counts of a watched stub before the first scrape.
fn first_scrape(stub: &StubVector) -> u64 {
    stub.totals().exposed.events_in
        - systole_tests::harness::truth::Shown::since_first_scrape_by(stub).total().events_in
}

#[tokio::test]
async fn files_of_the_agent_are_its_own_whatever_umask_and_directory_are() {
    let collector = TestCollector::start_with(&["--interval", "200ms"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "50", "--log-rate", "5"]);
    let pipelines = [AgentPipeline::supervised(PIPELINE, &stub)];
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &pipelines).await;
    let spool = agent.data_dir().join("spool");
    std::fs::create_dir_all(&spool).unwrap();
    for directory in [agent.data_dir(), spool.clone()] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    // What an earlier version left.
    std::fs::write(spool.join("sent"), "").unwrap();
    std::fs::set_permissions(spool.join("sent"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 0; exec "$0" "$@""#, &binary("systole-agent").display().to_string()]);
    agent.run_as(command);
    eventually_true("it reports", SOON, async || {
        status_of(&agent).await.is_some_and(|status| status["collector"]["state"] == "connected")
    })
    .await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    eventually_true("checkpoint and mark are there", SOON, async || {
        std::fs::metadata(spool.join("sent")).is_ok_and(|file| file.len() > 0) && spool.join("checkpoint").exists()
    })
    .await;
    let mut seen = 0;
    let mut directories = vec![agent.data_dir()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                seen += 1;
                assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", entry.path().display());
            }
        }
    }
    assert!(seen >= 7, "{seen} files");
    agent.stop().await;
}

async fn request(address: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the agent listens");
    stream
        .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn port_of_the_agent_answers_under_its_own_names_only() {
    let collector = TestCollector::start().await;
    let setup = AgentSetup { settings: vec![("metrics_listen", "127.0.0.1:0".into())], ..AgentSetup::default() };
    let agent = TestAgent::start_with(&collector, setup, &[]).await;
    let address = eventually("it listens", SOON, async || {
        Some(status_of(&agent).await?["agent"]["metricsAddress"].as_str()?.to_owned())
    })
    .await;
    let port = address.rsplit(':').next().unwrap();
    for host in ["localhost", &format!("localhost:{port}"), &address, &format!("[::1]:{port}")] {
        assert!(request(&address, host).await.starts_with("HTTP/1.1 200"), "{host}");
    }
    for host in ["rebound.example", &format!("rebound.example:{port}"), "127.0.0.1.rebound.example", "10.1.2.3"] {
        let answer = request(&address, host).await;
        assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("systole_agent_"), "{host}: {answer}");
    }
}

async fn last_report_of_a_stopped_agent(programs: Option<&Path>) -> String {
    // Without a collector the last report stays in the spool.
    let mut agent = TestAgent::of("http://127.0.0.1:9", "none", &[], &[]);
    let mut command = Command::new("env");
    if let Some(programs) = programs {
        command.arg(format!("PATH={}:/usr/bin:/bin", programs.display()));
    }
    command.arg(binary("systole-agent"));
    agent.run_as(command);
    eventually_true("it reports", SOON, async || !segments(&agent).is_empty()).await;
    agent.stop().await;
    let bytes = std::fs::read(segments(&agent).pop().expect("as it was written")).expect("as it was written");
    let last = *bodies(&bytes).last().expect("as it was written");
    String::from_utf8_lossy(&bytes[last..]).into_owned()
}

#[tokio::test]
async fn last_report_says_that_the_agent_stops_and_whether_the_host_does() {
    let report = last_report_of_a_stopped_agent(None).await;
    assert!(report.contains(r#""stopping":"agent stopped""#), "{report}");
    let programs = tempfile::tempdir().unwrap();
    let systemctl = programs.path().join("systemctl");
    std::fs::write(&systemctl, "#!/bin/sh\necho stopping\nexit 1\n").unwrap();
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = last_report_of_a_stopped_agent(Some(programs.path())).await;
    assert!(report.contains(r#""stopping":"host is shutting down""#), "{report}");
}

#[tokio::test]
async fn agent_is_back_soon_after_a_long_outage() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let agent = TestAgent::start(&collector, None, &[]).await;
    let sent_errors = async || status_of(&agent).await.and_then(|status| status["health"]["sendErrors"].as_u64());
    eventually_true("connected", SOON, async || {
        status_of(&agent).await.is_some_and(|status| status["collector"]["state"] == "connected")
    })
    .await;
    collector.kill().await;
    // With waits of up to a minute so many tries would take several minutes.
    eventually_true("20 tries", SOON, async || sent_errors().await >= Some(20)).await;
    collector.run().await;
    let begin = Instant::now();
    eventually_true("back", SOON, async || {
        status_of(&agent).await.is_some_and(|status| status["collector"]["state"] == "connected")
    })
    .await;
    // The longest wait of that interval is 2 s.
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
}
