//! The push streams of agents: one per node, so that a change arrives at once and not with the next report.
//!
//! A stream has no queue of generations: it reads the newest one when it is woken. Only actions wait for it, a few of
//! them. So ten thousand open streams cost a socket and some hundred bytes each, beside what the server needs for a
//! connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::HashMap;
use rand::RngExt;
use systole_shared::action::{AgentAction, PushMessage};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::Delivery;
use super::encode::Encoding;
use crate::auth::{Authenticator, Identity};
use crate::clock;
use crate::model::NodeKey;

/// A ping comes this often. Agents report every few seconds on another connection, so this one only has to outlive
/// the idle time-outs of proxies, of which the shortest usual one is 30 s.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Actions that wait for one stream. An operator asks for one at a time.
const MAX_WAITING_ACTIONS: usize = 32;

/// Over how long at most the goodbyes of a shutdown are spread, and the part of it that each stream adds.
const MAX_GOODBYE_SPREAD_MS: u64 = 4_000;
const GOODBYE_SPREAD_STREAMS_PER_MS: u64 = 2;

/// The wait that a goodbye asks for, so that agents return one after the other. The longer one is for an agent whose
/// stream was replaced: another agent may have the same token.
pub(super) const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;
const REPLACED_RETRY_MS: std::ops::RangeInclusive<u64> = 10_000..=20_000;

/// Open streams by node.
#[derive(Debug, Default)]
pub(crate) struct PushHub {
    links: Mutex<HashMap<NodeKey, Arc<Link>>>,
    is_stopping: AtomicBool,
}

/// What a stream and the hub share.
#[derive(Debug, Default)]
struct Link {
    woken: Notify,
    actions: Mutex<VecDeque<AgentAction>>,
    /// The generation is to be sent again though it is not new.
    is_repeated: AtomicBool,
    /// Another stream of the node has come, or the node was removed.
    is_closed: AtomicBool,
}

impl Link {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.woken.notify_one();
    }

    fn actions(&self) -> MutexGuard<'_, VecDeque<AgentAction>> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PushHub {
    fn links(&self) -> MutexGuard<'_, HashMap<NodeKey, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open streams.
    pub(crate) fn count(&self) -> usize {
        self.links().len()
    }

    /// Whether a node has a stream here.
    pub(crate) fn has_stream(&self, node: NodeKey) -> bool {
        self.links().contains_key(&node)
    }

    /// Sends an action to a node's stream. False when it has none, or too much waits for it.
    pub(crate) fn send(&self, node: NodeKey, action: AgentAction) -> bool {
        let links = self.links();
        let Some(link) = links.get(&node) else { return false };
        let mut actions = link.actions();
        if actions.len() >= MAX_WAITING_ACTIONS {
            return false;
        }
        actions.push_back(action);
        link.woken.notify_one();
        true
    }

    /// Lets streams read the generations of their nodes.
    pub(super) fn wake(&self, nodes: &[NodeKey]) {
        if nodes.is_empty() {
            return;
        }
        let links = self.links();
        nodes.iter().filter_map(|node| links.get(node)).for_each(|link| link.woken.notify_one());
    }

    /// Lets the stream of a node send its generation once more: there is something to fetch beside it.
    pub(crate) fn repeat(&self, node: NodeKey) {
        if let Some(link) = self.links().get(&node) {
            link.is_repeated.store(true, Ordering::Relaxed);
            link.woken.notify_one();
        }
    }

    /// Ends the stream of a node.
    pub(super) fn disconnect(&self, node: NodeKey) {
        if let Some(link) = self.links().remove(&node) {
            link.close();
        }
    }

    /// Ends every stream with a goodbye, one after the other.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.links().values().for_each(|link| link.woken.notify_one());
    }

    /// Whether the streams are to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn open(&self, node: NodeKey) -> Arc<Link> {
        let link = Arc::new(Link::default());
        if let Some(replaced) = self.links().insert(node, Arc::clone(&link)) {
            replaced.close();
        }
        link
    }

    /// Removes a stream, unless another one has replaced it.
    fn close(&self, node: NodeKey, own: &Arc<Link>) {
        let mut links = self.links();
        if links.get(&node).is_some_and(|link| Arc::ptr_eq(link, own)) {
            links.remove(&node);
        }
    }
}

