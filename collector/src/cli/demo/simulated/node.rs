//! A simulated node: enrols, sends its history, and reports like an agent.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, bail};
use rand::RngExt;
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use systole_shared::desired::{DeploymentPhase, DeploymentReport, DesiredPipeline, DesiredState};
use systole_shared::enroll::{EnrollRequest, EnrollResponse};
use systole_shared::limits::{DEFAULT_INTERVAL_MS, MAX_REPORTS_PER_REQUEST};
use systole_shared::{
    AgentHealth, AgentInfo, BootId, PipelineReport, PipelineStatus, Report, ReportAck, ReportRequest, Text, Token,
    UnixMillis,
};
use uuid::Uuid;

use super::lines;
use super::scenario::{Course, ENGINE, NodeSpec, PipelineSpec, course, crashes_until, is_away, is_down};
use super::traffic::{ALMOST_FULL, HostCounters, buffer_fill, sample, topology};
use crate::clock::now_ms;

/// The length of the history.
const HISTORY_MS: i64 = 3_600_000;

/// The interval of reports of the history: two in a minute, so that each minute has some.
const HISTORY_INTERVAL_MS: i64 = 30_000;

/// Reports that wait for the collector; the oldest are dropped. An hour of them.
const MAX_WAITING: usize = 720;

/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Tokens of the demo.
pub(super) struct Tokens<'a> {
    pub enroll: &'a str,
    pub admin: &'a str,
}

/// A node that no host has.
pub(super) struct SimulatedNode {
    spec: &'static NodeSpec,
    client: Client,
    url: String,
    token: Token,
    boot: BootId,
    begun_at: UnixMillis,
    next_seq: u64,
    waiting: VecDeque<Report<'static>>,
    last_end: UnixMillis,
    interval_ms: i64,
    host: HostCounters,
    desired: DesiredState,
    /// When a version came, for the pipelines of the centre.
    since: HashMap<(String, i64), UnixMillis>,
    /// The configuration whose graph was sent last, by pipeline.
    sent_graphs: HashMap<&'static str, String>,
    courses: HashMap<&'static str, Course>,
}

impl SimulatedNode {
    /// Enrols one.
    pub(super) async fn enrol(
        client: Client,
        url: &str,
        tokens: &Tokens<'_>,
        spec: &'static NodeSpec,
        begun_at: UnixMillis,
    ) -> anyhow::Result<Self> {
        let request = EnrollRequest {
            token: Token::new(tokens.enroll),
            hostname: spec.name.to_owned(),
            os: "linux/amd64".to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: labels(spec).collect(),
            machine_id: Some(format!("systole-demo-{}", spec.name)),
        };
        let request = client.post(format!("{url}/api/v1/agent/enroll")).json_body(&request)?;
        let answer: EnrollResponse = read(request.send().await?).await?;
        // With --data-dir the node may have a past of an earlier demo, which must not be counted twice.
        let address = format!("{url}/api/v1/nodes/{}", answer.node_id);
        let known: Value = read(client.get(address).bearer_auth(tokens.admin).timeout(TIMEOUT).send().await?).await?;
        let last_report = known["lastSeenAt"].as_i64().unwrap_or(0);
        Ok(SimulatedNode {
            spec,
            client,
            url: url.to_owned(),
            token: answer.node_token,
            boot: BootId(Uuid::now_v7()),
            begun_at,
            next_seq: 1,
            waiting: VecDeque::new(),
            last_end: last_report.max(begun_at - HISTORY_MS),
            interval_ms: i64::try_from(DEFAULT_INTERVAL_MS).unwrap_or(5_000),
            host: HostCounters::default(),
            desired: DesiredState::default(),
            since: HashMap::new(),
            sent_graphs: HashMap::new(),
            courses: HashMap::new(),
        })
    }

