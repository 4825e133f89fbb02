//! How the node comes to its token: enrolment, for as long as it takes.

use std::time::Duration;

use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{EnrollRequest, Token};

use super::request_error::RequestError;
use super::task::{Credentials, SendState, Uplink};
use crate::clock;
use crate::model::node::{NodeIdentity, node_file, node_token};

/// Least time between two tries to enrol that the collector refused.
const REFUSED_ENROLMENT_WAIT: Duration = Duration::from_secs(1);

/// Refusals in a row before a person is called: a token that was made a moment ago may not be known
/// to a running collector for some two seconds.
const REFUSALS_TOLERATED: u32 = 3;

/// Between two tries of a node that nobody accepts and that cannot enrol. Whoever mends that at the
/// collector (a database brought back, a proxy set right) does not go to every node afterwards.
const REFUSED_WAIT: Duration = Duration::from_secs(300);

impl Uplink {
    /// Enrols, however long that takes; `None` if that is impossible without a person.
    ///
    /// `refused` is the node's token that the collector did not accept. It stays on disk until there
    /// is a new one, and is given back for another try when enrolment is refused, too: a collector
    /// that knew nobody for a while (a proxy, a wrong database) must not cost every node whose
    /// enrolment token has expired since.
    pub(super) async fn enroll(&self, state: &mut SendState, refused: Option<&Token>) -> Option<Token> {
        let Credentials { data_dir, enroll_token, names } = &self.credentials;
        let hostname = names.hostname();
        let request = EnrollRequest {
            token: enroll_token.clone()?,
            hostname: cut(&names.name(&hostname), MAX_SHORT_TEXT_BYTES).into_owned(),
            os: format!("{}/{}", names.machine.os, names.machine.arch),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: names.labels(&hostname),
            machine_id: names.machine.id.clone(),
        };
        loop {
            let error = match self.client.enroll(&request).await {
                Ok(node) => {
                    tracing::info!(node = %node.node_id, environment = %node.environment_name, "enrolled");
                    if let Err(error) = node_token::write(data_dir, &node.node_token) {
                        tracing::error!(%error, data_dir = %data_dir.display(), "the node token cannot be kept: without it the agent must enrol again at its next start; make data_dir writable");
                    }
                    let identity = NodeIdentity {
                        node_id: node.node_id,
                        environment_id: node.environment_id,
                        environment_name: node.environment_name,
                    };
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
            let wait = match &error {
                RequestError::Unauthorized(_) | RequestError::Refused { .. } => {
                    state.refusals = state.refusals.saturating_add(1);
                    if state.refusals == REFUSALS_TOLERATED + 1 {
                        self.connection.set_refused();
                        tracing::error!(%error, "the collector refuses to enrol this node: give the agent a valid enrolment token; pipelines run on without reports");
                    }
                    REFUSED_ENROLMENT_WAIT.max(self.backoff(state, None))
                }
                error => {
                    let wait = self.backoff(state, error.retry_after());
                    if !state.failing {
                        tracing::warn!(%error, wait_ms = wait.as_millis(), "cannot enrol yet; the agent tries again by itself, pipelines go on");
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

    /// Nobody takes this node's reports; pipelines are none of the uplink's business.
    pub(super) async fn stay_silent(&self, state: &mut SendState) {
        state.refusals = state.refusals.saturating_add(1);
        if state.refusals == REFUSALS_TOLERATED + 1 {
            self.connection.set_refused();
            state.failing = true;
            tracing::error!(
                "the collector does not accept this node's token and no enrolment token is configured: reports wait, \
                pipelines run on; give the agent an enrolment token (SYSTOLE_TOKEN) and restart it. It asks again every {} minutes",
                REFUSED_WAIT.as_secs() / 60
            );
        }
        self.wait(refused_wait(state.refusals, rand::random())).await;
    }
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
    fn a_node_that_stays_refused_asks_about_every_five_minutes() {
        assert_eq!(refused_wait(REFUSALS_TOLERATED, 1.0), Duration::ZERO);
        assert_eq!(refused_wait(REFUSALS_TOLERATED + 1, 0.0), Duration::from_secs(150));
        assert_eq!(refused_wait(u32::MAX, 1.0), Duration::from_secs(450));
    }
}
