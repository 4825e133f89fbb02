//! Selects the node of a host that enrols.
//!
//! A machine id is not proof: copies of one image have the same. So a host becomes the node of its machine id
//! only if no other agent is that node:
//!
//! - A node that is UNREACHABLE or OFFLINE, or has been silent for two intervals, is free. So a host that is
//!   installed again keeps its node, at once after an orderly stop of its old agent.
//! - Otherwise the collector waits. If the node reports while it waits, another agent is alive: the
//!   enrolling host becomes a new node, a twin of the first one. If the node stays silent for two intervals, its
//!   old agent is dead, and the enrolling host becomes the node.
//! - Of twins, only those with the host's own name are tried. A machine id that is known to be copied says
//!   too little.
//!
//! The kernel's boot id would answer at once, but containers of one host share it.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fleet::Fleet;
use crate::model::EnvironmentKey;
use crate::store::{EnrolAs, EnrolledNode, NewEnrolment, NodeName, Store, StoreError};

/// Longest wait of a request for the decision. Agents wait 30 s for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Time between two checks of the fleet meanwhile.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// A report this soon after the question may have been under way when its agent died.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Requests that wait at once. Each holds a connection; more of them are asked to come back.
const MAX_WAITING: usize = 256;

static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);

/// The node of an enrolled host.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub node: EnrolledNode,
    /// The living node that has the same machine id: this one is a new node for that reason.
    pub twin_of: Option<NodeName>,
}

/// A reason why a host has no node yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// It is not known yet whether another agent is alive, or too many requests wait to know it.
    #[error("another agent may still report with this machine id")]
    Undecided,
    /// The database failed.
    #[error("cannot write the node")]
    Store(#[source] StoreError),
}

/// Makes a host the node of its machine id, or a new node.
///
/// # Errors
///
/// [`EnrolError::Undecided`] when the host has to ask again, [`EnrolError::Store`] when the database failed.
pub(crate) async fn enroll(store: &dyn Store, fleet: &Fleet, enrolment: NewEnrolment) -> Result<Enrolled, EnrolError> {
    let asked_at = Instant::now();
    let mut waiting = None;
    loop {
        let (enrol_as, twin_of) = match choose(store, fleet, &enrolment, asked_at).await.map_err(EnrolError::Store)? {
            Choice::New => (EnrolAs::New, None),
            Choice::Known(node) => (EnrolAs::Known(node.key), None),
            Choice::TwinOf(node, original) => (EnrolAs::TwinOf(original), Some(node)),
            Choice::Wait => {
                if waiting.is_none() {
                    waiting = Some(WAITING.try_acquire().map_err(|_| EnrolError::Undecided)?);
                }
                if asked_at.elapsed() >= LONGEST_WAIT {
                    return Err(EnrolError::Undecided);
                }
                tokio::time::sleep(POLL_EVERY).await;
                continue;
            }
        };
        match store.enroll_node_as(enrolment.clone(), enrol_as).await {
            // Two hosts with one machine id asked at once: the other one has its node now.
            Err(StoreError::Exists(_)) if enrol_as == EnrolAs::New => {}
            // The node was removed after it was chosen.
            Err(error) if error.is_of_missing_row() && asked_at.elapsed() < LONGEST_WAIT => {}
            Err(error) => return Err(EnrolError::Store(error)),
            Ok(node) => {
                fleet.enrolled(node.key, Instant::now());
                return Ok(Enrolled { node, twin_of });
            }
        }
    }
}

enum Choice {
    New,
    Known(NodeName),
    /// The node that is alive, and the one that has the machine id.
    TwinOf(NodeName, crate::model::NodeKey),
    Wait,
}

async fn choose(
    store: &dyn Store,
    fleet: &Fleet,
    enrolment: &NewEnrolment,
    asked_at: Instant,
) -> Result<Choice, StoreError> {
    let nodes = nodes_of_machine(store, enrolment.environment, enrolment.machine_id.clone()).await?;
    let Some(original) = nodes.first().map(|node| node.key) else { return Ok(Choice::New) };
    let is_copied = nodes.len() > 1;
    let mut alive = nodes.first().cloned();
    let mut is_open = false;
    for node in nodes.into_iter().filter(|node| !is_copied || node.name == enrolment.name) {
        if fleet.try_claim(node.key, Instant::now()) {
            return Ok(Choice::Known(node));
        }
        is_open |= !fleet.has_reported_since(node.key, asked_at + UNDER_WAY.min(fleet.interval() / 2));
        alive = Some(node);
    }
    Ok(match alive {
        Some(node) if !is_open => Choice::TwinOf(node, original),
        _ => Choice::Wait,
    })
}

async fn nodes_of_machine(
    store: &dyn Store,
    environment: EnvironmentKey,
    machine_id: Option<String>,
) -> Result<Vec<NodeName>, StoreError> {
    match machine_id {
        Some(machine_id) => store.nodes_of_machine(environment, machine_id).await,
        None => Ok(Vec::new()),
    }
}
