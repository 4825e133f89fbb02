//! Follows the feed: one stream after the other, each after the last event of the one before.
//!
//! A collector that is absent at the start is an error. After the first connection the follower waits for it to return.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rand::RngExt;
use reqwest::{Response, Url};
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::events::{Control, EventType, GoodbyeReason};
use systole_shared::sse::{Decoder, Item};
use systole_shared::{EventId, NodeId, PipelineId};
use tokio::time::Instant;

use super::address;
use super::api::{Fault, innermost};
use super::connection::Connection;
use crate::telemetry::logging::chain;

/// Silence after which a stream counts as dead before it has sent how often it pings.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// Waits before the stream is opened again. Half of a wait is random, so that clients that lost a collector together
/// do not return together; the collector may ask for up to 5 minutes.
const RECONNECT: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(300),
    jitter: Jitter::Half,
};

/// Longest wait before the stream is opened at the next address, after it was lost at one.
const LONGEST_MOVE_WAIT: Duration = Duration::from_millis(500);

/// A stream that lasted this long was healthy: the next wait is short again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What a stream contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct FeedQuery {
    pub types: Vec<EventType>,
    /// All when there is none.
    pub nodes: Vec<NodeId>,
    /// Conditions of labels, such as `site:lab`.
    pub labels: Vec<String>,
    /// All when there is none.
    pub pipelines: Vec<PipelineId>,
    /// The state first, when a stream does not resume.
    pub with_snapshot: bool,
    /// Milliseconds that a conflated event may wait for a newer one.
    pub every_ms: Option<u32>,
}

/// What happens next.
#[derive(Debug)]
pub(in crate::cli) enum Step {
    /// A stream is open: `again` after another one.
    Opened { base: Url, again: bool },
    /// The position moved without an event; also at the beginning of a stream.
    Moved,
    /// A control event, with its JSON.
    Control(Control, String),
    /// An event that has not come before.
    Event { name: String, data: String, id: Option<EventId> },
    /// The stream has ended; the next step waits and opens another one.
    Lost { why: String, wait: Duration },
}

/// Follows the feed of one collector.
#[derive(Debug)]
pub(in crate::cli) struct FeedFollower {
    connection: Arc<Connection>,
    query: FeedQuery,
    /// `X-Systole-Client`.
    client: &'static str,
    /// The last event that was returned, or a later place where there is none.
    position: Option<EventId>,
    backoff: Backoff,
    stream: Option<Stream>,
    wait: Option<Duration>,
    was_connected: bool,
}

/// An open stream.
#[derive(Debug)]
struct Stream {
    base: Url,
    response: Response,
    decoder: Decoder,
    pending: VecDeque<Item>,
    patience: Duration,
    /// The wait that the collector asks for.
    retry: Option<Duration>,
    begun: Instant,
    is_greeted: bool,
}

/// The end of a stream.
struct Ended {
    why: String,
    asked: Option<Duration>,
}

impl FeedFollower {
    /// Follows from `position`, or from now.
    pub(in crate::cli) fn new(
        connection: Arc<Connection>,
        query: FeedQuery,
        client: &'static str,
        position: Option<EventId>,
    ) -> Self {
        let backoff = Backoff::new(RECONNECT);
        FeedFollower { connection, query, client, position, backoff, stream: None, wait: None, was_connected: false }
    }

    /// The place up to which events were returned.
    pub(in crate::cli) fn position(&self) -> Option<&EventId> {
        self.position.as_ref()
    }

    /// The next stream begins with a snapshot, not after the last event.
    pub(in crate::cli) fn start_over(&mut self) {
        self.position = None;
        self.stream = None;
    }

