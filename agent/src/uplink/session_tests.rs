//! The uplink against a collector of a few lines, over real sockets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use systole_shared::{BootId, EnrollRequest, Report, ReportRequest, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::clock;
use crate::metrics::AgentCounters;
use crate::model::node::machine::{Machine, MachineIdSource};
use crate::model::node::name::NodeNames;
use crate::model::node::node_file;
use crate::model::protocol::{Protocol, ProtocolSetting};
use crate::model::spool::Bounds;
use crate::model::tls::TlsFiles;
use crate::spool::Spool;
use crate::spool::outbox::Outbox;
use crate::uplink::addresses::Addresses;
use crate::uplink::connection_status::{ConnectionState, ConnectionStatus};
use crate::uplink::instructions::Instructions;
use crate::uplink::protocol::{ClientParts, CollectorClient};
use crate::uplink::task::Credentials;

/// A request as the collector saw it.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Enroll,
    Reports { token: String, seqs: Vec<u64> },
}

/// What the collectors of these tests say to this enrolment token: 401.
const EXPIRED: &str = "expired";

/// How a collector answers the reports with these numbers. A failure without a body is the collector's
/// own, one with a body is something else's.
type Answer = Box<dyn FnMut(&[u64]) -> (u16, String) + Send>;

struct FakeCollector {
    url: reqwest::Url,
    seen: Arc<Mutex<VecDeque<Seen>>>,
}

