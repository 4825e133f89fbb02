//! How the node receives its token: enrolment, for as long as it takes.

use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::Token;
use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};

use super::protocol::Enrollment;
use super::request_error::RequestError;
use super::task::{Credentials, SendState, Uplink};
use crate::clock;
use crate::model::node::{node_file, node_token};

/// Least time between two tries to enrol that the collector refused.
const REFUSED_ENROLMENT_WAIT: Duration = Duration::from_secs(1);

/// Refusals in a row before an operator is called: a token that was made a moment ago may not be known
/// to a running collector for some two seconds.
const REFUSALS_TOLERATED: u32 = 3;

/// Between two tries of a node that is rejected and cannot enrol. An operator fixes that at the collector
/// (restores a database, corrects a proxy) and not at every node.
const REFUSED_WAIT: Duration = Duration::from_secs(300);

impl Uplink {
    /// Enrols, however long that takes; `None` if that is impossible without an operator.
    ///
    /// `refused` is the node's token that the collector did not accept. It stays on disk until there
    /// is a new one, and is returned for another try when enrolment is refused, too: a collector
    /// that knew no node for a while (a proxy, a wrong database) must not cost every node whose
    /// enrolment token has expired since.
    pub(super) async fn enroll(&self, state: &mut SendState, refused: Option<&Token>) -> Option<Token> {
        let Credentials { data_dir, enroll_token, names, vector_version } = &self.credentials;
        let hostname = names.hostname();
        let host = Enrollment {
            token: enroll_token.clone()?,
            hostname: cut(&names.name(&hostname), MAX_SHORT_TEXT_BYTES).into_owned(),
            os: format!("{}/{}", names.machine.os, names.machine.arch),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            vector_version: vector_version.get().cloned().unwrap_or_default(),
            labels: names.labels(&hostname),
            machine_id: names.machine.id.clone(),
        };
        loop {
            let error = match self.client.enroll(host.clone()).await {
                Ok(node) => {
                    let identity = node.identity;
                    tracing::info!(node = identity.node_id, environment = identity.environment_name, "enrolled");
                    if let Some(notice) = &node.notice {
                        tracing::warn!(node = identity.node_id, "{}", cut(notice, MAX_SHORT_TEXT_BYTES));
                    }
                    if let Err(error) = node_token::write(data_dir, &node.node_token) {
                        tracing::error!(%error, data_dir = %data_dir.display(), "cannot save the node token: the agent must enrol again at its next start; make data_dir writable");
                    }
                    self.client.confirm_protocol();
                    node_file::write(data_dir, &identity);
                    self.connection.set_node(identity);
                    state.failing = false;
                    state.refusals = 0;
                    return Some(node.node_token);
                }
                Err(error) => error,
            };
            self.counters.send_errors.add(1);
            self.connection.record_failure(&error, clock::unix_millis());
            if is_final(&error) {
                self.connection.set_refused();
                tracing::error!(%error, "the collector takes no more nodes: make room there and restart the agent; pipelines keep running");
                self.closing.cancelled().await;
                return None;
            }
            let wait = match &error {
                RequestError::Unauthorized(_) | RequestError::Refused { .. } => {
                    state.refusals = state.refusals.saturating_add(1);
                    if state.refusals == REFUSALS_TOLERATED + 1 {
                        self.connection.set_refused();
                        tracing::error!(%error, "the collector refuses to enrol this node: configure a valid enrolment token; pipelines keep running");
                    }
                    REFUSED_ENROLMENT_WAIT.max(self.backoff(state, None))
                }
                error => {
                    let wait = self.backoff(state, error.retry_after());
                    if !state.failing {
                        tracing::warn!(%error, "enrolment failed, retrying in {:.1} s; pipelines keep running", wait.as_secs_f64());
                        state.failing = true;
                    }
                    wait
                }
            };
            self.wait(wait).await;
            if let (RequestError::Unauthorized(_) | RequestError::Refused { .. }, Some(refused)) = (&error, refused) {
                return Some(refused.clone());
            }
        }
    }

    /// The collector rejects this node's reports: waits for long. Pipelines keep running.
    pub(super) async fn stay_silent(&self, state: &mut SendState) {
        state.refusals = state.refusals.saturating_add(1);
        if state.refusals == REFUSALS_TOLERATED + 1 {
            self.connection.set_refused();
            state.failing = true;
            tracing::error!(
                "the collector does not accept this node's token and no enrolment token is configured: reports wait, \
                pipelines keep running; configure an enrolment token (SYSTOLE_TOKEN) and restart the agent. It tries again every {} minutes",
                REFUSED_WAIT.as_secs() / 60
            );
        }
        self.wait(refused_wait(state.refusals, (self.random)())).await;
    }
}

/// Whether it is of no use to ask again: the server's quota of nodes is used up. Asking costs the address of the host
/// its share of enrolments, also for its neighbours.
fn is_final(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused { status: StatusCode::PAYMENT_REQUIRED, .. })
}

/// How long a node that was refused so often, and cannot enrol, stays silent on top of its back-off.
/// `random` is from 0 to 1: a fleet that was refused must not ask in one moment.
fn refused_wait(refusals: u32, random: f64) -> Duration {
    if refusals <= REFUSALS_TOLERATED { Duration::ZERO } else { REFUSED_WAIT.mul_f64(0.5 + random) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_node_asks_every_five_minutes() {
        assert_eq!(refused_wait(REFUSALS_TOLERATED, 1.0), Duration::ZERO);
        assert_eq!(refused_wait(REFUSALS_TOLERATED + 1, 0.0), Duration::from_secs(150));
        assert_eq!(refused_wait(u32::MAX, 1.0), Duration::from_secs(450));
    }
}