    /// Waits for what happens next.
    ///
    /// # Errors
    ///
    /// When nothing more can come: the collector refuses the token or the query, or is absent at the start.
    pub(in crate::cli) async fn next(&mut self) -> anyhow::Result<Step> {
        loop {
            if let Some(wait) = self.wait.take() {
                tokio::time::sleep(wait).await;
            }
            let Some(stream) = &mut self.stream else {
                match self.open().await? {
                    Ok(stream) => self.stream = Some(stream),
                    Err(ended) => return Ok(self.lost(ended)),
                }
                continue;
            };
            let Some(item) = stream.pending.pop_front() else {
                match stream.read().await {
                    Ok(()) => continue,
                    Err(why) => {
                        let asked = stream.retry;
                        return Ok(self.lost(Ended { why, asked }));
                    }
                }
            };
            if let Some(step) = self.step(item).await? {
                return Ok(step);
            }
        }
    }

    /// Opens a stream at the address in use, or else at the next ones.
    async fn open(&mut self) -> anyhow::Result<Result<Stream, Ended>> {
        for _ in 1..self.connection.count_addresses() {
            let base = self.connection.url()?;
            match self.request(&base).await {
                Ok(response) => return Ok(Ok(Stream::new(base, response))),
                Err(error) if error.downcast_ref().is_some_and(Fault::is_of_one_address) => {
                    self.connection.move_on(&base);
                }
                // The last try says what it means.
                Err(_) => break,
            }
        }
        let base = match self.connection.url() {
            Ok(base) => base,
            Err(_) if self.was_connected => {
                return Ok(Err(Ended { why: "the collector does not run".to_owned(), asked: None }));
            }
            Err(error) => return Err(error),
        };
        let response = match self.request(&base).await {
            Ok(response) => response,
            Err(error) => match error.downcast::<Fault>()? {
                fault if fault.is_final() || !self.was_connected => return Err(self.connection.explained(fault).await),
                fault => return Ok(Err(Ended { asked: fault.retry_after(), why: chain(&fault) })),
            },
        };
        Ok(Ok(Stream::new(base, response)))
    }

    async fn request(&self, base: &Url) -> anyhow::Result<Response> {
        let last_id = self.position.as_ref().map(EventId::to_string);
        let url = self.query.url(base, self.connection.environment());
        self.connection.stream(url, last_id.as_deref(), self.client).await
    }

    fn lost(&mut self, ended: Ended) -> Step {
        let stream = self.stream.take();
        if stream.as_ref().is_some_and(|stream| stream.is_greeted && stream.begun.elapsed() >= STABLE_AFTER) {
            self.backoff.reset();
        }
        let random = rand::rng().random_range(0.0..=1.0);
        let wait = match stream.filter(|stream| stream.is_greeted && self.connection.count_addresses() > 1) {
            // What it asks for, it asks of the next stream at its own address.
            Some(stream) => {
                self.connection.move_on(&stream.base);
                LONGEST_MOVE_WAIT.mul_f64(random)
            }
            None => self.backoff.next(random, ended.asked),
        };
        self.wait = Some(wait);
        Step::Lost { why: ended.why, wait }
    }

