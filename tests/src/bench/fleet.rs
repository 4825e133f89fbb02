//! One imagined node of the fleet, sending until the time is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;
use systole_shared::{BootId, PipelineReport, PipelineStatus, ReportRequest, Token};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::args::{Args, Loop, Packing};
use super::bodies::{Bodies, Body, Stamp};
use super::tally::Tally;
use super::wire::Wire;
use crate::clock;
use crate::harness::node::{Encoding, to_json};
use crate::harness::reports::{INTERVAL_MS, report};

/// The wait of a node after a failure without `Retry-After`.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long after the end a report is still tried.
const OVERTIME: Duration = Duration::from_secs(10);
/// Enrolments at once: each is a transaction, and more than a few only wait.
const ENROLLING: usize = 64;

/// An enrolled node with its connection.
#[derive(Debug)]
pub struct Node {
    wire: Wire,
    /// The lines of a request up to its length.
    head: String,
    boot: BootId,
    seq: u64,
    token: String,
    protocol: Protocol,
    /// The same of a poll, which VectorFlow's agents send with each heartbeat.
    poll_head: String,
    /// Whether its first pipeline crashes and runs again with every other report.
    pub is_flapping: bool,
}

/// What a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Native,
    VectorFlow,
}

/// What is read of the answer to an enrolment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enrolled {
    node_token: Token,
}

/// When what is sent and counted.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Reports due from here on are measured.
    pub begin: Instant,
    /// No report is due from here on.
    pub end: Instant,
    /// The first report.
    pub first: Instant,
}

/// What is read of an acknowledgement.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ack {
    /// Heartbeats have no numbers: a good answer says that they are durable.
    #[serde(default = "whatever_was_sent")]
    durable_seq: u64,
    #[serde(default)]
    refused_count: u64,
}

fn whatever_was_sent() -> u64 {
    u64::MAX
}

/// Enrols the fleet, and leaves every node connected.
pub async fn enroll(address: SocketAddr, token: &str, args: &Args, bar: &ProgressBar) -> anyhow::Result<Vec<Node>> {
    let run = Uuid::new_v4().simple().to_string();
    let mut nodes = Vec::with_capacity(args.nodes);
    let mut enrolling = JoinSet::new();
    for number in 0..args.nodes {
        if enrolling.len() >= ENROLLING {
            take(enrolling.join_next().await, &mut nodes, bar)?;
        }
        let (token, name) = (token.to_owned(), format!("bench-{}-{number}", &run[..8]));
        // Spread over the fleet, as they are in time.
        let is_vectorflow = number * args.vectorflow_nodes % args.nodes < args.vectorflow_nodes;
        let protocol = if is_vectorflow { Protocol::VectorFlow } else { Protocol::Native };
        enrolling.spawn(Node::enroll(address, token, name, args.encoding, protocol));
    }
    while !enrolling.is_empty() {
        take(enrolling.join_next().await, &mut nodes, bar)?;
    }
    Ok(nodes)
}

type Finished = Option<Result<anyhow::Result<Node>, tokio::task::JoinError>>;

fn take(enrolled: Finished, nodes: &mut Vec<Node>, bar: &ProgressBar) -> anyhow::Result<()> {
    nodes.extend(enrolled.transpose().context("an enrolment")?.transpose()?);
    bar.set_position(nodes.len() as u64);
    Ok(())
}

impl Node {
    async fn enroll(
        address: SocketAddr,
        token: String,
        name: String,
        packing: Packing,
        protocol: Protocol,
    ) -> anyhow::Result<Self> {
        let lines =
            |path: &str| format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
        let body = json!({
            "token": token, "hostname": name, "os": "linux/amd64", "agentVersion": "0.1.0", "labels": {}, "machineId": name,
        });
        let mut wire = Wire::to(address);
        let (enroll, reports) = match protocol {
            Protocol::Native => ("/api/v1/agent/enroll", "/api/v1/agent/reports"),
            Protocol::VectorFlow => ("/api/agent/enroll", "/api/agent/heartbeat"),
        };
        let head = lines(enroll) + "Content-Length: ";
        let body = body.to_string();
        let reply = loop {
            let reply = wire.post(&head, &[body.as_bytes()]).await.with_context(|| format!("enrol at {address}"))?;
            // A collector has a limit, and a fleet takes some minutes.
            let Some(pause) = reply.retry_after.filter(|_| reply.status == 429) else {
                break (reply.status, reply.body.to_vec());
            };
            sleep(pause).await;
        };
        let (status, body) = reply;
        if status != 200 {
            bail!("enrol: {status} {}", String::from_utf8_lossy(&body));
        }
        let enrolled: Enrolled = serde_json::from_slice(&body).context("the answer to an enrolment")?;
        let mut head = lines(reports);
        head += &format!("Authorization: Bearer {}\r\n", enrolled.node_token.reveal());
        if let Some(name) = Encoding::from(packing).name().filter(|_| protocol == Protocol::Native) {
            head += &format!("Content-Encoding: {name}\r\n");
        }
        head += "Content-Length: ";
        let token = enrolled.node_token.reveal().to_owned();
        let poll_head = format!(
            "GET /api/agent/config HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: "
        );
        Ok(Node { wire, head, boot: BootId(Uuid::now_v7()), seq: 0, token, protocol, poll_head, is_flapping: false })
    }

    /// Its secret.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends one report at once, and returns whether it is durable.
    pub async fn report_once(&mut self, bodies: &Bodies) -> bool {
        let now = Instant::now();
        let schedule = Schedule { first: now, begin: now, end: now };
        let mut body = Body::default();
        bodies.choose(PipelineStatus::Running, &mut body);
        self.deliver(bodies, &mut body, now, Loop::Closed, schedule, &mut Tally::new()).await.is_some()
    }

