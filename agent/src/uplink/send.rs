//! What an answer of the collector to a request with reports means.

use std::time::Duration;

use reqwest::StatusCode;
use systole_shared::Token;
use systole_shared::limits::{MAX_REPORTS_PER_REQUEST, MAX_SHORT_TEXT_BYTES, cut};
use tokio::time::Instant;

use super::protocol::{Acknowledged, Outgoing};
use super::request_error::RequestError;
use super::shrink;
use super::task::{SendState, Shrunk, Uplink};
use crate::clock;
use crate::spool::Queued;

/// Reports in one request, in bytes before compression.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Refused items that are written to the log per answer.
const MAX_REFUSED_LOGGED: usize = 5;

/// Failures after which a collector without the route is asked for its protocol, again and again.
const FAILURES_BEFORE_A_CHECK: u32 = 5;

/// What became of a request with reports.
pub(super) enum Sent {
    /// The collector has answered it.
    Acknowledged,
    /// It failed; the node's token is not the cause.
    Failed,
    /// The collector does not accept the node's token.
    TokenRefused,
    /// There was nothing to send, and the agent ends.
    Closed,
}

impl Uplink {
    /// Sends the oldest reports, as soon as there are some. `is_second_refusal`: the token before this
    /// one was not accepted either.
    pub(super) async fn send_next(&self, token: &Token, is_second_refusal: bool, state: &mut SendState) -> Sent {
        let reports = tokio::select! {
            biased;
            reports = self.outbox.oldest(state.limit, MAX_REQUEST_BYTES) => reports,
            () = self.closing.cancelled() => return Sent::Closed,
        };
        let reports = shrink_first(reports, state);
        let (sent_at, began) = (clock::unix_millis(), Instant::now());
        let interval = self.instructions.interval();
        let outgoing = Outgoing { reports: &reports, outbox: &self.outbox, interval };
        match self.client.report(token, outgoing).await {
            Ok(ack) => {
                let (sent_at, took) =
                    ack.timing.map_or_else(|| (sent_at, began.elapsed()), |timing| (timing.sent_at, timing.took));
                self.counters.acks.observe(took);
                if self.connection.record_ack(sent_at, took, ack.now) {
                    self.counters.reconnects.add(1);
                }
                self.handle_ack(&ack, &reports, state).await;
                Sent::Acknowledged
            }
            Err(error) => {
                self.counters.send_errors.add(1);
                self.connection.record_failure(&error, clock::unix_millis());
                let RequestError::Unauthorized(detail) = &error else {
                    self.handle_failure(&error, &reports, state).await;
                    return Sent::Failed;
                };
                if !is_second_refusal && self.credentials.enroll_token.is_some() {
                    tracing::warn!(detail, "the collector rejects this node's token; the agent enrols again");
                }
                // A token that is refused right after each enrolment must not make a storm.
                self.wait(self.backoff(state, None)).await;
                Sent::TokenRefused
            }
        }
    }

    async fn handle_ack(&self, ack: &Acknowledged, sent: &[Queued], state: &mut SendState) {
        let last = sent.last().map_or(0, |report| report.seq);
        if state.failing {
            tracing::info!(waiting = self.outbox.size().0, "the collector answers again");
            state.failing = false;
        }
        state.failures = 0;
        state.refusals = 0;
        self.client.confirm_protocol();
        if let Some(interval_ms) = ack.interval_ms {
            self.instructions.set_interval(Duration::from_millis(interval_ms));
        }
        if let Some(generation) = ack.desired_generation {
            self.instructions.set_generation(generation);
        }
        for action in &ack.actions {
            self.instructions.act(action.clone());
        }
        if let Some(missing) = ack.missing {
            tracing::warn!(
                from = missing.from,
                to = missing.to,
                "the collector misses reports that the agent no longer has"
            );
        }
        let refused = ack.refused_count;
        self.counters.refused_items.add(refused);
        for item in ack.refused.iter().take(MAX_REFUSED_LOGGED) {
            tracing::warn!(seq = item.seq, pipeline = item.pipeline_id, component = item.component_id, code = ?item.code,
                detail = %cut(&item.detail, MAX_SHORT_TEXT_BYTES), refused, "the collector refused an item of a report");
        }
        // What it claims beyond what was sent is not ours to forget.
        let committed = sent.first().map_or(0, |first| self.outbox.forget(first.boot, ack.durable_seq.min(last)));
        self.counters.committed_reports.add(committed as u64);
        if let Some(shrunk) = state.shrunk.take_if(|shrunk| is_committed(shrunk, sent, ack)) {
            self.counters.lost_log_lines.add(shrunk.left_out);
        }
        if committed > 0 {
            state.backoff.reset();
            state.is_drop_logged = false;
            state.limit = (state.limit * 2).min(MAX_REPORTS_PER_REQUEST);
        } else {
            tracing::debug!(
                durable = ack.durable_seq,
                last,
                "the collector received the reports, but has not committed them yet"
            );
            self.wait(self.backoff(state, None)).await;
        }
    }

