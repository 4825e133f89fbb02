//! The stream of one tap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use systole_shared::action::{ACTION_TIMEOUT_MS, MAX_TAP_MS, TapMessage};
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Identity;
use crate::clock;
use crate::control::actions::OpenAction;
use crate::model::NodeKey;

/// How often it is checked that the watcher, the node and the collector are still there; each time with a ping, so
/// that a watcher that left is noticed.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// After the end of its time the agent has this long for its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// A tap and its watcher. Dropping it stops the tap.
pub(super) struct Tap {
    app: Arc<App>,
    watcher: Identity,
    node: NodeKey,
    action: OpenAction,
    ready: VecDeque<TapMessage>,
    begun_at: Instant,
    next_check: Instant,
    is_over: bool,
}

impl Tap {
    pub(super) fn new(app: Arc<App>, watcher: Identity, node: NodeKey, action: OpenAction) -> Self {
        let now = Instant::now();
        // The first message shows at once that the stream is open.
        let ready = VecDeque::from([TapMessage::Ping { now: clock::now_ms() }]);
        Tap { app, watcher, node, action, ready, begun_at: now, next_check: now + CHECK_EVERY, is_over: false }
    }

    /// The next write, or the end.
    pub(super) async fn next_write(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(block(&message));
            }
            if self.is_over {
                return None;
            }
            match tokio::time::timeout_at(self.next_check, self.action.next()).await {
                Ok(Some(output)) => {
                    if output.dropped > 0 {
                        self.ready.push_back(TapMessage::TapDropped { dropped: output.dropped });
                    }
                    self.ready.extend(output.events.into_iter().map(TapMessage::TapEvent));
                    if output.done {
                        let reason = output.error.unwrap_or_else(|| "the tap has reached its time".to_owned());
                        self.end(reason);
                    }
                }
                Ok(None) => self.end("the node was removed".to_owned()),
                Err(_) => self.check(),
            }
        }
    }

    fn check(&mut self) {
        self.next_check = Instant::now() + CHECK_EVERY;
        let age = self.begun_at.elapsed();
        if !self.app.auth.is_valid(&self.watcher, clock::now_ms()) {
            self.end("the token was revoked or has expired".to_owned());
        } else if self.app.fleet.is_silent(self.node) {
            self.end("the node does not report any more".to_owned());
        } else if self.app.delivery.push.is_stopping() {
            self.end("the collector stops".to_owned());
        } else if age > Duration::from_millis(MAX_TAP_MS) + LAST_ANSWER {
            self.end("the tap has reached its time".to_owned());
        } else if age > Duration::from_millis(ACTION_TIMEOUT_MS) && self.app.actions.is_waiting(self.node, &self.action)
        {
            self.end(format!("the agent did not ask for it within {} s", ACTION_TIMEOUT_MS / 1_000));
        } else {
            self.ready.push_back(TapMessage::Ping { now: clock::now_ms() });
        }
    }

    fn end(&mut self, reason: String) {
        self.is_over = true;
        self.ready.push_back(TapMessage::TapStopped { reason });
    }
}

fn block(message: &TapMessage) -> Bytes {
    let data = serde_json::to_string(message).expect("messages have string keys and finite numbers only");
    format!("event: {}\ndata: {data}\n\n", message.name()).into()
}
