//! The feed: streams committed events to the subscribers that may read them.
//!
//! `hub` keeps the recent frames, rings per environment, and a subscriber is only a set of cursors into
//! them: no queue per subscriber, and no subscriber delays another. `worker_notifier` wakes the subscribers
//! of one worker thread, `subscriber` runs one stream, `replay` reads from the database what the
//! rings have removed, `snapshot` is the state at one point of the sequence, `frame` an event in the rings,
//! `encode` the bytes of a stream (`vectorflow` those of `/api/sse`).

mod admission;
mod conflation;
mod encode;
mod frame;
mod hub;
mod replay;
mod retention_floor;
mod ring;
mod snapshot;
mod subscriber;
mod worker_notifier;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use systole_shared::events::EventType;
use systole_shared::{NodeId, PipelineId, TokenId};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Scope};
use crate::config::StreamLimits;
use crate::model::PendingEvent;
use crate::model::directory::LabelFilter;
use crate::store::{FeedPosition, StateParts, Store};
use crate::telemetry::{ReasonLabel, Telemetry};
use crate::timeseries::TimeSeries;
use crate::timeseries::recent::RecentSamples;

pub(crate) use self::admission::Overloaded;
pub(crate) use self::encode::{HELD_BACK_BYTES, control};
pub(crate) use self::subscriber::Subscriber;
pub(crate) use self::worker_notifier::WorkerNotifier;

use self::admission::{ConnectionGuard, Connections};
use self::hub::Hub;
use self::retention_floor::RetentionFloor;
use self::snapshot::Snapshots;

/// How long a client waits whose last id is not here yet.
const AHEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Replays that read from the database at a time; the others wait with pings.
const CONCURRENT_REPLAYS: usize = 4;

/// A subscriber gets a ping this often.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(10);

/// The events that a subscriber requests.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub types: BTreeSet<EventType>,
    /// Empty: every node.
    pub nodes: Vec<NodeId>,
    /// Only nodes that have such labels when an event is sent.
    pub labels: Option<LabelFilter>,
    /// Empty: every pipeline, and events of nodes.
    pub pipelines: Vec<PipelineId>,
    /// Environments that it may see and wants to see.
    pub scope: Scope,
    /// Conflation period of fleet_status, fleet_totals and metric_update.
    pub every: Duration,
    /// The state that comes first; `None`: only after a reset.
    pub snapshot: Option<StateParts>,
    pub resume: Resume,
    pub encoding: Encoding,
}

/// The encoding of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As `systole_shared::events` has them.
    Native,
    /// As VectorFlow's dashboards read them.
    VectorFlow,
}

/// The start position of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// New events only.
    Live,
    /// After this id.
    After(systole_shared::EventId),
    /// After an id that cannot be parsed.
    Unreadable,
}

impl Subscription {
    fn wants_durable(&self) -> bool {
        self.types.iter().any(|kind| kind.is_durable())
    }

    fn wants_conflated(&self) -> bool {
        self.types.iter().any(|kind| !kind.is_durable())
    }

    fn wants(&self, kind: EventType, node: Option<NodeId>, pipeline: Option<&PipelineId>) -> bool {
        self.types.contains(&kind)
            && (self.nodes.is_empty() || node.is_some_and(|node| self.nodes.contains(&node)))
            && self.labels.as_ref().is_none_or(|labels| node.is_some_and(|node| labels.matches(node)))
            && (self.pipelines.is_empty() || pipeline.is_some_and(|pipeline| self.pipelines.contains(pipeline)))
    }
}

/// The lag of the slowest subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lag {
    /// Durable events that the slowest subscriber has not polled, without those that are only in the database.
    pub events: usize,
    /// The age of the oldest of these events.
    pub seconds: f64,
}

