//! The push stream: what the collector wants reaches the node at once, and not with the next answer.
//!
//! Nothing depends on it. Without a stream (a proxy that takes none, a collector that has it turned off) the same
//! comes with the answers to other requests. What the messages are is the protocol's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::sse::{Decoder, Item};
use tokio::time::{Instant, sleep, timeout};

use super::instructions::Instructions;
use super::protocol::CollectorClient;
use super::request_error::RequestError;
use super::transport::OpenStream;
use crate::metrics::AgentCounters;
use crate::model::node::node_token;

/// Between two questions at a collector that has no push stream.
const NO_STREAM_WAIT: Duration = Duration::from_secs(600);

/// A stream that lived so long was none of a server that closes each one at once.
const STABLE_FOR: Duration = Duration::from_secs(5);

/// Between two checks whether the node has a token.
const NO_TOKEN_WAIT: Duration = Duration::from_secs(1);

/// Longest wait of a stream that follows requests to another address.
const LONGEST_MOVE_WAIT: Duration = Duration::from_millis(500);

/// The waits between two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushTiming {
    backoff: BackoffPolicy,
    no_stream: Duration,
    no_token: Duration,
}

impl Default for PushTiming {
    fn default() -> Self {
        let backoff = BackoffPolicy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(600),
            jitter: Jitter::Full,
        };
        PushTiming { backoff, no_stream: NO_STREAM_WAIT, no_token: NO_TOKEN_WAIT }
    }
}

/// What a message says of the stream itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamNote {
    /// The collector serves the stream.
    pub(super) is_welcome: bool,
    /// How long the stream may be silent from now on.
    pub(super) silence: Option<Duration>,
    /// The collector ends it, and says when to come again.
    pub(super) goodbye: Option<Duration>,
}

/// Holds the push stream.
#[derive(Debug)]
pub(crate) struct PushClient {
    client: Arc<CollectorClient>,
    /// Where the node's token is kept.
    data_dir: PathBuf,
    instructions: Instructions,
    counters: Arc<AgentCounters>,
    timing: PushTiming,
}

/// How a stream ended.
enum StreamEnd {
    /// By the collector's wish, which says when to come again.
    Goodbye(Duration),
    /// Requests go to another address of the collector.
    Moved,
    /// By itself.
    Broken(String),
}

impl PushClient {
    /// Not connected yet.
    pub(crate) fn new(
        client: Arc<CollectorClient>,
        data_dir: PathBuf,
        instructions: Instructions,
        counters: Arc<AgentCounters>,
        timing: PushTiming,
    ) -> Self {
        PushClient { client, data_dir, instructions, counters, timing }
    }

    /// Holds a stream, and opens the next one when it ends. Never ends.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.timing.backoff);
        loop {
            let Some(token) = node_token::read(&self.data_dir) else {
                sleep(self.timing.no_token).await;
                continue;
            };
            let wait = match self.client.push(&token).await {
                Ok(stream) => {
                    self.counters.push_connected.set(true);
                    let opened = Instant::now();
                    let end = self.follow(stream, &mut backoff).await;
                    if opened.elapsed() >= STABLE_FOR {
                        backoff.reset();
                    }
                    self.counters.push_connected.set(false);
                    self.counters.push_reconnects.add(1);
                    match end {
                        StreamEnd::Goodbye(wait) => backoff.next(rand::random(), Some(wait)),
                        StreamEnd::Moved => LONGEST_MOVE_WAIT.mul_f64(rand::random()),
                        StreamEnd::Broken(error) => {
                            tracing::debug!(error, "the push stream ended");
                            backoff.next(rand::random(), None)
                        }
                    }
                }
                Err(error) if has_no_stream(&error) => {
                    tracing::debug!(%error, "the collector has no push stream; what it wants comes with its answers");
                    self.timing.no_stream
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot open the push stream");
                    backoff.next(rand::random(), error.retry_after())
                }
            };
            sleep(wait).await;
        }
    }

    async fn follow(&self, stream: OpenStream, backoff: &mut Backoff) -> StreamEnd {
        let OpenStream { mut response, address } = stream;
        let mut address_in_use = self.client.watch_address();
        let mut decoder = Decoder::default();
        let opened = self.client.stream_opened().await;
        if opened.is_welcome {
            backoff.reset();
        }
        let mut silence = opened.silence.unwrap_or(NO_STREAM_WAIT);
        loop {
            let chunk = tokio::select! {
                chunk = timeout(silence, response.chunk()) => chunk,
                Ok(_) = address_in_use.wait_for(|in_use| *in_use != address) => return StreamEnd::Moved,
            };
            let chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return StreamEnd::Broken("the collector closed it".to_owned()),
                Ok(Err(error)) => return StreamEnd::Broken(error.to_string()),
                Err(_) => return StreamEnd::Broken(format!("nothing came within {} s", silence.as_secs_f64())),
            };
            let items = match decoder.push(&chunk) {
                Ok(items) => items,
                Err(error) => return StreamEnd::Broken(error.to_string()),
            };
            for item in items {
                let Item::Event { kind, data, .. } = item else { continue };
                let note = self.client.heed(&kind, &data, &self.instructions).await;
                if note.is_welcome {
                    backoff.reset();
                }
                silence = note.silence.unwrap_or(silence);
                if let Some(wait) = note.goodbye {
                    return StreamEnd::Goodbye(wait);
                }
            }
        }
    }
}

/// Whether the answer says that there is no such route: an older collector, or one that has it turned off.
fn has_no_stream(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Refused { status: StatusCode::NOT_FOUND, .. }
            | RequestError::Foreign { status: StatusCode::NOT_FOUND, .. }
    )
}
