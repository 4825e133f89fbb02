//! Sends the lines of the spooled reports: in order, once each while no answer is lost.
//!
//! A request that the server refuses is halved until what is refused is alone. That is dropped and counted. A server
//! that takes no lines for a while costs no heartbeats: the lines wait, and the next heartbeat goes out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::Token;
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::vectorflow::rates;
use tokio::time::Instant;

use super::VectorFlowClient;
use super::log_batches::{Group, LogRequest, next_request};
use super::log_cursor::{LinePlace, LogCursor};
use super::pace::Pace;
use super::refusals::Refusals;
use crate::metrics::AgentCounters;
use crate::spool::Queued;
use crate::uplink::request_error::RequestError;

/// How long lines are sent before the next heartbeat has its turn.
const TURN: Duration = Duration::from_millis(2_500);

/// The waits after a request that failed.
const POLICY: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(600),
    jitter: Jitter::Full,
};

/// What sending lines needs.
#[derive(Debug)]
pub(super) struct LogSender {
    cursor: LogCursor,
    refusals: Refusals,
    pace: Pace,
    counters: Arc<AgentCounters>,
    /// The parts of a request that are not sent yet, the next one last, and where its lines end.
    open: Vec<Group>,
    open_end: Option<LinePlace>,
    backoff: Backoff,
    not_before: Instant,
    is_failing: bool,
}

impl LogSender {
    /// With the place where an earlier run ended.
    pub(super) fn new(spool_dir: &Path, counters: Arc<AgentCounters>) -> Self {
        LogSender {
            cursor: LogCursor::open(spool_dir.join("vectorflow-lines")),
            refusals: Refusals::default(),
            pace: Pace::below(rates::LOGS),
            counters,
            open: Vec::new(),
            open_end: None,
            backoff: Backoff::new(POLICY),
            not_before: Instant::now(),
            is_failing: false,
        }
    }

    /// Sends lines of the reports, for a while. Returns the last report of which no line is left; 0 when there is none.
    ///
    /// # Errors
    ///
    /// When the server does not accept the node's token.
    pub(super) async fn send(
        &mut self,
        client: &VectorFlowClient,
        token: &Token,
        reports: &[Queued],
    ) -> Result<u64, RequestError> {
        let end = Instant::now() + TURN;
        while self.has_more(reports) && Instant::now() >= self.not_before && Instant::now() < end {
            let Some(group) = self.open.pop() else { continue };
            self.send_group(client, token, group).await?;
        }
        Ok(self.done(reports))
    }

    /// Makes the next request, if the last one is through.
    fn has_more(&mut self, reports: &[Queued]) -> bool {
        while self.open.is_empty() {
            if let Some(end) = self.open_end.take() {
                self.cursor.advance(end);
            }
            let now = Instant::now();
            let before = |queued: &Queued| self.cursor.lines_before(queued.boot, queued.seq);
            let next = next_request(reports, before, |pipeline| self.refusals.is_muted(pipeline, now));
            let Some(LogRequest { group, end, muted_lines }) = next else { return false };
            self.counters.lost_log_lines.add(muted_lines);
            self.open_end = Some(end);
            if group.lines() > 0 {
                self.open.push(group);
            }
        }
        true
    }

    async fn send_group(&mut self, client: &VectorFlowClient, token: &Token, group: Group) -> Result<(), RequestError> {
        self.pace.turn().await;
        let error = match client.post("api/agent/logs", Some(token), &group.body()).await {
            Ok(_) => {
                self.backoff.reset();
                self.is_failing = false;
                group.0.iter().for_each(|batch| self.refusals.accept(&batch.pipeline));
                return Ok(());
            }
            Err(error) => error,
        };
        let is_too_large = matches!(error, RequestError::TooLarge { .. });
        if is_too_large || is_about_lines(&error) {
            // Of a single batch that is not too large, the pipeline is refused rather than a line.
            let splits = is_too_large || group.0.len() > 1;
            match group.clone().halves().filter(|_| splits) {
                Some((first, second)) => self.open.extend([second, first]),
                None => self.drop_group(&group, &error),
            }
            return Ok(());
        }
        self.open.push(group);
        self.counters.send_errors.add(1);
        if matches!(error, RequestError::Unauthorized(_)) {
            return Err(error);
        }
        let wait = self.backoff.next(rand::random(), error.retry_after());
        self.not_before = Instant::now() + wait;
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(%error, wait_ms = wait.as_millis(), "the server takes no log lines now; they wait in the spool");
        }
        Ok(())
    }

    fn drop_group(&mut self, group: &Group, error: &RequestError) {
        self.counters.lost_log_lines.add(group.lines());
        for batch in &group.0 {
            if self.refusals.refuse(&batch.pipeline, Instant::now()) {
                tracing::warn!(pipeline = batch.pipeline, lines = batch.lines.len(), %error, "the server refuses lines of a pipeline; they are dropped and counted");
            }
        }
    }

    /// The last of the reports, from the first on, of which no line is left.
    fn done(&self, reports: &[Queued]) -> u64 {
        let is_done = |queued: &&Queued| {
            let before = self.cursor.lines_before(queued.boot, queued.seq);
            u64::try_from(before).unwrap_or(u64::MAX) >= queued.log_lines
        };
        reports.iter().take_while(is_done).last().map_or(0, |queued| queued.seq)
    }
}

/// Whether the server refuses the lines, or one of their pipelines, and not the node.
fn is_about_lines(error: &RequestError) -> bool {
    use reqwest::StatusCode;
    let statuses = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
    error.is_refusal() || matches!(error, RequestError::Refused { status, .. } if statuses.contains(status))
}
