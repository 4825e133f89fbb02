//! A subscriber of the feed that remembers everything it got.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use systole_shared::EventId;
use systole_shared::sse::{Decoder, Item};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::{Answer, ApiClient};

/// One event as it came.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    /// The id of its block.
    pub id: Option<EventId>,
    /// The field `event`.
    pub kind: String,
    /// The data.
    pub data: Value,
    /// Time of arrival.
    pub at: Instant,
    /// Which of the subscriber's connections it came by, from 1.
    pub connection: usize,
}

impl FeedEvent {
    /// Whether this is a change of a pipeline's or (with `None`) a node's state to `status`.
    pub fn is_change(&self, pipeline: Option<&str>, status: &str) -> bool {
        self.kind == "status_change"
            && self.data["pipelineId"].as_str() == pipeline
            && self.data["toStatus"].as_str() == Some(status)
    }

    /// The lines of a log_entry, of any other event none.
    pub fn lines(&self) -> Vec<String> {
        let Some(entries) = self.data["entries"].as_array().filter(|_| self.kind == "log_entry") else {
            return Vec::new();
        };
        entries.iter().filter_map(|entry| entry["line"].as_str()).map(str::to_owned).collect()
    }
}

/// What came so far.
#[derive(Debug, Default)]
struct Record {
    events: Vec<FeedEvent>,
    first_items: Vec<Item>,
    last_id: Option<EventId>,
    /// Ids without an event.
    id_only: Vec<EventId>,
    ended: bool,
}

/// A subscription; it can be cut and taken up again.
#[derive(Debug)]
pub struct Feed {
    client: ApiClient,
    query: String,
    record: Arc<Mutex<Record>>,
    changed: watch::Receiver<u64>,
    change: Arc<watch::Sender<u64>>,
    connections: usize,
    reader: Option<JoinHandle<()>>,
    /// A reader that was aborted and may still be taking events.
    aborted: Option<JoinHandle<()>>,
}

impl Feed {
    /// Subscribes with a query such as `types=log_entry&snapshot=1`.
    pub async fn open(client: &ApiClient, query: &str) -> Self {
        Self::open_after(client, query, None).await
    }

    /// Subscribes like a client that has received the events up to this id.
    pub async fn open_after(client: &ApiClient, query: &str, last_id: Option<&str>) -> Self {
        let (change, changed) = watch::channel(0);
        let mut feed = Feed {
            client: client.clone(),
            query: query.to_owned(),
            record: Arc::default(),
            changed,
            change: Arc::new(change),
            connections: 0,
            reader: None,
            aborted: None,
        };
        feed.connect(last_id).await;
        feed
    }

    /// The collector's refusal of a subscription.
    pub async fn refusal(client: &ApiClient, query: &str) -> Answer {
        client.get(&format!("/api/v1/events?{query}")).await
    }

