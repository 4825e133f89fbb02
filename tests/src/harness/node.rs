//! A node without an agent: uses the native protocol itself.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::{BootId, NodeId, PipelineReport, Report, ReportAck, ReportRequest};
use tokio::time::sleep;
use uuid::Uuid;

use super::client::{Answer, ApiClient};
use super::collector::TestCollector;
use super::reports;
use crate::clock;

/// The waits of [`NodeClient::post_until_accepted`]. Short and without jitter: a test waits for the collector
/// only, and does not use up a core while the collector is down.
const RETRY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(50),
    longest_asked: Duration::ZERO,
    jitter: Jitter::None,
};

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is, without a Content-Encoding.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// Compresses.
    pub fn pack(self, body: &[u8]) -> Vec<u8> {
        match self {
            Encoding::Plain => body.to_vec(),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body).expect("a Vec takes everything");
                encoder.finish().expect("a Vec takes everything")
            }
            Encoding::Zstd => zstd::encode_all(body, 1).expect("a Vec takes everything"),
        }
    }

    /// As Content-Encoding names it.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Plain => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Zstd => Some("zstd"),
        }
    }
}

/// An enrolled node and the reports it has sent.
#[derive(Clone, Debug)]
pub struct NodeClient {
    client: ApiClient,
    /// The node.
    pub id: NodeId,
    /// The name of its environment.
    pub environment: String,
    /// This run of the imagined agent.
    pub boot: BootId,
    /// The number of the next report.
    pub next_seq: u64,
}

impl NodeClient {
    /// Creates an enrolment token for the environment (`default` when there is none) and enrols a node.
    pub async fn enroll(collector: &TestCollector, environment: Option<&str>, name: &str) -> Self {
        let token = collector.create_token("enroll", environment).await;
        Self::enroll_with(&collector.client(), token.token.reveal(), name).await
    }

    /// A node, by an enrolment token; `name` is the host's name and its machine id.
    pub async fn enroll_with(client: &ApiClient, token: &str, name: &str) -> Self {
        let answer = Self::try_enroll(client, token, name).await;
        assert_eq!(answer.status, 200, "enrol: {answer:?}");
        let answer: Value = answer.json();
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"));
        NodeClient {
            client: client.with_token(text("nodeToken")),
            id: text("nodeId").parse().expect("a node's id is a UUID"),
            environment: text("environmentName").to_owned(),
            boot: BootId(Uuid::now_v7()),
            next_seq: 1,
        }
    }

    /// Requests enrolment; any response.
    pub async fn try_enroll(client: &ApiClient, token: &str, name: &str) -> Answer {
        let body = json!({
            "token": token, "hostname": name, "os": "linux/amd64", "agentVersion": "0.1.0", "labels": {}, "machineId": name,
        });
        let request = client.request(reqwest::Method::POST, "/api/v1/agent/enroll");
        Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// The same node with separate connections.
    pub fn reconnected(&self) -> Self {
        NodeClient { client: self.client.reconnected(), ..self.clone() }
    }

    /// Begins at this one of its addresses.
    pub fn begin_at(&mut self, number: usize) {
        self.client = self.client.beginning_at(number);
    }

    /// The same node, as a client of another collector on the same database.
    pub fn moved_to(&self, collector: &TestCollector) -> Self {
        NodeClient { client: collector.client().with_token(self.token()), ..self.clone() }
    }

    /// The node's secret, to send requests as this node without this client.
    pub fn token(&self) -> &str {
        self.client.token().expect("an enrolled node has a token")
    }

    /// A client with this node's token, for other routes.
    pub fn client(&self) -> &ApiClient {
        &self.client
    }

    /// A request with the next report, ending now; counts the report as sent.
    pub fn next_request(&mut self, pipelines: Vec<PipelineReport<'static>>) -> ReportRequest<'static> {
        let report = reports::report(self.next_seq, clock::now_ms(), pipelines);
        self.next_seq += 1;
        self.request_of(vec![report])
    }

    /// A request with these reports.
    pub fn request_of(&self, reports: Vec<Report<'static>>) -> ReportRequest<'static> {
        ReportRequest { boot_id: self.boot, sent_at: clock::now_ms(), reports }
    }

    /// Sends the next report, ending now; asserts that it is accepted whole and committed.
    pub async fn report(&mut self, pipelines: Vec<PipelineReport<'static>>) -> ReportAck {
        let request = self.next_request(pipelines);
        let ack = self.post(&request).await;
        assert_eq!(ack.refused, [], "a good report is refused");
        assert_eq!(ack.durable_seq, self.next_seq - 1);
        ack
    }

    /// Sends a request, plain; asserts 200.
    pub async fn post(&self, request: &impl Serialize) -> ReportAck {
        self.post_packed(request, Encoding::Plain).await
    }

    /// Sends a request; asserts 200.
    pub async fn post_packed(&self, request: &impl Serialize, encoding: Encoding) -> ReportAck {
        let answer = self.post_bytes(to_json(request), encoding).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Sends a request until the collector acknowledges it, as an agent does: a request without a response, or
    /// with a 5xx, is sent again unchanged.
    pub async fn post_until_accepted(&self, request: &impl Serialize) -> ReportAck {
        self.post_until(request, |answer| {
            // Without a response the collector is down.
            if let Ok(answer) = answer {
                assert!(answer.status >= 500, "{answer:?}");
            }
        })
        .await
    }

    /// The same to a collector that is up all the time: every failure is a 503.
    pub async fn post_until_available(&self, request: &impl Serialize) -> ReportAck {
        self.post_until(request, |answer| match answer {
            Ok(answer) => drop(answer.problem(503)),
            Err(error) => panic!("the collector is up: {error:?}"),
        })
        .await
    }

    async fn post_until(
        &self,
        request: &impl Serialize,
        check_failure: impl Fn(Result<Answer, reqwest::Error>),
    ) -> ReportAck {
        let body = to_json(request);
        let mut backoff = Backoff::new(RETRY);
        loop {
            match Answer::try_of(self.raw_request(body.clone(), None)).await {
                Ok(answer) if answer.status == 200 => return answer.json(),
                failure => check_failure(failure),
            }
            sleep(backoff.next(0.0, None)).await;
        }
    }

    /// Compresses a body and sends it.
    pub async fn post_bytes(&self, body: Vec<u8>, encoding: Encoding) -> Answer {
        self.post_raw(encoding.pack(&body), encoding.name()).await
    }

    /// Sends bytes as they are with this Content-Encoding.
    pub async fn post_raw(&self, body: Vec<u8>, encoding: Option<&str>) -> Answer {
        Answer::of(self.raw_request(body, encoding)).await
    }

    /// The request of [`Self::post_raw`], not sent yet.
    pub fn raw_request(&self, body: Vec<u8>, encoding: Option<&str>) -> reqwest::RequestBuilder {
        let request = self.client.request(reqwest::Method::POST, "/api/v1/agent/reports");
        let request = request.header("content-type", "application/json").body(body);
        match encoding {
            Some(encoding) => request.header("content-encoding", encoding),
            None => request,
        }
    }
}

/// A request as bytes.
pub fn to_json(request: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(request).expect("a request of the shared types is JSON")
}
