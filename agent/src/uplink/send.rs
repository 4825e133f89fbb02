//! The uplink's task: what is sent next, and what an answer means.

use std::sync::Arc;
use std::time::Duration;

use systole_shared::limits::{MAX_REPORTS_PER_REQUEST, MAX_SHORT_TEXT_BYTES, cut};
use systole_shared::{BootId, ReportAck};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::client::CollectorClient;
use super::enroll::{Credentials, REFUSALS_TOLERATED};
use super::fault::Fault;
use super::link::Link;
use super::shrink;
use crate::clock;
use crate::identity::node_token;
use crate::outbox::Outbox;
use crate::selfcount::SelfCounters;
use crate::spool::Queued;

/// Reports in one request, in bytes before compression.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Between two tries while the agent ends; the whole end has its own ceiling.
const CLOSING_WAIT: Duration = Duration::from_millis(200);

/// Between two tries of a node that nobody accepts and that cannot enrol. Whoever mends that at the
/// collector (a database brought back, a proxy set right) does not go to every node afterwards.
const REFUSED_WAIT: Duration = Duration::from_secs(300);

/// Refused items that are written to the log per answer.
const MAX_REFUSED_LOGGED: usize = 5;

/// Intervals that a collector may ask for.
const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));

/// Sends what the outbox holds.
pub(crate) struct Uplink {
    /// Speaks to the collector.
    pub(crate) client: CollectorClient,
    /// Where reports come from.
    pub(crate) outbox: Arc<Outbox>,
    /// Who the node is.
    pub(crate) credentials: Credentials,
    /// How often the collector wants reports.
    pub(crate) interval: watch::Sender<Duration>,
    /// What the agent counts of itself.
    pub(crate) counters: Arc<SelfCounters>,
    /// Where others learn how the way to the collector does.
    pub(crate) link: Arc<Link>,
    /// The agent ends: send what there is, and return.
    pub(crate) closing: CancellationToken,
}

/// What changes while sending.
pub(super) struct Progress {
    pub(super) backoff: Backoff,
    /// Reports in the next request; halves on a refusal, to find the one that is refused, and on every other failure.
    limit: usize,
    pub(super) failing: bool,
    /// Failures in a row. The first of them may be no more than a connection that the collector
    /// closed while it was idle, and is not worth a line.
    failures: u32,
    /// Refused enrolments in a row.
    pub(super) refusals: u32,
    /// The report that is too large alone, and how often its lines were halved.
    shrunk: Option<Shrunk>,
    /// Whether a report was dropped since the last success, and that was told.
    drop_told: bool,
}

/// A report that is sent without some of its lines.
#[derive(Clone, Copy, Debug)]
struct Shrunk {
    boot: BootId,
    seq: u64,
    halvings: u32,
    left_out: u64,
}

impl Uplink {
    /// Sends reports, until the agent ends and everything is sent.
    pub(crate) async fn run(self) {
        let mut progress = Progress {
            backoff: Backoff::default(),
            limit: MAX_REPORTS_PER_REQUEST,
            failing: false,
            failures: 0,
            refusals: 0,
            shrunk: None,
            drop_told: false,
        };
        let mut token = node_token::read(&self.credentials.data_dir);
        let mut refused = None;
        loop {
            let Some(node_token) = &token else {
                token = match self.enroll(&mut progress, refused.as_ref()).await {
                    Some(new) => Some(new),
                    None => {
                        self.stay_silent(&mut progress).await;
                        if self.closing.is_cancelled() {
                            return;
                        }
                        // Somebody may have put another one there meanwhile.
                        node_token::read(&self.credentials.data_dir).or(refused.take())
                    }
                };
                continue;
            };
            let reports = tokio::select! {
                biased;
                reports = self.outbox.oldest(progress.limit, MAX_REQUEST_BYTES) => reports,
                () = self.closing.cancelled() => return,
            };
            let reports = shrink_first(reports, &mut progress);
            let (sent_at, began) = (clock::unix_millis(), Instant::now());
            let sent = self.client.report(node_token, sent_at, &reports).await;
            match sent {
                Ok(ack) => {
                    refused = None;
                    let took = began.elapsed();
                    self.counters.acks.observe(took);
                    if self.link.acknowledged(sent_at, took, ack.now) {
                        self.counters.reconnects.add(1);
                    }
                    self.take_ack(&ack, &reports, &mut progress).await;
                }
                Err(fault) => {
                    self.counters.send_errors.add(1);
                    self.link.failed(&fault, clock::unix_millis());
                    if let Fault::Unauthorized(detail) = &fault {
                        if refused.is_none() && self.credentials.enroll_token.is_some() {
                            tracing::warn!(
                                detail,
                                "the collector does not know this node's token any more; the agent enrols again"
                            );
                        }
                        refused = token.take();
                        // A token that is refused right after each enrolment must not make a storm.
                        self.wait(self.backoff(&mut progress, None)).await;
                    } else {
                        self.take_fault(&fault, &reports, &mut progress).await;
                    }
                }
            }
        }
    }

