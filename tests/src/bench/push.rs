//! Push streams beside the fleet: one for each node, as agents hold them. What they cost is the difference between a
//! run with them and one without.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Until all streams are open.
const CONNECTED: Duration = Duration::from_secs(180);
/// Streams that are being opened at a time.
const OPENING: usize = 64;
/// The wait after a stream has ended.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is checked whether all are open.
const LOOK: Duration = Duration::from_millis(100);
/// What one read takes: a message has some hundred bytes.
const READ_BYTES: usize = 512;

/// What the streams have seen.
#[derive(Debug, Default)]
pub struct PushTally {
    /// Streams that are open.
    pub open: AtomicU64,
    /// Bytes that came.
    pub bytes: AtomicU64,
    /// Streams that ended before the end.
    pub ended: AtomicU64,
}

/// Streams of a fleet; they end with this.
#[derive(Debug)]
pub struct PushStreams {
    tasks: JoinSet<()>,
    /// What they have seen.
    pub tally: Arc<PushTally>,
}

impl PushStreams {
    /// Opens a stream with each of these tokens, and waits until all are open.
    pub async fn open(address: SocketAddr, tokens: Vec<String>, bar: &ProgressBar) -> anyhow::Result<Self> {
        let (tally, opening) = (Arc::new(PushTally::default()), Arc::new(Semaphore::new(OPENING)));
        let mut streams = PushStreams { tasks: JoinSet::new(), tally: Arc::clone(&tally) };
        let count = tokens.len() as u64;
        for token in tokens {
            streams.tasks.spawn(keep_open(address, token, Arc::clone(&tally), Arc::clone(&opening)));
        }
        let deadline = Instant::now() + CONNECTED;
        while tally.open.load(Ordering::Relaxed) < count {
            bar.set_position(tally.open.load(Ordering::Relaxed));
            if Instant::now() > deadline {
                bail!("only {} of {count} push streams are open", tally.open.load(Ordering::Relaxed));
            }
            sleep(LOOK).await;
        }
        Ok(streams)
    }
}

async fn keep_open(address: SocketAddr, token: String, tally: Arc<PushTally>, opening: Arc<Semaphore>) {
    loop {
        // A failure is the end of a stream like any other: it is counted.
        let _ = follow(address, &token, &tally, &opening).await;
        tally.ended.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}

async fn follow(address: SocketAddr, token: &str, tally: &PushTally, opening: &Semaphore) -> io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    let permit = opening.acquire().await.map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /api/v1/agent/push HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let read = stream.read(&mut buffer).await?;
    if !buffer[..read].starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    drop(permit);
    tally.open.fetch_add(1, Ordering::Relaxed);
    let end = loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(read) => tally.bytes.fetch_add(read as u64, Ordering::Relaxed),
            Err(error) => break Err(error),
        };
    };
    tally.open.fetch_sub(1, Ordering::Relaxed);
    end
}
