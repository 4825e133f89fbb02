//! Sends heartbeats: the newest state of the node, with totals of all reports.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::vectorflow::rates;
use systole_shared::{BootId, PipelineReport, Report, Token};
use tokio::time::Instant;

use super::VectorFlowClient;
use super::heartbeat::{Extras, heartbeat_of};
use super::ledger::Ledger;
use super::pace::Pace;
use super::refusals::Refusals;
use crate::metrics::AgentCounters;
use crate::spool::outbox::Outbox;
use crate::uplink::protocol::Outgoing;
use crate::uplink::request_error::RequestError;

/// Reports, and their bytes, that are in memory while they are added to the totals.
const MAX_READ: (usize, usize) = (100, 1024 * 1024);

/// Part of the interval within which a heartbeat with the same states is not repeated.
const RECENT: f64 = 0.7;

/// What heartbeats need.
#[derive(Debug)]
pub(super) struct HeartbeatSender {
    ledger: Ledger,
    refusals: Refusals,
    pace: Pace,
    counters: Arc<AgentCounters>,
    /// What the server has.
    acknowledged: Option<Acknowledged>,
}

/// The last heartbeat that the server took.
#[derive(Debug)]
struct Acknowledged {
    /// The report that it was made of.
    report: (BootId, u64),
    states: Vec<String>,
    at: Instant,
}

impl HeartbeatSender {
    /// With the totals of an earlier run.
    pub(super) fn new(spool_dir: &Path, counters: Arc<AgentCounters>) -> Self {
        HeartbeatSender {
            ledger: Ledger::open(spool_dir.join("vectorflow-totals")),
            refusals: Refusals::default(),
            pace: Pace::below(rates::HEARTBEAT),
            counters,
            acknowledged: None,
        }
    }

    /// The node is another one to the server.
    pub(super) fn begin_again(&mut self) {
        self.ledger.begin_again();
        self.acknowledged = None;
    }

