//! The parts of the uplink's task, what changes while it runs, and its waits.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use systole_shared::limits::MAX_REPORTS_PER_REQUEST;
use systole_shared::{BootId, Token};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connection_status::ConnectionStatus;
use super::instructions::Instructions;
use super::protocol::CollectorClient;
use crate::metrics::AgentCounters;
use crate::model::node::name::NodeNames;
use crate::spool::outbox::Outbox;

/// Between two tries while the agent ends; the whole end has its own limit.
const CLOSING_WAIT: Duration = Duration::from_millis(200);

/// The credentials of the node.
pub(crate) struct Credentials {
    /// Where the node's token is kept.
    pub(crate) data_dir: PathBuf,
    /// The enrolment token, if one is configured.
    pub(crate) enroll_token: Option<Token>,
    /// What the node is called.
    pub(crate) names: NodeNames,
    /// The version of the Vector on this node, once it is known.
    pub(crate) vector_version: Arc<OnceLock<String>>,
}

/// Sends what the outbox holds.
pub(crate) struct Uplink {
    /// Speaks to the collector.
    pub(crate) client: Arc<CollectorClient>,
    /// Where reports come from.
    pub(crate) outbox: Arc<Outbox>,
    /// The credentials of the node.
    pub(crate) credentials: Credentials,
    /// What the agent counts of itself.
    pub(crate) counters: Arc<AgentCounters>,
    /// Where others learn how the connection to the collector does.
    pub(crate) connection: Arc<ConnectionStatus>,
    /// Where what the collector wants goes.
    pub(crate) instructions: Instructions,
    /// The agent ends: send what there is, and return.
    pub(crate) closing: CancellationToken,
    /// From 0 to 1: the random part of waits.
    pub(crate) random: fn() -> f64,
}

/// What changes while sending.
pub(super) struct SendState {
    pub(super) backoff: Backoff,
    /// Reports in the next request; halves on a refusal, to find the one that is refused.
    pub(super) limit: usize,
    pub(super) failing: bool,
    /// Failures in a row. The first of them may be no more than a connection that the collector
    /// closed while it was idle, and is not worth a line.
    pub(super) failures: u32,
    /// Refused enrolments in a row.
    pub(super) refusals: u32,
    /// The report that is too large alone, and how often its lines were halved.
    pub(super) shrunk: Option<Shrunk>,
    /// Whether the failure to learn the collector's protocol was logged.
    pub(super) is_undecided_logged: bool,
    /// Whether a report was dropped since the last success, and that was logged.
    pub(super) is_drop_logged: bool,
}

/// A report that is sent without some of its lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shrunk {
    pub(super) boot: BootId,
    pub(super) seq: u64,
    pub(super) halvings: u32,
    pub(super) left_out: u64,
}

impl SendState {
    /// Nothing was sent yet.
    pub(super) fn new() -> Self {
        SendState {
            backoff: Backoff::default(),
            limit: MAX_REPORTS_PER_REQUEST,
            failing: false,
            failures: 0,
            refusals: 0,
            shrunk: None,
            is_undecided_logged: false,
            is_drop_logged: false,
        }
    }
}

impl Uplink {
    /// How long to wait after one more failure.
    pub(super) fn backoff(&self, state: &mut SendState, asked: Option<Duration>) -> Duration {
        let interval = self.instructions.interval();
        state.backoff.next_wait((self.random)(), interval, asked)
    }

    /// Waits, but not long once the agent ends.
    pub(super) async fn wait(&self, wait: Duration) {
        if self.closing.is_cancelled() {
            return sleep(CLOSING_WAIT).await;
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = self.closing.cancelled() => {}
        }
    }
}