    async fn handle_failure(&self, error: &RequestError, sent: &[Queued], state: &mut SendState) {
        let is_too_large = matches!(error, RequestError::TooLarge { .. });
        if sent.len() > 1 && (is_too_large || error.is_because_of_the_report()) {
            tracing::debug!(%error, reports = sent.len(), "the request is split to find the report that is refused");
            state.limit = sent.len() / 2;
            return;
        }
        let culprit = &sent[0];
        if is_too_large && self.shrink_more(culprit, state) {
            return;
        }
        if error.is_because_of_the_report() {
            let is_first = !std::mem::replace(&mut state.is_drop_logged, true);
            if is_first {
                tracing::warn!(%error, seq = culprit.seq, bytes = culprit.body.len(), "the collector rejects a report permanently; it is dropped");
            }
            self.outbox.drop_refused(culprit);
            state.shrunk = None;
            // The next report shows whether it was this one alone. If that is refused too, it is rather
            // the collector's version, which must not cost the whole backlog at once.
            state.limit = 1;
            if !is_first {
                self.wait(self.backoff(state, None)).await;
            }
            return;
        }
        // What was sent may be committed, so the spool cannot merge it any more. An outage must not do that
        // to all of it.
        state.limit = (state.limit / 2).max(1);
        let wait = self.backoff(state, error.retry_after());
        state.failures += 1;
        if has_no_route(error) && state.failures.is_multiple_of(FAILURES_BEFORE_A_CHECK) {
            self.client.check_protocol_again().await;
        }
        if state.failing || state.failures < 2 {
            tracing::debug!(%error, wait_ms = wait.as_millis(), "reports wait");
        } else {
            tracing::warn!(%error, wait_ms = wait.as_millis(), "cannot send reports, they wait in the spool; retrying, pipelines keep running");
            state.failing = true;
        }
        self.wait(wait).await;
    }

    /// Leaves out half of the lines of a report that is too large alone; returns whether there were any.
    fn shrink_more(&self, culprit: &Queued, state: &mut SendState) -> bool {
        let before = state.shrunk.filter(|shrunk| shrunk.boot == culprit.boot && shrunk.seq == culprit.seq);
        let halvings = before.map_or(1, |shrunk| shrunk.halvings + 1);
        // What was sent is smaller already: its lines were halved once less.
        let Some((_, left_out)) = shrink::without_lines(&culprit.body, 1) else { return false };
        if before.is_none() {
            tracing::warn!(
                seq = culprit.seq,
                bytes = culprit.body.len(),
                "a report is too large for the collector or a proxy in front of it (nginx: client_max_body_size); its oldest log lines are dropped and counted"
            );
        }
        let left_out = before.map_or(0, |shrunk| shrunk.left_out) + left_out;
        state.shrunk = Some(Shrunk { boot: culprit.boot, seq: culprit.seq, halvings, left_out });
        state.limit = 1;
        true
    }
}

/// Whether something answers that has no such route.
fn has_no_route(error: &RequestError) -> bool {
    let gone = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
    matches!(error, RequestError::Foreign { status, .. } | RequestError::Refused { status, .. } if gone.contains(status))
}

/// Leaves lines out of the first report, if it was too large before.
fn shrink_first(mut reports: Vec<Queued>, state: &mut SendState) -> Vec<Queued> {
    if let (Some(first), Some(shrunk)) = (reports.first_mut(), &mut state.shrunk)
        && (first.boot, first.seq) == (shrunk.boot, shrunk.seq)
        && let Some((body, left_out)) = shrink::without_lines(&first.body, shrunk.halvings)
    {
        first.body = body.into();
        first.log_lines = first.log_lines.saturating_sub(left_out);
        shrunk.left_out = left_out;
    }
    reports
}

fn is_committed(shrunk: &Shrunk, sent: &[Queued], ack: &Acknowledged) -> bool {
    sent.first().is_some_and(|first| first.boot == shrunk.boot) && ack.durable_seq >= shrunk.seq
}