    /// Closes the connection, like a client that loses its network.
    pub fn disconnect(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
            self.aborted = Some(reader);
        }
    }

    /// [`Self::disconnect`], and waits until no more events are taken: only then the last id is final.
    async fn leave(&mut self) {
        self.disconnect();
        if let Some(reader) = self.aborted.take()
            && let Err(error) = reader.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Connects again and continues after its last id.
    pub async fn resume(&mut self) {
        self.leave().await;
        let last_id = self.last_id().map(|id| id.to_string());
        self.connect(last_id.as_deref()).await;
    }

    /// [`Self::resume`] for a collector that may be down; returns whether it answered.
    pub async fn try_resume(&mut self) -> bool {
        self.leave().await;
        let last_id = self.last_id().map(|id| id.to_string());
        match self.request(last_id.as_deref()).send().await {
            Ok(response) if response.status().as_u16() == 200 => {
                self.follow(response);
                true
            }
            _ => false,
        }
    }

    async fn connect(&mut self, last_id: Option<&str>) {
        let response = self.request(last_id).send().await.unwrap_or_else(|error| panic!("subscribe: {error:?}"));
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap_or_default());
        assert_eq!((status, content_type), (200, Some("text/event-stream")), "subscribe with {}", self.query);
        self.follow(response);
    }

    fn request(&self, last_id: Option<&str>) -> reqwest::RequestBuilder {
        let path = format!("/api/v1/events?{}", self.query);
        let request = self.client.request(reqwest::Method::GET, &path).header("accept", "text/event-stream");
        match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    }

    fn follow(&mut self, response: reqwest::Response) {
        self.connections += 1;
        self.lock().ended = false;
        let (record, change, connection) = (Arc::clone(&self.record), Arc::clone(&self.change), self.connections);
        self.reader = Some(tokio::spawn(async move {
            read(response, &record, &change, connection).await;
            lock(&record).ended = true;
            change.send_modify(|count| *count += 1);
        }));
    }

    /// Whether the last connection is over.
    pub fn has_ended(&self) -> bool {
        self.reader.is_none() || self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Everything so far, over all connections.
    pub fn events(&self) -> Vec<FeedEvent> {
        self.lock().events.clone()
    }

    /// The events of one type.
    pub fn events_of(&self, kind: &str) -> Vec<FeedEvent> {
        self.lock().events.iter().filter(|event| event.kind == kind).cloned().collect()
    }

    /// The first two things of the first connection, before any sorting into events.
    pub fn first_items(&self) -> Vec<Item> {
        self.lock().first_items.clone()
    }

    /// The id of the last block that had one.
    pub fn last_id(&self) -> Option<EventId> {
        self.lock().last_id.clone()
    }

    /// Ids that came without an event.
    pub fn ids_without_event(&self) -> Vec<EventId> {
        self.lock().id_only.clone()
    }

    /// Waits for the first event that is as asked, those that came before included.
    pub async fn wait_for(&mut self, what: &str, timeout: Duration, matches: impl Fn(&FeedEvent) -> bool) -> FeedEvent {
        self.wait_until(what, timeout, |events| events.iter().find(|event| matches(event)).cloned()).await
    }

    /// Waits until something can be made of the events.
    pub async fn wait_until<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        look: impl Fn(&[FeedEvent]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + timeout;
        loop {
            self.changed.mark_unchanged();
            if let Some(found) = look(&self.lock().events) {
                return found;
            }
            let changed = tokio::time::timeout_at(deadline, self.changed.changed()).await;
            assert!(changed.is_ok(), "not within {timeout:?}: {what}; came: {}", self.summary());
        }
    }

    /// Waits until the server has ended the stream.
    pub async fn wait_for_end(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            self.changed.mark_unchanged();
            if self.lock().ended {
                return;
            }
            let changed = tokio::time::timeout_at(deadline, self.changed.changed()).await;
            assert!(changed.is_ok(), "the stream has not ended within {timeout:?}; came: {}", self.summary());
        }
    }

    /// The events' types with their ids, the last fifty.
    fn summary(&self) -> String {
        let events = self.events();
        let tail = &events[events.len().saturating_sub(50)..];
        let text = tail.iter().map(|event| match &event.id {
            Some(id) => format!("{}#{}", event.kind, id.seq),
            None => event.kind.clone(),
        });
        text.collect::<Vec<_>>().join(" ")
    }

    /// Asserts that ids grow strictly over all connections, and have one epoch.
    pub fn assert_ids_grow(&self) {
        let ids: Vec<EventId> = self.events().into_iter().filter_map(|event| event.id).collect();
        for pair in ids.windows(2) {
            assert_eq!(pair[0].epoch, pair[1].epoch);
            assert!(pair[0].seq < pair[1].seq, "{} came before {}", pair[0], pair[1]);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(mut response: reqwest::Response, record: &Mutex<Record>, change: &watch::Sender<u64>, connection: usize) {
    let mut decoder = Decoder::default();
    // An error is the end of the stream as well: the server went away.
    while let Ok(Some(chunk)) = response.chunk().await {
        let items = decoder.push(&chunk).expect("events are bounded");
        let mut record = lock(record);
        for item in items {
            if record.first_items.len() < 2 {
                record.first_items.push(item.clone());
            }
            take(&mut record, item, connection);
        }
        drop(record);
        change.send_modify(|count| *count += 1);
    }
}

fn take(record: &mut Record, item: Item, connection: usize) {
    let parse = |id: String| id.parse::<EventId>().unwrap_or_else(|fault| panic!("id {id:?} {fault}"));
    match item {
        Item::Event { kind, data, id } => {
            let id = id.map(parse);
            let data: Value = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{kind}: {error}: {data}"));
            assert_eq!(data["type"], kind.as_str(), "the data repeat the type");
            if id.is_some() {
                record.last_id.clone_from(&id);
            }
            record.events.push(FeedEvent { id, kind, data, at: Instant::now(), connection });
        }
        Item::IdOnly(id) => {
            let id = parse(id);
            record.last_id = Some(id.clone());
            record.id_only.push(id);
        }
        Item::Retry(_) | Item::Comment(_) => {}
    }
}
