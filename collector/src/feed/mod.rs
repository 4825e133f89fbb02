//! The feed: what was committed, as it is committed, to whoever may see it.
//!
//! `hub` keeps the recent frames, rings per environment, and a subscriber is nothing but cursors into
//! them: no queue per subscriber, nobody to wait for. `worker_notifier` wakes the subscribers of one worker
//! thread, `subscriber` is the life of one stream, `replay` reads back from the database what the rings
//! have no more, `snapshot` is the state at one point of the sequence, `frame` an event in the rings, `encode`
//! the bytes of a stream (`vectorflow` those of `/api/sse`).

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
use std::time::Duration;

use systole_shared::events::EventType;
use systole_shared::{NodeId, PipelineId, TokenId};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Scope};
use crate::config::StreamLimits;
use crate::model::PendingEvent;
use crate::store::{FeedPosition, Store};
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

/// Replays that read from the database at a time; the others wait with pings.
const CONCURRENT_REPLAYS: usize = 4;

/// A subscriber gets a ping this often.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(10);

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub types: BTreeSet<EventType>,
    /// Empty: every node.
    pub nodes: Vec<NodeId>,
    /// Empty: every pipeline, and events of nodes.
    pub pipelines: Vec<PipelineId>,
    /// Environments that it may see and wants to see.
    pub scope: Scope,
    /// Conflation period of fleet_status and metric_update.
    pub every: Duration,
    pub snapshot: bool,
    pub resume: Resume,
    pub encoding: Encoding,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As `systole_shared::events` has them.
    Native,
    /// As VectorFlow's dashboards read them.
    VectorFlow,
}

/// Where a subscriber goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// From now on.
    Live,
    /// Behind this id.
    After(systole_shared::EventId),
    /// Behind an id that nobody can read.
    Unreadable,
}

impl Subscription {
    fn wants_durable(&self) -> bool {
        self.types.iter().any(|kind| kind.is_durable())
    }

    fn wants_conflated(&self) -> bool {
        self.types.iter().any(|kind| !kind.is_durable())
    }

    fn wants(&self, kind: EventType, node: NodeId, pipeline: Option<&PipelineId>) -> bool {
        self.types.contains(&kind)
            && (self.nodes.is_empty() || self.nodes.contains(&node))
            && (self.pipelines.is_empty() || pipeline.is_some_and(|pipeline| self.pipelines.contains(pipeline)))
    }
}

/// How far subscribers are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lag {
    /// Durable events that the slowest one has not looked at; those that only the database has are not
    /// counted.
    pub events: usize,
    /// For how long the first of them has been published.
    pub seconds: f64,
}

/// What a feed is made of.
pub(crate) struct FeedParts {
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub recent_samples: Arc<RecentSamples>,
    pub auth: Arc<Authenticator>,
    pub telemetry: Arc<Telemetry>,
    pub limits: StreamLimits,
    /// Has every stream say goodbye.
    pub stop: CancellationToken,
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
    stop: CancellationToken,
}

impl Feed {
    /// A feed that goes on behind what is committed.
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
            stop: parts.stop,
        }
    }

    /// Hands out what was committed, in its order. Waits for nobody.
    pub(crate) fn publish(&self, events: Vec<PendingEvent>, head: u64) {
        self.hub.publish(events, head);
    }

    /// Goes on behind what is committed, when that is more than what was published.
    pub(crate) fn skip_to(&self, head: u64) {
        self.hub.skip_to(head);
    }

    /// Highest sequence number that was published.
    pub(crate) fn head(&self) -> u64 {
        self.hub.head()
    }

    /// How far the slowest subscriber is behind.
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