/// One open stream.
pub(crate) struct PushStream {
    delivery: Arc<Delivery>,
    auth: Arc<Authenticator>,
    identity: Identity,
    node: NodeKey,
    encoding: Encoding,
    link: Arc<Link>,
    stage: Stage,
    /// The last generation that was sent.
    generation: u64,
    /// One timer, kept: a new one for every wait costs more.
    timer: Pin<Box<Sleep>>,
    next_ping: Instant,
    /// The time of the goodbye when the collector stops.
    close_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Live,
    Closed,
}

impl PushStream {
    /// Opens the stream of a node, and ends the one that it had.
    pub(crate) fn open(
        delivery: Arc<Delivery>,
        auth: Arc<Authenticator>,
        identity: Identity,
        node: NodeKey,
        encoding: Encoding,
    ) -> Self {
        // Streams that were opened in one moment, as after a restart, must not have their pings in one.
        let next_ping = Instant::now() + PING_EVERY.mul_f64(rand::rng().random_range(0.0..=1.0));
        PushStream {
            link: delivery.push.open(node),
            delivery,
            auth,
            identity,
            node,
            encoding,
            stage: Stage::Open,
            generation: 0,
            timer: Box::pin(sleep_until(next_ping)),
            next_ping,
            close_at: None,
        }
    }

    /// The next write, or the end.
    pub(crate) async fn next_write(&mut self) -> Option<Bytes> {
        loop {
            let message = match self.stage {
                Stage::Open => self.hello(),
                Stage::Live => match self.next_message() {
                    Some(message) => message,
                    None => {
                        self.wait().await;
                        continue;
                    }
                },
                Stage::Closed => return None,
            };
            let write = self.encoding.render(&message);
            // Not each form has each message, and a chunk must have bytes.
            if !write.is_empty() {
                return Some(write);
            }
        }
    }

    fn hello(&mut self) -> PushMessage {
        self.stage = Stage::Live;
        let generation = self.current_generation();
        self.generation = match self.encoding.names_generations() {
            true => generation,
            // A change since its last poll is the next message.
            false => self.delivery.given_generation(self.node).unwrap_or(0),
        };
        PushMessage::Hello { generation, ping_ms: u64::try_from(PING_EVERY.as_millis()).unwrap_or(u64::MAX) }
    }

    /// What is to be sent now.
    fn next_message(&mut self) -> Option<PushMessage> {
        if self.link.is_closed.load(Ordering::Relaxed) {
            return Some(self.goodbye(REPLACED_RETRY_MS));
        }
        if !self.auth.is_valid(&self.identity, clock::now_ms()) {
            return Some(self.goodbye(REPLACED_RETRY_MS));
        }
        if self.delivery.push.is_stopping() {
            let now = Instant::now();
            let spread = self.delivery.push.count() as u64 / GOODBYE_SPREAD_STREAMS_PER_MS;
            let wait = || now + Duration::from_millis(rand::rng().random_range(0..=spread.min(MAX_GOODBYE_SPREAD_MS)));
            if now >= *self.close_at.get_or_insert_with(wait) {
                return Some(self.goodbye(RETRY_MS));
            }
        }
        if let Some(action) = self.link.actions().pop_front() {
            return Some(PushMessage::Action(action));
        }
        let generation = self.current_generation();
        if self.link.is_repeated.swap(false, Ordering::Relaxed) || generation != self.generation {
            self.generation = generation;
            return Some(PushMessage::Desired { generation });
        }
        let now = Instant::now();
        if now >= self.next_ping {
            self.next_ping = now + PING_EVERY;
            return Some(PushMessage::Ping { now: clock::now_ms() });
        }
        None
    }

    fn current_generation(&self) -> u64 {
        self.delivery.generation(self.node).unwrap_or(0)
    }

    fn goodbye(&mut self, retry_ms: std::ops::RangeInclusive<u64>) -> PushMessage {
        self.stage = Stage::Closed;
        PushMessage::Goodbye { retry_ms: rand::rng().random_range(retry_ms) }
    }

    async fn wait(&mut self) {
        let wake_at = self.close_at.map_or(self.next_ping, |close_at| close_at.min(self.next_ping));
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        tokio::select! {
            () = self.link.woken.notified() => {}
            () = self.timer.as_mut() => {}
        }
    }
}

impl Drop for PushStream {
    fn drop(&mut self) {
        self.delivery.push.close(self.node, &self.link);
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
