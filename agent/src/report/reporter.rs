//! Puts a report together out of what pipelines, host and agent have to say.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use systole_shared::limits::{
    MAX_COMPONENTS_PER_REPORT, MAX_ID_BYTES, MAX_LOG_LINES_PER_REPORT, MAX_SHORT_TEXT_BYTES, cut,
};
use systole_shared::{
    AgentHealth, AgentInfo, HostMetrics, LogLine, PipelineReport, PipelineStatus, Report, Text, UnixMillis,
};
use tokio::time::Instant;

use crate::desired::deployments::Deployments;
use crate::logs::{Line, level};
use crate::model::node::name::NodeNames;
use crate::scrape::delta_tracker::ReportDeltas;
use crate::supervise::{Pipeline, PipelineState};

/// Log text in one report, as JSON: a quarter of what the collector takes in one body.
const MAX_LOG_BYTES: usize = 2 * 1024 * 1024;

/// Topologies in one report, as JSON: the largest one has room.
const MAX_TOPOLOGY_BYTES: usize = 2 * 1024 * 1024;

/// What JSON adds to a line: its time, stream and level, and the names of all four.
const LINE_OVERHEAD_BYTES: usize = 80;

/// When the clock advanced by this much more than the time that passed, it was set.
const CLOCK_SET_MS: i64 = 2_000;

/// What the agent says of itself in every report.
pub(crate) struct AgentFacts {
    /// What the node is called.
    pub(crate) names: NodeNames,
    /// The version of the Vector on this node, once it is known.
    pub(crate) vector_version: Arc<OnceLock<String>>,
    /// What became of the pipelines of the centre.
    pub(crate) deployments: Arc<Deployments>,
}

/// Makes reports: numbers them, and sees that their intervals join.
pub(crate) struct Reporter {
    facts: AgentFacts,
    /// As the last report had it.
    hostname: String,
    name: String,
    labels: BTreeMap<String, String>,
    /// Why the agent ends, once it does.
    stopping: Option<String>,
    seq: u64,
    end: UnixMillis,
    made: Instant,
    /// The pipeline with the first lines in the next report, so that a noisy one cannot displace the others.
    turn: usize,
}

/// Room for lines in one report.
struct LogRoom {
    lines: usize,
    bytes: usize,
}

impl Reporter {
    /// Begins; the first report's interval starts at `now`.
    pub(crate) fn new(facts: AgentFacts, now: UnixMillis) -> Self {
        let mut reporter = Reporter {
            facts,
            hostname: String::new(),
            name: String::new(),
            labels: BTreeMap::new(),
            stopping: None,
            seq: 0,
            end: now,
            made: Instant::now(),
            turn: 0,
        };
        reporter.follow_host_name();
        reporter
    }

    /// From here on reports say that the agent ends, and why.
    pub(crate) fn stop(&mut self, reason: &str) {
        self.stopping = Some(reason.to_owned());
    }

    /// A host may get its name after the agent's start, or another one at any time.
    fn follow_host_name(&mut self) {
        let hostname = self.facts.names.hostname();
        if hostname != self.hostname {
            self.name = self.facts.names.name(&hostname);
            self.labels = self.facts.names.labels(&hostname);
            self.hostname = hostname;
        }
    }

    /// Makes the next report. Takes counters, states and lines out of the pipelines.
    pub(crate) fn make<'r>(
        &'r mut self,
        of: &'r [Arc<Pipeline>],
        now: UnixMillis,
        host: Option<HostMetrics>,
        mut health: AgentHealth,
    ) -> Report<'r> {
        self.follow_host_name();
        let made = Instant::now();
        let start = self.start_of(now, made.duration_since(self.made));
        self.seq += 1;
        self.end = now;
        self.made = made;
        self.turn = (self.turn + 1) % of.len().max(1);

        let mut pipelines: Vec<_> =
            of.iter().map(|pipeline| report_of(pipeline, pipeline.runtime.take_next_state())).collect();
        fill_topologies(of, &mut pipelines, self.turn, health.lost_reports);
        health.refused_items += bound_components(&mut pipelines);
        health.lost_log_lines += fill_logs(of, &mut pipelines, self.turn, now);
        Report {
            seq: self.seq,
            start,
            end: now,
            agent: Some(self.agent_info(health)),
            host,
            pipelines,
            covers: None,
            deployments: self.facts.deployments.take(of),
        }
    }

    /// Intervals join, unless the clock was set: then the length counts, for a report must not end
    /// before it starts, nor spread what was counted over a time that never was.
    fn start_of(&self, now: UnixMillis, length: Duration) -> UnixMillis {
        let length = i64::try_from(length.as_millis()).unwrap_or(0);
        if (0..=length + CLOCK_SET_MS).contains(&(now - self.end)) { self.end } else { now - length }
    }

    fn agent_info(&self, health: AgentHealth) -> AgentInfo<'_> {
        let text = |text| Text(cut(text, MAX_SHORT_TEXT_BYTES));
        AgentInfo {
            name: Some(text(&self.name)),
            stopping: self.stopping.as_deref().map(text),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            vector_version: self.facts.vector_version.get().map(|version| text(version)),
            deployment_mode: Some(self.facts.names.machine.deployment_mode.into()),
            running_as: Some(text(&self.facts.names.machine.running_as)),
            engines: self.facts.deployments.engines(),
            labels: self.labels.iter().map(|(name, value)| (text(name), text(value))).collect(),
            health,
        }
    }
}

