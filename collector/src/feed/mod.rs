//! The feed: what was committed, as it is committed, to whoever may see it.
//!
//! `hub` keeps the recent frames, one ring per environment, and a subscriber is nothing but a
//! cursor into them: no queue per subscriber, nobody to wait for. `subscriber` is the life of one
//! stream, `replay` reads back from the database what the rings have no more, `snapshot` is the
//! state at one point of the sequence, `frame` the bytes.

mod frame;
mod hub;
mod limits;
mod replay;
mod snapshot;
mod subscriber;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::events::EventType;
use systole_shared::{NodeId, PipelineId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Identity, Scope};
use crate::ingest::changes::PendingEvent;
use crate::journal::Journal;
use crate::rings::Rings;
use crate::store::{FeedPosition, Store};
use crate::telemetry::Telemetry;

pub(crate) use self::frame::control;
pub(crate) use self::limits::Overloaded;
pub(crate) use self::subscriber::Subscriber;

use self::hub::Hub;
use self::limits::Connections;

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
    fn wants(&self, kind: EventType, node: NodeId, pipeline: Option<&PipelineId>) -> bool {
        self.types.contains(&kind)
            && (self.nodes.is_empty() || self.nodes.contains(&node))
            && (self.pipelines.is_empty() || pipeline.is_some_and(|pipeline| self.pipelines.contains(pipeline)))
    }
}

/// The feed of one collector.
pub(crate) struct Feed {
    epoch: Arc<str>,
    hub: Hub,
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    rings: Arc<Rings>,
    auth: Arc<Authenticator>,
    telemetry: Arc<Telemetry>,
    replays: Semaphore,
    connections: Arc<Connections>,
    stop: CancellationToken,
}

impl Feed {
    /// A feed that goes on behind what is committed.
    pub(crate) fn new(
        position: &FeedPosition,
        store: Arc<dyn Store>,
        journal: Arc<Journal>,
        rings: Arc<Rings>,
        auth: Arc<Authenticator>,
        telemetry: Arc<Telemetry>,
        stop: CancellationToken,
    ) -> Self {
        Feed {
            epoch: Arc::clone(&position.epoch),
            hub: Hub::new(position.head),
            store,
            journal,
            rings,
            auth,
            telemetry,
            replays: Semaphore::new(CONCURRENT_REPLAYS),
            connections: Arc::default(),
            stop,
        }
    }

    /// Hands out what was committed, in its order. Waits for nobody.
    pub(crate) fn publish(&self, events: Vec<PendingEvent>, head: u64) {
        let frames = events.into_iter().map(frame::Frame::from).collect();
        self.hub.publish(frames, head);
    }

    /// Goes on behind what is committed, when that is more than what was published.
    pub(crate) fn skip_to(&self, head: u64) {
        self.hub.skip_to(head);
    }

    /// Highest sequence number that was published.
    pub(crate) fn head(&self) -> u64 {
        self.hub.head()
    }

    /// Opens a stream.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        identity: Identity,
        subscription: Subscription,
    ) -> Result<Subscriber, Overloaded> {
        let guard = self.connections.enter(identity.token)?;
        Ok(Subscriber::new(Arc::clone(self), identity, subscription, guard))
    }
}
