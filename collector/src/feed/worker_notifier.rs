//! Wakes the subscribers of one worker thread.
//!
//! A publication wakes one task per worker, and this task wakes its worker's subscribers. So the committer
//! does not spend its time on ten thousand wake-ups, and each of them stays within a thread. While
//! subscribers of a worker are busy writing, publications add up, and the next round has them all.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::Overloaded;
use super::hub::Publications;
use super::{Feed, Subscriber, Subscription};
use crate::auth::Identity;

/// The feed as one worker sees it.
pub(crate) struct WorkerNotifier {
    feed: Arc<Feed>,
    signals: Arc<Signals>,
    relay: OnceLock<()>,
}

/// The signals that a worker's subscribers wait for. The first two also signal changed tokens and the
/// collector's stop, so that a subscriber waits for one thing only.
#[derive(Debug, Default)]
struct Signals {
    all: watch::Sender<u64>,
    durable: watch::Sender<u64>,
    canary: watch::Sender<u64>,
}

/// A subscriber's side of the signals.
#[derive(Debug)]
pub(super) struct Listener {
    /// Changes with every publication.
    pub all: watch::Receiver<u64>,
    /// Changes with those that have durable events.
    pub durable: watch::Receiver<u64>,
}

impl WorkerNotifier {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        WorkerNotifier { feed, signals: Arc::default(), relay: OnceLock::new() }
    }

    /// Opens a stream. Must be called on the worker's own thread.
    ///
    /// # Errors
    ///
    /// When there are too many streams.
    pub(crate) fn subscribe(&self, identity: Identity, subscription: Subscription) -> Result<Subscriber, Overloaded> {
        self.start_relay();
        let guard = self.feed.admit(identity.token)?;
        let listener = Listener { all: self.signals.all.subscribe(), durable: self.signals.durable.subscribe() };
        Ok(Subscriber::new(Arc::clone(&self.feed), identity, subscription, listener, guard))
    }

    /// Waits until something that is published now has come here, as an event would.
    pub(crate) async fn hear_canary(&self) {
        self.start_relay();
        let mut heard = self.signals.canary.subscribe();
        let canary = self.feed.hub.publish_canary();
        // The sender lives as long as this notifier.
        let _ = heard.wait_for(|number| *number >= canary).await;
    }

    fn start_relay(&self) {
        self.relay.get_or_init(|| {
            let (publications, access) = (self.feed.hub.watch(), self.feed.auth.watch());
            tokio::spawn(relay(publications, access, self.feed.stop.clone(), Arc::clone(&self.signals)));
        });
    }
}

/// Passes on what is published, until the feed is gone.
async fn relay(
    mut publications: watch::Receiver<Publications>,
    mut access: watch::Receiver<u64>,
    stop: CancellationToken,
    signals: Arc<Signals>,
) {
    let bump = |signal: &watch::Sender<u64>| signal.send_modify(|count| *count += 1);
    let mut known = Publications::default();
    let mut stopping = false;
    loop {
        let now = *publications.borrow_and_update();
        if known.durable != now.durable {
            bump(&signals.durable);
        }
        if known.all != now.all {
            bump(&signals.all);
        }
        if known.canary != now.canary {
            signals.canary.send_replace(now.canary);
        }
        known = now;
        tokio::select! {
            changed = publications.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            changed = access.changed() => if changed.is_err() {
                return;
            },
            () = stop.cancelled(), if !stopping => stopping = true,
        }
        bump(&signals.durable);
        bump(&signals.all);
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::events::EventType;

    use super::super::hub::Hub;
    use super::super::hub::tests::event;
    use super::*;

    #[tokio::test]
    async fn subscribers_are_woken_by_relevant_events_only() {
        let hub = Hub::new(0);
        let signals = Arc::new(Signals::default());
        let (mut all, mut durable) = (signals.all.subscribe(), signals.durable.subscribe());
        let mut canary = signals.canary.subscribe();
        let (access, stop) = (watch::Sender::new(0), CancellationToken::new());
        tokio::spawn(relay(hub.watch(), access.subscribe(), stop.clone(), Arc::clone(&signals)));
        hub.publish(vec![event(1, 1, 1, EventType::FleetStatus)], 1);
        all.changed().await.unwrap();
        assert!(!durable.has_changed().unwrap(), "nothing durable has come");
        hub.publish(vec![event(2, 1, 1, EventType::StatusChange)], 2);
        durable.changed().await.unwrap();
        all.changed().await.unwrap();
        let number = hub.publish_canary();
        assert_eq!(*canary.wait_for(|heard| *heard >= number).await.unwrap(), number);
        assert!(!all.has_changed().unwrap() && !durable.has_changed().unwrap(), "a canary is no event");
        access.send_replace(1);
        durable.changed().await.unwrap();
        all.changed().await.unwrap();
        stop.cancel();
        durable.changed().await.unwrap();
        all.changed().await.unwrap();
    }
}