/// Leaves out the components that the collector would refuse one by one, for with them the report
/// may be larger than a request may be, and that would cost all of it. Their counts stay in their
/// pipeline's sample. The pipelines with the most give way. Returns how many were left out.
fn bound_components(reports: &mut [PipelineReport<'_>]) -> u64 {
    let before: usize = reports.iter().map(|report| report.components.len()).sum();
    let mut by_size: Vec<_> = reports.iter_mut().map(|report| &mut report.components).collect();
    for components in &mut by_size {
        components.retain(|component| component.id.as_str().len() <= MAX_ID_BYTES);
    }
    by_size.sort_by_key(|components| components.len());
    let (mut room, mut sharers) = (MAX_COMPONENTS_PER_REPORT, by_size.len());
    for components in by_size {
        components.truncate(room / sharers);
        room -= components.len();
        sharers -= 1;
    }
    (before + room - MAX_COMPONENTS_PER_REPORT) as u64
}

/// Gives the topologies that the collector does not have to their reports. What has no room waits for the next
/// report, in which another pipeline is the first.
fn fill_topologies(pipelines: &[Arc<Pipeline>], reports: &mut [PipelineReport<'_>], turn: usize, lost_reports: u64) {
    let (count, mut room) = (pipelines.len(), MAX_TOPOLOGY_BYTES);
    for index in (0..count).map(|index| (index + turn) % count) {
        if reports[index].config_checksum.is_some() {
            reports[index].topology = pipelines[index].take_topology(lost_reports, &mut room);
        }
    }
}

/// Gives the pipelines' lines to their reports, those of ended processes first: what a process
/// said last belongs into the report of its end. Returns how many were dropped.
fn fill_logs(pipelines: &[Arc<Pipeline>], reports: &mut [PipelineReport<'_>], turn: usize, now: UnixMillis) -> u64 {
    let count = pipelines.len();
    let mut room = LogRoom { lines: MAX_LOG_LINES_PER_REPORT, bytes: MAX_LOG_BYTES };
    let turns = (0..count).map(|index| (index + turn) % count);
    let (ended, others): (Vec<_>, Vec<_>) = turns.partition(|index| tells_of_end(reports[*index].status.as_str()));
    let mut dropped = 0;
    for index in ended.into_iter().chain(others) {
        pipelines[index].with_logs(|logs| {
            while logs.first().is_some_and(|line| room.take(line)) {
                reports[index].logs.extend(logs.take_first().map(wire_line));
            }
            reports[index].logs_dropped = logs.close_report(now);
        });
        dropped += reports[index].logs_dropped;
    }
    dropped
}

fn tells_of_end(status: &str) -> bool {
    use PipelineStatus::{CrashLoop, Crashed, Stopped};
    matches!(PipelineStatus::from_wire(status), Crashed | CrashLoop | Stopped)
}

impl LogRoom {
    fn take(&mut self, line: &Line) -> bool {
        let bytes = LINE_OVERHEAD_BYTES + json_bytes(&line.text);
        if self.lines == 0 || self.bytes < bytes {
            return false;
        }
        self.lines -= 1;
        self.bytes -= bytes;
        true
    }
}

/// The bytes of a text in JSON: a control character takes six.
fn json_bytes(text: &str) -> usize {
    let cost = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(cost).sum()
}

fn wire_line(line: Line) -> LogLine<'static> {
    let level = line.level.or_else(|| level::find(&line.text));
    LogLine { at: line.at, stream: line.stream, level, line: line.text.into() }
}

fn report_of<'p>(pipeline: &'p Pipeline, state: PipelineState) -> PipelineReport<'p> {
    let ReportDeltas { sample, components, error } = pipeline.counting.take_deltas();
    let no_answer_yet = sample.is_none() && error.is_none() && pipeline.counting.is_being_scraped();
    let scrape_error = error.or_else(|| no_answer_yet.then(|| "the metrics endpoint has not answered yet".to_owned()));
    let short = |text: String| Text(cut(&text, MAX_SHORT_TEXT_BYTES).into_owned().into());
    PipelineReport {
        id: pipeline.id().as_str().into(),
        name: pipeline.config().name.clone().map(|name| Text(name.into())),
        version: pipeline.config().centre.as_ref().map(|centre| centre.version),
        status: state.status.as_str().into(),
        reason: state.reason.map(short),
        pid: state.pid,
        started_at: state.started_at,
        restarts: state.restarts,
        config_checksum: pipeline.runtime.config_checksum().map(|sum| Text(sum.into())),
        sample,
        scrape_error: scrape_error.map(short),
        components,
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    }
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