    /// Sends the history, and then a report per interval, for ever.
    ///
    /// # Errors
    ///
    /// When the collector refuses the node.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        while self.last_end + HISTORY_INTERVAL_MS < self.begun_at {
            self.add_report(self.last_end + HISTORY_INTERVAL_MS);
        }
        loop {
            let now = now_ms();
            self.add_report(now);
            if !is_away(self.spec, self.second(now)) {
                self.send_waiting().await?;
            }
            let interval = u64::try_from(self.interval_ms).unwrap_or(DEFAULT_INTERVAL_MS);
            tokio::time::sleep(Duration::from_millis(interval)).await;
        }
    }

    /// Seconds since the start; negative in the history.
    fn second(&self, at: UnixMillis) -> i64 {
        (at - self.begun_at).div_euclid(1_000)
    }

    /// Makes the report up to `end`.
    fn add_report(&mut self, end: UnixMillis) {
        let start = std::mem::replace(&mut self.last_end, end);
        if is_down(self.spec, self.second(end)) {
            return;
        }
        let seconds = (end - start) as f64 / 1_000.0;
        let (noise, phase) = (rand::rng().random_range(0.95..1.05), self.spec.cores);
        let host = self.host.advance(self.spec, self.second(end) as f64, seconds, noise, phase);
        let pipelines: Vec<_> =
            self.spec.pipelines.iter().map(|spec| self.pipeline(spec, end, seconds, noise)).collect();
        let report = Report {
            seq: self.next_seq,
            start,
            end,
            agent: Some(self.agent(end)),
            host: Some(host),
            pipelines,
            covers: None,
            deployments: self.desired.pipelines.iter().map(|desired| self.deployment(desired, end)).collect(),
        };
        self.next_seq += 1;
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(report);
    }

    fn agent(&self, end: UnixMillis) -> AgentInfo<'static> {
        let uptime = (end - self.begun_at + HISTORY_MS) / 1_000;
        AgentInfo {
            name: Some(self.spec.name.into()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            deployment_mode: Some("STANDALONE".into()),
            running_as: Some("systole".into()),
            engines: Some(vec![ENGINE.into()]),
            labels: labels(self.spec).map(|(key, value)| (Text::from(key), Text::from(value))).collect(),
            health: AgentHealth {
                uptime_seconds: u64::try_from(uptime).unwrap_or(0),
                spool_reports: self.waiting.len() as u64,
                ..AgentHealth::default()
            },
            ..AgentInfo::default()
        }
    }

    fn pipeline(
        &mut self,
        spec: &'static PipelineSpec,
        end: UnixMillis,
        seconds: f64,
        noise: f64,
    ) -> PipelineReport<'static> {
        let second = self.second(end);
        let phase = self.spec.cores;
        let now = course(spec, second);
        let before = self.courses.insert(spec.id, now).unwrap_or(Course::Runs);
        let desired = self.desired.pipelines.iter().find(|desired| desired.id.as_str() == spec.id);
        let (version, checksum) = match desired {
            Some(desired) => (Some(desired.version), desired.checksum.clone()),
            None => (None, checksum_of(spec.id)),
        };
        let is_new_graph = self.sent_graphs.get(spec.id) != Some(&checksum);
        self.sent_graphs.insert(spec.id, checksum.clone());
        let is_full = buffer_fill(second as f64, phase) > ALMOST_FULL;
        let (status, reason) = match now {
            Course::Runs => (PipelineStatus::Running, None),
            Course::Crashed => (PipelineStatus::Crashed, Some("exit code 101, restarted in 15 s")),
            Course::Starts => (PipelineStatus::Starting, None),
        };
        let counted = (now == Course::Runs).then(|| sample(spec, second as f64, seconds, noise, phase));
        let (sample, components) = counted.unzip();
        let restarts = crashes_until(spec, second);
        PipelineReport {
            id: spec.id.into(),
            name: Some(spec.name.into()),
            version,
            status: status.as_str().into(),
            reason: reason.map(Text::from),
            pid: (now != Course::Crashed).then(|| 4_000 + u32::try_from(restarts).unwrap_or(0)),
            started_at: None,
            restarts,
            config_checksum: Some(checksum.into()),
            sample: sample.map(|sample| systole_shared::PipelineSample { reset: before != Course::Runs, ..sample }),
            scrape_error: None,
            components: components.unwrap_or_default(),
            logs: lines::of_report(spec, end - 1_000, (before, now), is_full, rand::rng().random()),
            logs_dropped: 0,
            topology: is_new_graph.then(|| topology(spec)),
        }
    }

    /// How far the node is with a version: it validates, starts, and is healthy when it has been up for so long.
    fn deployment(&self, desired: &DesiredPipeline, now: UnixMillis) -> DeploymentReport<'static> {
        let since = self.since.get(&(desired.id.as_str().to_owned(), desired.version)).copied().unwrap_or(now);
        let healthy_for = i64::try_from(desired.healthy_for_ms).unwrap_or(i64::MAX);
        let phase = match now - since {
            _ if desired.paused => DeploymentPhase::Paused,
            ms if ms < self.interval_ms / 2 => DeploymentPhase::Validating,
            ms if ms < healthy_for.saturating_add(self.interval_ms / 2) => DeploymentPhase::Starting,
            _ => DeploymentPhase::Healthy,
        };
        let runs = matches!(phase, DeploymentPhase::Starting | DeploymentPhase::Healthy);
        DeploymentReport {
            pipeline_id: desired.id.as_str().to_owned().into(),
            version: desired.version,
            phase: phase.as_str().into(),
            running_version: runs.then_some(desired.version),
            reason: Text::default(),
        }
    }

    /// Sends what waits, oldest first. A collector that does not answer gets it later.
    async fn send_waiting(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            let reports: Vec<_> = self.waiting.iter().take(MAX_REPORTS_PER_REQUEST).cloned().collect();
            let request = ReportRequest { boot_id: self.boot, sent_at: now_ms(), reports };
            let request = self.post("reports").json_body(&request)?;
            let Ok(answer) = request.send().await else { return Ok(()) };
            if answer.status().is_server_error() || answer.status().as_u16() == 429 {
                return Ok(());
            }
            let ack: ReportAck = read(answer).await?;
            let left = self.waiting.len();
            self.waiting.retain(|report| report.seq > ack.durable_seq);
            self.interval_ms = i64::try_from(ack.interval_ms).unwrap_or(self.interval_ms).max(100);
            if ack.desired_generation.is_some_and(|generation| generation != self.desired.generation) {
                self.fetch_desired().await?;
            }
            if self.waiting.len() == left {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn fetch_desired(&mut self) -> anyhow::Result<()> {
        let address = format!("{}/api/v1/agent/desired", self.url);
        let Ok(answer) = self.client.get(address).bearer_auth(self.token.reveal()).timeout(TIMEOUT).send().await else {
            return Ok(());
        };
        if answer.status().is_server_error() {
            return Ok(());
        }
        self.desired = read(answer).await?;
        let now = now_ms();
        let versions = self.desired.pipelines.iter().map(|desired| (desired.id.as_str().to_owned(), desired.version));
        let before = std::mem::take(&mut self.since);
        self.since = versions.map(|key| (key.clone(), before.get(&key).copied().unwrap_or(now))).collect();
        Ok(())
    }

    fn post(&self, what: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/api/v1/agent/{what}", self.url)).bearer_auth(self.token.reveal())
    }
}

/// The labels of a node, with the one that says that it is simulated.
fn labels(spec: &'static NodeSpec) -> impl Iterator<Item = (String, String)> {
    let mark = super::MARK.split_once('=').into_iter();
    mark.chain(spec.labels.iter().copied()).map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// The checksum of a configuration that does not come from the centre.
fn checksum_of(id: &str) -> String {
    Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads an answer; a refusal is an error with its reason.
async fn read<T: DeserializeOwned>(answer: Response) -> anyhow::Result<T> {
    let status = answer.status();
    let body = answer.bytes().await.context("the collector's answer broke off")?;
    if !status.is_success() {
        bail!("the collector answers {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).context("the collector's answer is not valid")
}

/// A request with a body of JSON.
trait JsonBody: Sized {
    fn json_body(self, body: &impl serde::Serialize) -> anyhow::Result<Self>;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &impl serde::Serialize) -> anyhow::Result<Self> {
        let body = serde_json::to_vec(body).context("a request is JSON")?;
        Ok(self.header("Content-Type", "application/json").timeout(TIMEOUT).body(body))
    }
}
