//! The push stream: what the collector wants reaches the node at once, and not with the next answer.
//!
//! Nothing depends on it. Without a stream (a proxy that takes none, a collector that has it turned off) the same
//! comes with the answers to reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::action::PushMessage;
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::sse::{Decoder, Item};
use tokio::time::{sleep, timeout};

use super::instructions::Instructions;
use super::protocol::CollectorClient;
use super::request_error::RequestError;
use crate::model::node::node_token;

/// How long the first message may take, after the stream is open.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Pings that may be missing before the stream counts as dead.
const PINGS_MISSED: u32 = 2;

/// Bounds of the time between pings that a collector may name.
const PING_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(120));

/// Between two questions at a collector that has no push stream.
const NO_STREAM_WAIT: Duration = Duration::from_secs(600);

/// Between two checks whether the node has a token.
const NO_TOKEN_WAIT: Duration = Duration::from_secs(1);

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

/// Holds the push stream.
#[derive(Debug)]
pub(crate) struct PushClient {
    client: Arc<CollectorClient>,
    /// Where the node's token is kept.
    data_dir: PathBuf,
    instructions: Instructions,
    timing: PushTiming,
}

/// How a stream ended.
enum StreamEnd {
    /// By the collector's wish, which says when to come again.
    Goodbye(Duration),
    /// By itself.
    Broken(String),
}

impl PushClient {
    /// Not connected yet.
    pub(crate) fn new(
        client: Arc<CollectorClient>,
        data_dir: PathBuf,
        instructions: Instructions,
        timing: PushTiming,
    ) -> Self {
        PushClient { client, data_dir, instructions, timing }
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
                Ok(response) => match self.follow(response, &mut backoff).await {
                    StreamEnd::Goodbye(wait) => backoff.next(rand::random(), Some(wait)),
                    StreamEnd::Broken(error) => {
                        tracing::debug!(error, "the push stream ended");
                        backoff.next(rand::random(), None)
                    }
                },
                Err(error) if has_no_stream(&error) => {
                    tracing::debug!(%error, "the collector has no push stream; what it wants comes with answers to reports");
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

    async fn follow(&self, mut response: reqwest::Response, backoff: &mut Backoff) -> StreamEnd {
        let mut decoder = Decoder::default();
        let mut deadline = HELLO_TIMEOUT;
        loop {
            let chunk = match timeout(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return StreamEnd::Broken("the collector closed it".to_owned()),
                Ok(Err(error)) => return StreamEnd::Broken(error.to_string()),
                Err(_) => return StreamEnd::Broken(format!("nothing came within {} s", deadline.as_secs_f64())),
            };
            let items = match decoder.push(&chunk) {
                Ok(items) => items,
                Err(error) => return StreamEnd::Broken(error.to_string()),
            };
            for item in items {
                let Item::Event { kind, data, .. } = item else { continue };
                let message = match serde_json::from_str(&data) {
                    Ok(message) => message,
                    Err(error) => {
                        // A later collector may send more than this version knows.
                        tracing::debug!(kind, %error, "a message of the push stream is not known");
                        continue;
                    }
                };
                match message {
                    PushMessage::Hello { generation, ping_ms } => {
                        backoff.reset();
                        deadline = Duration::from_millis(ping_ms).clamp(PING_BOUNDS.0, PING_BOUNDS.1) * PINGS_MISSED;
                        // 0: nothing was ever wanted of the node.
                        if generation > 0 {
                            self.instructions.set_generation(generation);
                        }
                    }
                    PushMessage::Ping { .. } => {}
                    PushMessage::Desired { generation } => self.instructions.set_generation(generation),
                    PushMessage::Action(action) => self.instructions.act(action),
                    PushMessage::Goodbye { retry_ms } => return StreamEnd::Goodbye(Duration::from_millis(retry_ms)),
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
