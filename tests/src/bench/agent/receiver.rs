//! Takes an agent's reports as a collector does, and keeps only what is to be measured.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use systole_shared::{ReportAck, ReportRequest, UnixMillis};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::clock;
use crate::harness::message::{body, read_message};

/// Any will do.
pub const ENROLL_TOKEN: &str = "systole_enroll_bench";

/// Connections at once; an agent has one.
const MAX_CONNECTIONS: usize = 16;

/// The part of a report that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub seq: u64,
    /// Its end, by the agent's clock.
    pub end: UnixMillis,
    /// Time of arrival.
    pub came: UnixMillis,
    /// Pipelines with a sample.
    pub samples: usize,
    /// Log lines.
    pub lines: usize,
}

/// A listening stand-in for the collector.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    interval_ms: u64,
    reports: Mutex<Vec<Seen>>,
    wire_bytes: AtomicU64,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start(interval_ms: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { interval_ms, reports: Mutex::default(), wire_bytes: AtomicU64::new(0) });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Receiver { address, shared, task })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every report so far.
    pub fn reports(&self) -> Vec<Seen> {
        self.shared.reports().clone()
    }

    /// Bytes that the agent sent: heads and bodies of all requests.
    pub fn wire_bytes(&self) -> u64 {
        self.shared.wire_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn reports(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request.
    fn answer(&self, request: &[u8]) -> io::Result<String> {
        if request.starts_with(b"POST /api/v1/agent/enroll ") {
            let (node, environment) = (Uuid::now_v7(), Uuid::now_v7());
            let answer = json!({
                "nodeId": node, "nodeToken": "systole_node_bench", "environmentId": environment,
                "environmentName": "bench", "protocol": 1,
            });
            return Ok(answer.to_string());
        }
        let came = clock::now_ms();
        let opened = zstd::decode_all(body(request))?;
        let request: ReportRequest<'_> = serde_json::from_slice(&opened)?;
        let mut reports = self.reports();
        for report in &request.reports {
            let samples = report.pipelines.iter().filter(|pipeline| pipeline.sample.is_some()).count();
            let lines = report.pipelines.iter().map(|pipeline| pipeline.logs.len()).sum();
            reports.push(Seen { seq: report.seq, end: report.end, came, samples, lines });
        }
        let last = request.reports.last().map_or(0, |report| report.seq);
        let ack = ReportAck {
            received_seq: last,
            durable_seq: last,
            refused: Vec::new(),
            refused_count: 0,
            interval_ms: self.interval_ms,
            now: came,
            missing: None,
            desired_generation: None,
            actions: Vec::new(),
        };
        Ok(serde_json::to_string(&ack)?)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // It ends when the agent ends.
            let _ = converse(stream, &shared).await;
        });
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut request = Vec::new();
        read_message(&mut stream, &mut request).await?;
        shared.wire_bytes.fetch_add(request.len() as u64, Ordering::Relaxed);
        let answer = shared.answer(&request)?;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await?;
    }
}
