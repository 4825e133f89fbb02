//! A subscriber that disconnects repeatedly, orderly or with a reset, and continues
//! after its last id.
//!
//! It uses HTTP directly: a client with a pool cannot reset a connection on demand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use systole_shared::sse::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::filter::{Filter, World};
use super::record::Record;
use crate::bench::feed::scan::{Chunks, head_end};
use crate::oracle::check::Stored;

/// How long it stays, milliseconds.
const STAY_MS: std::ops::Range<u64> = 50..5_000;
/// How long it is away, milliseconds.
const AWAY_MS: std::ops::Range<u64> = 10..1_500;
/// For a connection and the answer's head.
const ANSWER: Duration = Duration::from_secs(10);
/// Until the last event has arrived, after the last report.
const CAUGHT_UP: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 16 << 10;

/// The events that a subscriber waits for before it ends.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What there is.
    pub stored: Arc<Stored>,
    /// In how many epochs it has lived then.
    pub epochs: usize,
}

/// A subscriber.
#[derive(Debug)]
pub struct Subscriber {
    /// The collector, or those of a cluster: each connection goes to any of them.
    pub addresses: Vec<SocketAddr>,
    /// Its right to read.
    pub token: String,
    /// Its filter.
    pub filter: Filter,
    /// Everything that a filter can name.
    pub world: Arc<World>,
    /// What came.
    pub record: Record,
    /// Connections that were made.
    pub connections: u64,
    /// Decides when it leaves.
    pub random: StdRng,
}

/// A connection that has been answered.
struct Stream {
    stream: TcpStream,
    chunks: Chunks,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Subscriber {
    /// Reads until the goal is known and reached.
    pub async fn run(mut self, mut goal: watch::Receiver<Option<Goal>>) -> Self {
        let mut deadline = None;
        loop {
            if self.is_done(&goal) {
                return self;
            }
            if goal.borrow().is_some() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + CAUGHT_UP);
                assert!(Instant::now() < deadline, "not caught up: {:?} of {:?}", self.record.last_id(), self.filter);
            }
            if let Ok(Ok(stream)) = timeout(ANSWER, self.connect()).await {
                self.connections += 1;
                self.record.connect();
                self.stay(stream, &mut goal).await;
            }
            let away = if goal.borrow().is_some() { 50 } else { self.random.random_range(AWAY_MS) };
            sleep(Duration::from_millis(away)).await;
        }
    }

    fn is_done(&self, goal: &watch::Receiver<Option<Goal>>) -> bool {
        let goal = goal.borrow();
        let reached = |goal: &Goal| self.record.has_reached(&self.filter, &self.world, &goal.stored, goal.epochs);
        goal.as_ref().is_some_and(reached)
    }

    async fn connect(&mut self) -> io::Result<Stream> {
        let address = self.addresses[self.random.random_range(0..self.addresses.len())];
        let mut stream = TcpStream::connect(address).await?;
        let resume = self.record.last_id().map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET /api/v1/events?{} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nX-Systole-Client: oracle\r\n{resume}\r\n",
            self.filter.query(),
            address,
            self.token
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let end = loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = head_end(&answer) {
                break end;
            }
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        // 408: of a collector that was frozen when the request came.
        assert!(status == 200 || status == 408 || status >= 500, "{}: {head}", self.filter.query());
        if status != 200 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut stream =
            Stream { stream, chunks: Chunks::default(), decoder: Decoder::default(), buffer: vec![0; READ_BYTES] };
        self.take(&mut stream, &answer[end..])?;
        Ok(stream)
    }

    /// Reads until it is time to leave, or the stream ends.
    async fn stay(&mut self, mut stream: Stream, goal: &mut watch::Receiver<Option<Goal>>) {
        let leaves = Instant::now() + Duration::from_millis(self.random.random_range(STAY_MS));
        loop {
            if self.is_done(goal) {
                return;
            }
            let is_calm = goal.borrow().is_some();
            let mut buffer = std::mem::take(&mut stream.buffer);
            tokio::select! {
                read = stream.stream.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => {
                        if self.take(&mut stream, &buffer[..count]).is_err() {
                            return;
                        }
                    }
                    _ => return,
                },
                () = sleep_until(leaves), if !is_calm => {
                    if self.random.random_bool(0.5) {
                        // A reset instead of a farewell.
                        let _ = stream.stream.set_zero_linger();
                    }
                    return;
                }
                _ = goal.changed() => {}
            }
            stream.buffer = buffer;
        }
    }

    fn take(&mut self, stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(content) = stream.chunks.next(&mut bytes)? {
            for item in stream.decoder.push(content).expect("events are bounded") {
                self.record.take(item, &self.filter, &self.world);
            }
        }
        Ok(())
    }
}