    async fn take_ack(&self, ack: &ReportAck, sent: &[Queued], progress: &mut Progress) {
        let last = sent.last().map_or(0, |report| report.seq);
        if progress.failing {
            tracing::info!(waiting = self.outbox.size().0, "the collector answers again");
            progress.failing = false;
        }
        progress.failures = 0;
        progress.refusals = 0;
        self.take_interval(ack.interval_ms);
        if let Some(missing) = ack.missing {
            tracing::warn!(
                from = missing.from,
                to = missing.to,
                "the collector misses reports that the agent does not have any more"
            );
        }
        let refused = ack.refused_count.max(ack.refused.len() as u64);
        self.counters.refused_items.add(refused);
        for item in ack.refused.iter().take(MAX_REFUSED_LOGGED) {
            tracing::warn!(seq = item.seq, pipeline = item.pipeline_id, component = item.component_id, code = ?item.code,
                detail = %cut(&item.detail, MAX_SHORT_TEXT_BYTES), refused, "the collector refused an item of a report");
        }
        // What it claims beyond what was sent is not ours to forget.
        let committed = sent.first().map_or(0, |first| self.outbox.forget(first.boot, ack.durable_seq.min(last)));
        self.counters.committed_reports.add(committed as u64);
        if let Some(shrunk) = progress.shrunk.take_if(|shrunk| is_committed(shrunk, sent, ack)) {
            self.counters.lost_log_lines.add(shrunk.left_out);
        }
        if committed > 0 {
            progress.backoff.succeeded();
            progress.drop_told = false;
            progress.limit = (progress.limit * 2).min(MAX_REPORTS_PER_REQUEST);
        } else {
            tracing::debug!(
                durable = ack.durable_seq,
                last,
                "the collector took the reports, but has not kept them yet"
            );
            self.wait(self.backoff(progress, None)).await;
        }
    }

    /// How long to wait after one more failure.
    pub(super) fn backoff(&self, progress: &mut Progress, asked: Option<Duration>) -> Duration {
        let interval = *self.interval.borrow();
        progress.backoff.failed(rand::random(), interval, asked)
    }

    fn take_interval(&self, interval_ms: u64) {
        let interval = Duration::from_millis(interval_ms).clamp(INTERVAL_BOUNDS.0, INTERVAL_BOUNDS.1);
        self.interval.send_if_modified(|current| {
            let is_new = *current != interval;
            *current = interval;
            is_new
        });
    }