    async fn step(&mut self, item: Item) -> anyhow::Result<Option<Step>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match item {
            Item::Comment(_) => Ok(None),
            Item::Retry(ms) => {
                stream.retry = Some(Duration::from_millis(ms));
                Ok(None)
            }
            Item::IdOnly(id) => {
                self.moved_to(id.parse().ok());
                Ok(Some(Step::Moved))
            }
            Item::Event { kind, data, id } => {
                let id = id.and_then(|id| id.parse::<EventId>().ok());
                let step = match serde_json::from_str::<Control>(&data) {
                    Ok(Control::Hello { ping_ms, .. }) => {
                        stream.patience =
                            Duration::from_millis(ping_ms.saturating_mul(5) / 2).max(Duration::from_secs(1));
                        stream.is_greeted = true;
                        let (base, again) = (stream.base.clone(), self.was_connected);
                        self.was_connected = true;
                        Step::Opened { base, again }
                    }
                    Ok(Control::Goodbye { reason, retry_ms }) => {
                        let why = format!("goodbye: {}", self.farewell(reason).await?);
                        self.moved_to(id);
                        return Ok(Some(self.lost(Ended { why, asked: Some(Duration::from_millis(retry_ms)) })));
                    }
                    Ok(control) => Step::Control(control, data),
                    Err(_) if self.has_passed(id.as_ref()) => return Ok(None),
                    Err(_) => Step::Event { name: kind, data, id: id.clone() },
                };
                self.moved_to(id);
                Ok(Some(step))
            }
        }
    }

    /// Each event comes once, whatever is sent again.
    fn has_passed(&self, id: Option<&EventId>) -> bool {
        let is_old = |position: &EventId| id.is_some_and(|id| id.epoch == position.epoch && id.seq <= position.seq);
        self.position.as_ref().is_some_and(is_old)
    }

    fn moved_to(&mut self, id: Option<EventId>) {
        self.position = id.or(self.position.take());
    }

    async fn farewell(&self, reason: GoodbyeReason) -> anyhow::Result<&'static str> {
        Ok(match reason {
            GoodbyeReason::Shutdown => "the collector is stopping",
            GoodbyeReason::Overloaded => "the collector is overloaded",
            GoodbyeReason::Slow => "the stream was read too slowly",
            GoodbyeReason::Revoked if self.connection.has_expired().await => "the token has expired",
            GoodbyeReason::Revoked => bail!("the token was revoked or has expired"),
        })
    }
}

impl Stream {
    /// Nothing has come yet.
    fn new(base: Url, response: Response) -> Self {
        Stream {
            base,
            response,
            decoder: Decoder::default(),
            pending: VecDeque::new(),
            patience: FIRST_PATIENCE,
            retry: None,
            begun: Instant::now(),
            is_greeted: false,
        }
    }

    /// Reads the next bytes. The error is the reason for the end.
    async fn read(&mut self) -> Result<(), String> {
        let bytes = match tokio::time::timeout(self.patience, self.response.chunk()).await {
            Err(_) => return Err(format!("nothing received for {} s", self.patience.as_secs())),
            Ok(Err(error)) => return Err(format!("the connection was lost: {}", innermost(&error))),
            Ok(Ok(None)) => return Err("the stream has ended".to_owned()),
            Ok(Ok(Some(bytes))) => bytes,
        };
        self.pending.extend(self.decoder.push(&bytes).map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl FeedQuery {
    fn url(&self, base: &Url, environment: Option<&str>) -> Url {
        let types: Vec<&str> = self.types.iter().map(|kind| kind.as_str()).collect();
        let types = types.join(",");
        let nodes: Vec<String> = self.nodes.iter().map(NodeId::to_string).collect();
        let every = self.every_ms.map(|ms| ms.to_string());
        let query = [("types", types.as_str())]
            .into_iter()
            .chain(environment.map(|name| ("environment", name)))
            .chain(nodes.iter().map(|node| ("node", node.as_str())))
            .chain(self.labels.iter().map(|label| ("label", label.as_str())))
            .chain(self.pipelines.iter().map(|pipeline| ("pipeline", pipeline.as_str())))
            .chain(self.with_snapshot.then_some(("snapshot", "1")))
            .chain(every.as_deref().map(|every| ("every", every)));
        address(base, &["events"], query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_names_types_filters_and_the_pace() {
        let base = "http://host:1/proxy/".parse().unwrap();
        let query = FeedQuery {
            types: vec![EventType::MetricUpdate, EventType::LogEntry],
            nodes: vec!["01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()],
            labels: vec!["site:lab".to_owned()],
            pipelines: vec![PipelineId::parse("a b").unwrap()],
            with_snapshot: true,
            every_ms: Some(1_000),
        };
        assert_eq!(
            query.url(&base, Some("red")).as_str(),
            "http://host:1/proxy/api/v1/events?types=metric_update%2Clog_entry&environment=red\
             &node=01890a5d-ac96-774b-bcce-b302099a8057&label=site%3Alab&pipeline=a%20b&snapshot=1&every=1000"
        );
        assert_eq!(FeedQuery::default().url(&base, None).query(), Some("types="));
    }
}
