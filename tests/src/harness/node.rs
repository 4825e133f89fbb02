//! A node without an agent: speaks the native protocol itself.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use systole_shared::{BootId, NodeId, PipelineReport, Report, ReportAck, ReportRequest};
use uuid::Uuid;

use super::client::{Answer, ApiClient};
use super::collector::TestCollector;
use super::reports;
use crate::clock;

/// How a body is packed.
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
    /// Packs.
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
    /// This life of the imagined agent.
    pub boot: BootId,
    /// The number of the next report.
    pub next_seq: u64,
}

impl NodeClient {
    /// Makes an enrolment token for the environment (`default` when there is none) and a node of it.
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

    /// Asks for enrolment, whatever the answer is.
    pub async fn try_enroll(client: &ApiClient, token: &str, name: &str) -> Answer {
        let body = json!({
            "token": token, "hostname": name, "os": "linux/amd64", "agentVersion": "0.1.0", "labels": {}, "machineId": name,
        });
        let request = client.request(reqwest::Method::POST, "/api/v1/agent/enroll");
        Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// The same node with connections of its own.
    pub fn reconnected(&self) -> Self {
        NodeClient { client: self.client.reconnected(), ..self.clone() }
    }

    /// The node's secret, to speak in its name without this client.
    pub fn token(&self) -> &str {
        self.client.token().expect("an enrolled node has a token")
    }

    /// This node's own right to speak, to try it elsewhere.
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

    /// Sends the next report, ending now; asserts that it is taken whole and committed.
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

    /// Sends a body that is packed here.
    pub async fn post_bytes(&self, body: Vec<u8>, encoding: Encoding) -> Answer {
        self.post_raw(encoding.pack(&body), encoding.name()).await
    }

    /// Sends bytes as they are and says that they are of this Content-Encoding.
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