    async fn take_fault(&self, fault: &Fault, sent: &[Queued], progress: &mut Progress) {
        let is_too_large = matches!(fault, Fault::TooLarge { .. });
        if sent.len() > 1 && (is_too_large || fault.is_because_of_the_report()) {
            tracing::debug!(%fault, reports = sent.len(), "the request is split to find the report that is refused");
            progress.limit = sent.len() / 2;
            return;
        }
        let culprit = &sent[0];
        if is_too_large && self.shrink_more(culprit, progress) {
            return;
        }
        if fault.is_because_of_the_report() {
            let is_first = !std::mem::replace(&mut progress.drop_told, true);
            if is_first {
                tracing::warn!(%fault, seq = culprit.seq, bytes = culprit.body.len(), "the collector refuses a report for good; it is dropped");
            }
            self.outbox.drop_refused(culprit);
            progress.shrunk = None;
            // The next report shows whether it was this one alone. If that is refused too, it is rather
            // the collector's version, which must not cost the whole backlog at once.
            progress.limit = 1;
            if !is_first {
                self.wait(self.backoff(progress, None)).await;
            }
            return;
        }
        // What was sent may be committed, so the spool cannot merge it any more. An outage must not do that
        // to all of it.
        progress.limit = (progress.limit / 2).max(1);
        let wait = self.backoff(progress, fault.retry_after());
        progress.failures += 1;
        if progress.failing || progress.failures < 2 {
            tracing::debug!(%fault, wait_ms = wait.as_millis(), "reports wait");
        } else {
            tracing::warn!(%fault, wait_ms = wait.as_millis(), "reports wait in the spool; the agent tries again, pipelines keep running");
            progress.failing = true;
        }
        self.wait(wait).await;
    }

    /// Leaves out half of the lines of a report that is too large alone; returns whether there were any.
    fn shrink_more(&self, culprit: &Queued, progress: &mut Progress) -> bool {
        let before = progress.shrunk.filter(|shrunk| shrunk.boot == culprit.boot && shrunk.seq == culprit.seq);
        let halvings = before.map_or(1, |shrunk| shrunk.halvings + 1);
        // What was sent is smaller already: its lines were halved once less.
        let Some((_, left_out)) = shrink::without_lines(&culprit.body, 1) else { return false };
        if before.is_none() {
            tracing::warn!(
                seq = culprit.seq,
                bytes = culprit.body.len(),
                "a report is too large for the collector or a proxy before it (nginx: client_max_body_size); its oldest log lines are left out, and counted"
            );
        }
        let left_out = before.map_or(0, |shrunk| shrunk.left_out) + left_out;
        progress.shrunk = Some(Shrunk { boot: culprit.boot, seq: culprit.seq, halvings, left_out });
        progress.limit = 1;
        true
    }

    /// Nobody takes this node's reports; pipelines are none of the uplink's business.
    async fn stay_silent(&self, progress: &mut Progress) {
        progress.refusals = progress.refusals.saturating_add(1);
        if progress.refusals == REFUSALS_TOLERATED + 1 {
            self.link.refused();
            progress.failing = true;
            tracing::error!(
                "the collector does not accept this node's token and no enrolment token is configured: reports wait, \
                pipelines run on; give the agent an enrolment token (SYSTOLE_TOKEN) and restart it. It asks again every {} minutes",
                REFUSED_WAIT.as_secs() / 60
            );
        }
        self.wait(refused_wait(progress.refusals, rand::random())).await;
    }

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

/// Leaves lines out of the first report, if it was too large before.
fn shrink_first(mut reports: Vec<Queued>, progress: &mut Progress) -> Vec<Queued> {
    if let (Some(first), Some(shrunk)) = (reports.first_mut(), &mut progress.shrunk)
        && (first.boot, first.seq) == (shrunk.boot, shrunk.seq)
        && let Some((body, left_out)) = shrink::without_lines(&first.body, shrunk.halvings)
    {
        first.body = body.into();
        first.log_lines = first.log_lines.saturating_sub(left_out);
        shrunk.left_out = left_out;
    }
    reports
}

fn is_committed(shrunk: &Shrunk, sent: &[Queued], ack: &ReportAck) -> bool {
    sent.first().is_some_and(|first| first.boot == shrunk.boot) && ack.durable_seq >= shrunk.seq
}

/// How long a node that was refused so often, and cannot enrol, stays silent on top of its back-off.
/// `random` is from 0 to 1: a fleet that was refused must not ask in one moment.
fn refused_wait(refusals: u32, random: f64) -> Duration {
    if refusals <= REFUSALS_TOLERATED { Duration::ZERO } else { REFUSED_WAIT.mul_f64(0.5 + random) }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