    /// Sends a heartbeat, unless the server has the newest states and its interval is not over: there may be more
    /// reports than heartbeats, for the sake of their lines.
    ///
    /// A state that the server refuses is found by halves and left out, and the others are sent again without it: the
    /// server takes a heartbeat for the whole list, and forgets the totals of the other pipelines.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub(super) async fn send(
        &mut self,
        client: &VectorFlowClient,
        token: &Token,
        outgoing: Outgoing<'_>,
    ) -> Result<(), RequestError> {
        let newest = outgoing.outbox.newest().await;
        self.add_new_reports(outgoing.outbox);
        let report: Report<'_> =
            serde_json::from_slice(&newest.body).map_err(|error| RequestError::Unreadable(error.to_string()))?;
        self.ledger.keep_only(&report);
        // Before anything is sent or forgotten: a total that the server has seen never becomes smaller, and what is in the
        // totals need not be in the spool.
        self.ledger.save();
        let states: Vec<String> = report.pipelines.iter().map(state_of).collect();
        let report_key = (newest.boot, newest.seq);
        if self.acknowledged.as_ref().is_some_and(|last| last.is_enough(report_key, &states, outgoing.interval)) {
            return Ok(());
        }
        let now = Instant::now();
        let ids = report.pipelines.iter().map(|pipeline| pipeline.id.as_str());
        let all: Vec<&str> = ids.filter(|id| !self.refusals.is_muted(id, now)).collect();
        let mut refused = BTreeSet::new();
        let mut groups = vec![all.clone()];
        while let Some(mut group) = groups.pop() {
            match self.send_group(client, token, &report, &group).await {
                Ok(()) => {}
                Err(error) if is_by_the_server(&error) && group.len() > 1 => {
                    self.ledger.begin_again();
                    self.ledger.save();
                    let second = group.split_off(group.len() / 2);
                    groups.extend([second, group]);
                }
                Err(error) if is_by_the_server(&error) && group.len() == 1 => {
                    self.note_refusal(group[0], &error);
                    refused.insert(group[0]);
                }
                Err(error) if is_by_the_server(&error) => {
                    return Err(RequestError::Unreadable(format!("a heartbeat without pipelines is refused: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        if !refused.is_empty() {
            self.ledger.begin_again();
            self.ledger.save();
            let others: Vec<&str> = all.into_iter().filter(|id| !refused.contains(id)).collect();
            self.send_group(client, token, &report, &others).await?;
        }
        self.acknowledged = Some(Acknowledged { report: report_key, states, at: Instant::now() });
        Ok(())
    }

    /// Adds the deltas of all reports that wait to the totals. They are safe there, however long the server is away and
    /// whatever the spool drops.
    fn add_new_reports(&mut self, outbox: &Outbox) {
        loop {
            let reports = outbox.unread(|boot, seq| !self.ledger.has(boot, seq), MAX_READ.0, MAX_READ.1);
            if reports.is_empty() {
                return;
            }
            for queued in reports {
                match serde_json::from_slice::<Report<'_>>(&queued.body) {
                    Ok(report) => self.ledger.add(queued.boot, &report),
                    Err(error) => {
                        tracing::error!(%error, seq = queued.seq, "cannot read a report of the spool; please report this as a bug");
                        self.ledger.skip(queued.boot, queued.seq);
                    }
                }
            }
        }
    }

    async fn send_group(
        &mut self,
        client: &VectorFlowClient,
        token: &Token,
        report: &Report<'_>,
        group: &[&str],
    ) -> Result<(), RequestError> {
        self.pace.turn().await;
        let update_error = self.counters.update_error.get();
        let extras = Extras {
            labels: client.cloud_labels(),
            update_error: update_error.clone(),
            poll_errors: self.counters.poll_errors.get(),
            push_reconnects: self.counters.push_reconnects.get(),
            heartbeat_errors: self.counters.heartbeat_errors.get(),
            push_connected: self.counters.push_connected.get(),
        };
        let included: BTreeSet<&str> = group.iter().copied().collect();
        let heartbeat = heartbeat_of(report, &self.ledger, &extras, |id| included.contains(id));
        let begin = Instant::now();
        let sent = client.post("api/agent/heartbeat", Some(token), &heartbeat).await;
        match sent {
            Ok(_) => {
                self.counters.heartbeats.observe(begin.elapsed());
                let sent = report.pipelines.iter().filter(|pipeline| included.contains(pipeline.id.as_str()));
                self.ledger.acknowledge(sent);
                group.iter().for_each(|id| self.refusals.accept(id));
                if update_error.is_some() && self.counters.update_error.get() == update_error {
                    self.counters.update_error.set(None);
                }
                Ok(())
            }
            Err(error) => {
                self.counters.heartbeat_errors.add(1);
                Err(error)
            }
        }
    }

    fn note_refusal(&mut self, pipeline: &str, error: &RequestError) {
        self.counters.refused_items.add(1);
        if self.refusals.refuse(pipeline, Instant::now()) {
            tracing::warn!(pipeline, %error, "the server refuses the state of a pipeline; the others are sent without it");
        }
    }
}

/// Whether the server itself refuses a heartbeat. A proxy that refuses its size is no reason to send less: what one
/// heartbeat leaves out, the server forgets.
fn is_by_the_server(error: &RequestError) -> bool {
    error.is_refusal() && !matches!(error, RequestError::TooLarge { is_collectors: false })
}

impl Acknowledged {
    /// Whether the server needs no heartbeat of this report.
    fn is_enough(&self, report: (BootId, u64), states: &[String], interval: Duration) -> bool {
        // A report at the interval may be early by as much as one before was late.
        let is_recent = self.at.elapsed() < interval.mul_f64(RECENT);
        self.report == report || (is_recent && self.states == states)
    }
}

/// What the server should have at once when it changes.
fn state_of(pipeline: &PipelineReport<'_>) -> String {
    let PipelineReport { id, status, version, pid, .. } = pipeline;
    format!("{} {} {version:?} {pid:?}", id.as_str(), status.as_str())
}