impl FakeCollector {
    async fn start(mut answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix/", listener.local_addr().unwrap()).parse().unwrap();
        let seen = Arc::new(Mutex::new(VecDeque::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (head, body) = read_request(&mut stream).await;
                let (status, answer) = if head.starts_with("POST /prefix/api/v1/agent/enroll ") {
                    log.lock().unwrap().push_back(Seen::Enroll);
                    let request: EnrollRequest = serde_json::from_slice(&body).unwrap();
                    if request.token.reveal() == EXPIRED { (401, String::new()) } else { (200, ENROLLED.to_owned()) }
                } else {
                    assert!(head.starts_with("POST /prefix/api/v1/agent/reports "), "{head}");
                    assert!(head.contains("content-encoding: zstd") && head.contains("content-type: application/json"));
                    let plain = zstd::stream::decode_all(&body[..]).unwrap();
                    let request: ReportRequest<'_> = serde_json::from_slice(&plain).unwrap();
                    let seqs: Vec<u64> = request.reports.iter().map(|report| report.seq).collect();
                    let token = head.split("Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned();
                    log.lock().unwrap().push_back(Seen::Reports { token, seqs: seqs.clone() });
                    answer(&seqs)
                };
                let is_problem = answer.is_empty() && status != 200;
                let (kind, answer) = match is_problem {
                    true => ("application/problem+json", format!(r#"{{"status":{status},"detail":"of the test"}}"#)),
                    false => ("text/html", answer),
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                    answer.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        FakeCollector { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().cloned().collect()
    }
}

const ENROLLED: &str = r#"{"nodeId":"01890a5d-ac96-774b-bcce-b302099a8057","nodeToken":"node-2",
    "environmentId":"01890a5d-ac96-774b-bcce-b302099a8058","environmentName":"default","protocol":1}"#;

async fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() - end - 4 >= length.parse().unwrap() {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

fn ack(seqs: &[u64]) -> (u16, String) {
    let last = seqs.last().unwrap();
    (200, format!(r#"{{"receivedSeq":{last},"durableSeq":{last},"refused":[],"intervalMs":1234,"now":0}}"#))
}

struct Fixture {
    collector: FakeCollector,
    outbox: Arc<Outbox>,
    counters: Arc<AgentCounters>,
    interval: watch::Receiver<Duration>,
    connection: Arc<ConnectionStatus>,
    closing: CancellationToken,
    uplink: tokio::task::JoinHandle<()>,
    data_dir: tempfile::TempDir,
}

/// Starts an uplink with `reports` waiting. It does not wait between two tries.
async fn start(reports: u64, enroll_token: Option<&str>, node_token: Option<&str>, answer: Answer) -> Fixture {
    start_with(reports, enroll_token, node_token, answer, || 0.0).await
}

/// The same with waits: `random` is their random part.
async fn start_with(
    reports: u64,
    enroll_token: Option<&str>,
    node_token: Option<&str>,
    answer: Answer,
    random: fn() -> f64,
) -> Fixture {
    let collector = FakeCollector::start(answer).await;
    let counters = Arc::new(AgentCounters::default());
    let data_dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&data_dir.path().join("spool"), BootId(Uuid::from_u128(1)), Bounds::default());
    let outbox = Arc::new(Outbox::new(spool, counters.clone()));
    let end = clock::unix_millis();
    for seq in 1..=reports {
        outbox.post(&Report {
            seq,
            start: end,
            end,
            agent: None,
            host: None,
            pipelines: vec![],
            covers: None,
            deployments: vec![],
        });
    }
    if let Some(token) = node_token {
        node_token::write(data_dir.path(), &Token::new(token)).unwrap();
    }
    let instructions = Instructions::new(Duration::from_secs(5)).0;
    let interval = instructions.watch_interval();
    let parts = ClientParts {
        addresses: Arc::new(Addresses::new(vec![collector.url.clone()], "node")),
        tls: TlsFiles::default(),
        data_dir: data_dir.path().to_owned(),
        protocol: ProtocolSetting::Fixed(Protocol::Native),
        cloud_labels: false,
        counters: counters.clone(),
    };
    let closing = CancellationToken::new();
    let connection = Arc::new(ConnectionStatus::new(None));
    crate::http_client::install_tls();
    let uplink = Uplink {
        client: Arc::new(CollectorClient::new(parts).unwrap()),
        outbox: outbox.clone(),
        credentials: Credentials {
            data_dir: data_dir.path().to_owned(),
            enroll_token: enroll_token.map(Token::new),
            names: NodeNames {
                machine: Machine::detect(Some("m"), MachineIdSource::default()),
                name: None,
                labels: BTreeMap::new(),
            },
            vector_version: Arc::default(),
        },
        counters: counters.clone(),
        connection: connection.clone(),
        instructions,
        closing: closing.clone(),
        random,
    };
    let uplink = tokio::spawn(uplink.run());
    Fixture { collector, outbox, counters, interval, connection, closing, uplink, data_dir }
}

impl Fixture {
    /// Lets the uplink send everything and end.
    async fn finish(self) -> (Vec<Seen>, Arc<AgentCounters>) {
        // Level-triggered: the uplink returns when nothing waits and the agent closes.
        self.closing.cancel();
        timeout(Duration::from_secs(20), self.uplink).await.unwrap().unwrap();
        assert_eq!(self.outbox.size(), (0, 0));
        (self.collector.seen(), self.counters)
    }
}

fn sent(token: &str, seqs: &[u64]) -> Seen {
    Seen::Reports { token: token.to_owned(), seqs: seqs.to_vec() }
}

#[tokio::test]
async fn node_without_a_token_enrols_then_sends_in_order() {
    let mut fixture = start(3, Some("enrol"), None, Box::new(ack)).await;
    fixture.interval.changed().await.unwrap();
    assert_eq!(*fixture.interval.borrow(), Duration::from_millis(1234));
    assert_eq!(node_token::read(fixture.data_dir.path()).unwrap().reveal(), "node-2");
    let node = node_file::read(fixture.data_dir.path());
    assert_eq!(node.as_ref().map(|node| node.environment_name.as_str()), Some("default"));
    let connection = fixture.connection.clone();
    let (seen, counters) = fixture.finish().await;
    assert_eq!(seen, [Seen::Enroll, sent("node-2", &[1, 2, 3])]);
    assert_eq!((connection.facts().node, connection.facts().state), (node, ConnectionState::Connected));
    assert_eq!((counters.committed_reports.get(), counters.acks.count(), counters.reconnects.get()), (3, 1, 0));
    assert!(counters.sent_bytes.get() > 0);
}

#[tokio::test]
async fn node_with_refused_token_enrols_again_without_loss() {
    let mut first = true;
    let answer = move |seqs: &[u64]| if std::mem::take(&mut first) { (401, String::new()) } else { ack(seqs) };
    let (seen, _) = start(2, Some("enrol"), Some("node-1"), Box::new(answer)).await.finish().await;
    assert_eq!(seen, [sent("node-1", &[1, 2]), Seen::Enroll, sent("node-2", &[1, 2])]);
}

#[tokio::test]
async fn refused_token_is_retried_when_enrolment_fails() {
    let mut first = true;
    let answer = move |seqs: &[u64]| if std::mem::take(&mut first) { (401, String::new()) } else { ack(seqs) };
    let fixture = start(2, Some(EXPIRED), Some("node-1"), Box::new(answer)).await;
    let data_dir = fixture.data_dir.path().to_owned();
    fixture.closing.cancel();
    timeout(Duration::from_secs(20), fixture.uplink).await.unwrap().unwrap();
    assert_eq!(fixture.collector.seen(), [sent("node-1", &[1, 2]), Seen::Enroll, sent("node-1", &[1, 2])]);
    assert_eq!(node_token::read(&data_dir).unwrap().reveal(), "node-1");
}

#[tokio::test]
async fn collector_that_refuses_everything_does_not_cost_the_whole_backlog_at_once() {
    let fixture = start_with(100, None, Some("n"), Box::new(|_| (400, String::new())), || 1.0).await;
    // Level-triggered: the waits between later drops grow, so few are lost in this time.
    let _ = timeout(Duration::from_secs(2), fixture.uplink).await;
    assert!((1..50).contains(&fixture.counters.lost_reports.get()), "{}", fixture.counters.lost_reports.get());
    assert_eq!(fixture.outbox.size().0 + fixture.counters.lost_reports.get(), 100);
}

#[tokio::test]
async fn refused_node_without_enrolment_token_stops_sending() {
    let fixture = start(2, None, Some("node-1"), Box::new(|_| (401, String::new()))).await;
    fixture.closing.cancel();
    timeout(Duration::from_secs(20), fixture.uplink).await.unwrap().unwrap();
    assert_eq!(fixture.collector.seen(), [sent("node-1", &[1, 2])]);
    assert_eq!(node_token::read(fixture.data_dir.path()).unwrap().reveal(), "node-1");
}

#[tokio::test]
async fn refused_node_without_enrolment_token_keeps_asking() {
    let mut refusals = VecDeque::from([401, 401]);
    let answer = move |seqs: &[u64]| refusals.pop_front().map_or_else(|| ack(seqs), |status| (status, String::new()));
    let fixture = start(2, None, Some("node-1"), Box::new(answer)).await;
    let mut state = fixture.connection.watch();
    timeout(Duration::from_secs(20), state.wait_for(|state| *state == ConnectionState::Connected))
        .await
        .unwrap()
        .unwrap();
    let connection = fixture.connection.clone();
    let (seen, counters) = fixture.finish().await;
    assert_eq!(seen, vec![sent("node-1", &[1, 2]); 3]);
    assert!(connection.facts().last_error.unwrap().0.contains("401"));
    assert_eq!(counters.reconnects.get(), 1);
}

#[tokio::test]
async fn refused_report_is_found_and_dropped_alone() {
    for status in [400, 413] {
        let answer = move |seqs: &[u64]| if seqs.contains(&5) { (status, String::new()) } else { ack(seqs) };
        let (seen, counters) = start(8, None, Some("n"), Box::new(answer)).await.finish().await;
        let arrived: Vec<u64> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Reports { seqs, .. } if !seqs.contains(&5) => Some(seqs.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(arrived, [1, 2, 3, 4, 6, 7, 8]);
        assert_eq!(counters.lost_reports.get(), 1);
    }
}

#[tokio::test]
async fn answers_of_something_else_cost_no_report() {
    let page = || "<html><title>Not here</title></html>".to_owned();
    let mut answers = VecDeque::from([401, 403, 404, 302, 200]);
    let answer = move |seqs: &[u64]| answers.pop_front().map_or_else(|| ack(seqs), |status| (status, page()));
    let (seen, counters) = start(3, Some("enrol"), Some("n"), Box::new(answer)).await.finish().await;
    assert_eq!(seen, vec![sent("n", &[1, 2, 3]); 6], "neither split nor dropped, nor enrolled again");
    assert_eq!((counters.send_errors.get(), counters.lost_reports.get()), (5, 0));
}

#[tokio::test]
async fn failed_requests_halve_their_size() {
    let mut failures = 8;
    let answer = move |seqs: &[u64]| {
        if failures == 0 {
            return ack(seqs);
        }
        failures -= 1;
        (503, String::new())
    };
    let (seen, _) = start(120, None, Some("n"), Box::new(answer)).await.finish().await;
    let sizes: Vec<usize> =
        seen.iter().map(|seen| if let Seen::Reports { seqs, .. } = seen { seqs.len() } else { 0 }).collect();
    assert_eq!(sizes[..10], [100, 50, 25, 12, 6, 3, 1, 1, 1, 2]);
    assert_eq!(sizes[8..].iter().sum::<usize>(), 120, "each of them once, faster and faster");
}

#[tokio::test]
async fn path_of_the_address_that_is_wrong_costs_no_report() {
    let mut answers = VecDeque::from([404, 403, 405]);
    let answer = move |seqs: &[u64]| answers.pop_front().map_or_else(|| ack(seqs), |status| (status, String::new()));
    let fixture = start(3, None, Some("n"), Box::new(answer)).await;
    let connection = fixture.connection.clone();
    let (seen, counters) = fixture.finish().await;
    assert_eq!((seen.len(), counters.lost_reports.get()), (4, 0));
    assert!(connection.facts().last_error.unwrap().0.contains("the path /prefix/"));
}

#[tokio::test]
async fn request_that_is_too_large_for_a_proxy_is_split_and_no_report_is_lost() {
    let answer = |seqs: &[u64]| if seqs.len() > 2 { (413, "<html>".to_owned()) } else { ack(seqs) };
    let (seen, counters) = start(8, None, Some("n"), Box::new(answer)).await.finish().await;
    let arrived = seen.iter().filter_map(|seen| match seen {
        Seen::Reports { seqs, .. } if seqs.len() <= 2 => Some(seqs.clone()),
        _ => None,
    });
    assert_eq!(arrived.flatten().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(counters.lost_reports.get(), 0);
}

#[tokio::test]
async fn report_answered_503_is_sent_again() {
    let mut failures = VecDeque::from([503, 429, 500, 408]);
    let answer = move |seqs: &[u64]| match failures.pop_front() {
        Some(status) => (status, String::new()),
        None => ack(seqs),
    };
    let (seen, counters) = start(2, None, Some("n"), Box::new(answer)).await.finish().await;
    assert_eq!(seen, vec![sent("n", &[1, 2]); 5]);
    assert_eq!((counters.send_errors.get(), counters.lost_reports.get()), (4, 0));
}

#[tokio::test]
async fn only_durable_reports_are_removed() {
    let mut first = true;
    let answer = move |seqs: &[u64]| {
        if std::mem::take(&mut first) {
            let refused = r#"[{"seq":1,"pipelineId":"x","code":"negative_counter","detail":"d"}]"#;
            return (
                200,
                format!(
                    r#"{{"receivedSeq":3,"durableSeq":1,"refused":{refused},"refusedCount":7,"intervalMs":5000,"now":0}}"#
                ),
            );
        }
        ack(seqs)
    };
    let (seen, counters) = start(3, None, Some("n"), Box::new(answer)).await.finish().await;
    assert_eq!(seen, [sent("n", &[1, 2, 3]), sent("n", &[2, 3])]);
    assert_eq!(counters.refused_items.get(), 7);
}