    /// Sends a report of these pipelines until it is durable, and returns the time of the last try.
    /// None when no try succeeded before `deadline`.
    pub async fn report(
        &mut self,
        pipelines: Vec<PipelineReport<'static>>,
        packing: Packing,
        deadline: Instant,
        tally: &mut Tally,
    ) -> Option<Duration> {
        self.seq += 1;
        let now = clock::now_ms();
        let reports = vec![report(self.seq, now, pipelines)];
        let request = ReportRequest { boot_id: self.boot, sent_at: now, reports };
        let body = Encoding::from(packing).pack(&to_json(&request));
        while Instant::now() < deadline {
            let start = Instant::now();
            tally.requests += 1;
            match self.wire.post(&self.head, &[&body]).await {
                Ok(reply) if reply.status == 200 => match serde_json::from_slice::<Ack>(reply.body) {
                    Ok(ack) if ack.durable_seq >= self.seq => return Some(start.elapsed()),
                    _ => tally.fail("not durable"),
                },
                Ok(reply) => tally.fail(&reply.status.to_string()),
                Err(_) => tally.fail("connection"),
            }
            sleep(BACK_OFF).await;
        }
        None
    }

    /// Sends all these reports in one request, by their numbers and ends. Returns how long the acknowledgement took;
    /// the wait that the collector asks for, when there was no good answer.
    pub async fn post_backlog(
        &mut self,
        bodies: &Bodies,
        backlog: &[(u64, i64)],
    ) -> Result<Duration, Option<Duration>> {
        let stamp = |&(seq, end)| Stamp { boot: self.boot, seq, start: end - INTERVAL_MS, end };
        let request = bodies.request_of(&backlog.iter().map(stamp).collect::<Vec<_>>());
        let last = backlog.last().map_or(0, |(seq, _)| *seq);
        let start = Instant::now();
        match self.wire.post(&self.head, &[&request]).await {
            Ok(reply) if reply.status == 200 => match serde_json::from_slice::<Ack>(reply.body) {
                Ok(ack) if ack.durable_seq >= last => Ok(start.elapsed()),
                _ => Err(None),
            },
            Ok(reply) => Err(reply.retry_after),
            Err(_) => Err(None),
        }
    }

    /// Sends reports until the end; what has no good answer is sent again.
    pub async fn drive(
        mut self,
        bodies: Arc<Bodies>,
        mode: Loop,
        interval: Duration,
        schedule: Schedule,
        acknowledged: Arc<AtomicU64>,
    ) -> Tally {
        let mut tally = Tally::new();
        let mut body = Body::default();
        let mut due = schedule.first;
        while due < schedule.end {
            sleep_until(due).await;
            match self.protocol {
                Protocol::Native if self.is_flapping && self.seq % 2 == 1 => {
                    bodies.choose(PipelineStatus::Crashed, &mut body);
                }
                Protocol::Native => bodies.choose(PipelineStatus::Running, &mut body),
                Protocol::VectorFlow => bodies.heartbeats.choose(self.seq + 1, &mut body),
            }
            let Some(latency) = self.deliver(&bodies, &mut body, due, mode, schedule, &mut tally).await else {
                tally.given_up += 1;
                break;
            };
            tally.events_in += body.events_in;
            if due >= schedule.begin {
                tally.record(latency);
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
            if self.protocol == Protocol::VectorFlow && mode == Loop::Open {
                self.poll(&mut tally).await;
            }
            due = match mode {
                Loop::Open => due + interval,
                Loop::Closed => Instant::now(),
            };
        }
        tally
    }

    /// Asks what the node should run.
    async fn poll(&mut self, tally: &mut Tally) {
        match self.wire.post(&self.poll_head, &[]).await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => tally.fail(&format!("poll {}", reply.status)),
            Err(_) => tally.fail("poll"),
        }
    }

    /// Sends one report until it is durable, and returns the time that took; none when the time is
    /// over before.
    async fn deliver(
        &mut self,
        bodies: &Bodies,
        body: &mut Body,
        due: Instant,
        mode: Loop,
        schedule: Schedule,
        tally: &mut Tally,
    ) -> Option<Duration> {
        let is_measured = due >= schedule.begin;
        self.seq += 1;
        let end = clock::now_ms();
        let stamp = Stamp { boot: self.boot, seq: self.seq, start: end - INTERVAL_MS, end };
        loop {
            let start = Instant::now();
            if self.protocol == Protocol::Native {
                bodies.stamp(body, stamp);
            }
            if is_measured {
                tally.requests += 1;
                tally.bytes_plain += body.plain_bytes as u64;
                tally.bytes_sent += (body.head.len() + body.rest.len()) as u64;
            }
            let mut back_off = BACK_OFF;
            match self.wire.post(&self.head, &[&body.head, &body.rest]).await {
                Ok(reply) if reply.status == 200 => match serde_json::from_slice::<Ack>(reply.body) {
                    Ok(ack) if ack.durable_seq >= self.seq => {
                        tally.refused += ack.refused_count;
                        return Some(if mode == Loop::Open { due } else { start }.elapsed());
                    }
                    Ok(_) => tally.fail("not durable"),
                    Err(_) => tally.fail("no acknowledgement"),
                },
                Ok(reply) => {
                    back_off = reply.retry_after.unwrap_or(BACK_OFF);
                    tally.fail(&reply.status.to_string());
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => tally.fail("time-out"),
                Err(_) => tally.fail("connection"),
            }
            sleep(back_off).await;
            if Instant::now() > schedule.end + OVERTIME {
                return None;
            }
        }
    }
}
