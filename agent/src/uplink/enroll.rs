//! How the node comes to its token: enrolment, for as long as it takes.

use std::path::PathBuf;
use std::time::Duration;

use systole_shared::limits::{MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{EnrollRequest, Token};

use super::fault::Fault;
use super::link::NodeIdentity;
use super::send::{Progress, Uplink};
use crate::clock;
use crate::identity::name::NodeNames;
use crate::identity::{node_file, node_token};

/// Least time between two tries to enrol that the collector refused.
const REFUSED_ENROLMENT_WAIT: Duration = Duration::from_secs(1);

/// Refusals in a row before a person is called: a token that was made a moment ago may not be known
/// to a running collector for some two seconds.
pub(super) const REFUSALS_TOLERATED: u32 = 3;

/// What the node needs to prove who it is.
pub(crate) struct Credentials {
    /// Where the node's token is kept.
    pub(crate) data_dir: PathBuf,
    /// The enrolment token, if one is configured.
    pub(crate) enroll_token: Option<Token>,
    /// What the node is called.
    pub(crate) names: NodeNames,
}

impl Uplink {
    /// Enrols, however long that takes; `None` if that is impossible without a person.
    ///
    /// `refused` is the node's token that the collector did not accept. It stays on disk until there
    /// is a new one, and is given back for another try when enrolment is refused, too: a collector
    /// that knew nobody for a while (a proxy, a wrong database) must not cost every node whose
    /// enrolment token has expired since.
    pub(super) async fn enroll(&self, progress: &mut Progress, refused: Option<&Token>) -> Option<Token> {
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
            let fault = match self.client.enroll(&request).await {
                Ok(node) => {
                    tracing::info!(node = %node.node_id, environment = %node.environment_name, "enrolled");
                    if let Some(notice) = &node.notice {
                        tracing::warn!(node = %node.node_id, "{}", cut(notice, MAX_SHORT_TEXT_BYTES));
                    }
                    if let Err(error) = node_token::write(data_dir, &node.node_token) {
                        tracing::error!(%error, data_dir = %data_dir.display(), "the node token cannot be kept: without it the agent must enrol again at its next start; make data_dir writable");
                    }
                    let identity = NodeIdentity {
                        node_id: node.node_id,
                        environment_id: node.environment_id,
                        environment_name: node.environment_name,
                    };
                    node_file::write(data_dir, &identity);
                    self.link.enrolled(identity);
                    progress.failing = false;
                    progress.refusals = 0;
                    return Some(node.node_token);
                }
                Err(fault) => fault,
            };
            self.counters.send_errors.add(1);
            self.link.failed(&fault, clock::unix_millis());
            let wait = match &fault {
                Fault::Unauthorized(_) | Fault::Refused { .. } => {
                    progress.refusals = progress.refusals.saturating_add(1);
                    if progress.refusals == REFUSALS_TOLERATED + 1 {
                        self.link.refused();
                        tracing::error!(%fault, "the collector refuses to enrol this node: give the agent a valid enrolment token; pipelines run on without reports");
                    }
                    REFUSED_ENROLMENT_WAIT.max(self.backoff(progress, None))
                }
                fault => {
                    let wait = self.backoff(progress, fault.retry_after());
                    if !progress.failing {
                        tracing::warn!(%fault, wait_ms = wait.as_millis(), "cannot enrol yet; the agent tries again by itself, pipelines go on");
                        progress.failing = true;
                    }
                    wait
                }
            };
            self.wait(wait).await;
            if let (Fault::Unauthorized(_) | Fault::Refused { .. }, Some(refused)) = (&fault, refused) {
                return Some(refused.clone());
            }
        }
    }
}