/// The dependencies of the feed.
pub(crate) struct FeedParts {
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub recent_samples: Arc<RecentSamples>,
    pub auth: Arc<Authenticator>,
    pub telemetry: Arc<Telemetry>,
    pub limits: StreamLimits,
    /// Ends every stream with a goodbye.
    pub stop: CancellationToken,
    /// Whether other collectors have the same events.
    pub is_clustered: bool,
}

/// The feed of one collector.
pub(crate) struct Feed {
    epoch: Arc<str>,
    hub: Hub,
    store: Arc<dyn Store>,
    timeseries: Arc<TimeSeries>,
    recent_samples: Arc<RecentSamples>,
    auth: Arc<Authenticator>,
    telemetry: Arc<Telemetry>,
    retention_floor: RetentionFloor,
    snapshots: Snapshots,
    replays: Semaphore,
    connections: Arc<Connections>,
    /// Streams that want samples.
    sample_streams: AtomicUsize,
    stop: CancellationToken,
    is_clustered: bool,
}

impl Feed {
    /// Creates a feed that continues after the last committed event.
    pub(crate) fn new(position: &FeedPosition, parts: FeedParts) -> Self {
        Feed {
            epoch: Arc::clone(&position.epoch),
            hub: Hub::new(position.head),
            store: parts.store,
            timeseries: parts.timeseries,
            recent_samples: parts.recent_samples,
            auth: parts.auth,
            telemetry: parts.telemetry,
            retention_floor: RetentionFloor::default(),
            snapshots: Snapshots::default(),
            replays: Semaphore::new(CONCURRENT_REPLAYS),
            connections: Arc::new(Connections::new(parts.limits, Instant::now())),
            sample_streams: AtomicUsize::new(0),
            stop: parts.stop,
            is_clustered: parts.is_clustered,
        }
    }

    /// Waits until this number is published here: a client may have it from a collector that is a moment ahead.
    async fn wait_for_head(&self, seq: u64) {
        let mut publications = self.hub.watch();
        let reached = async { while self.hub.head() < seq && publications.changed().await.is_ok() {} };
        if self.is_clustered && self.hub.head() < seq {
            let _ = tokio::time::timeout(AHEAD_TIMEOUT, reached).await;
        }
    }

    /// Whether a number was never given out. In a cluster the database decides, which has the head of all collectors.
    async fn is_ahead(&self, seq: u64) -> bool {
        if seq <= self.hub.head() {
            return false;
        }
        if !self.is_clustered {
            return true;
        }
        // When it does not answer, the number may be right: the client keeps it.
        self.store.feed_position().await.is_ok_and(|position| seq > position.head)
    }

    /// Whether any stream wants samples.
    pub(crate) fn wants_samples(&self) -> bool {
        self.sample_streams.load(Ordering::Relaxed) > 0
    }

    /// Publishes committed events in their order. Never waits for a subscriber.
    pub(crate) fn publish(&self, events: Vec<PendingEvent>, head: u64) {
        self.hub.publish(events, head);
    }

    /// Continues after the last committed event, if it is newer than the last published one.
    pub(crate) fn skip_to(&self, head: u64) {
        self.hub.skip_to(head);
    }

    /// Highest sequence number that was published.
    pub(crate) fn head(&self) -> u64 {
        self.hub.head()
    }

    /// Returns the lag of the slowest subscriber.
    pub(crate) fn lag(&self) -> Lag {
        let Some(slowest) = self.connections.slowest() else { return Lag::default() };
        let (events, first) = self.hub.durable_behind(slowest);
        Lag { events, seconds: first.map_or(0.0, |at| at.elapsed().as_secs_f64()) }
    }

    /// Makes room for one more stream, or does not.
    fn admit(&self, token: TokenId) -> Result<ConnectionGuard, Overloaded> {
        self.connections.admit(token, Instant::now()).inspect_err(|refused| {
            self.telemetry.feed_refused.get_or_create(&ReasonLabel { reason: refused.as_str() }).inc();
        })
    }
}
