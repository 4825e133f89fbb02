//! The body of `POST /api/v1/agent/reports`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ack::SeqRange;
use crate::bounded::{at_most, first_entries};
use crate::desired::{DeploymentReport, MAX_DESIRED_PIPELINES};
use crate::limits::{MAX_LABELS, MAX_PIPELINES_PER_REPORT, MAX_REPORTS_PER_REQUEST};
use crate::topology::Topology;
use crate::{BootId, Counter, HostMetrics, LogLine, Text, UnixMillis};

/// Reports of one boot, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportRequest<'a> {
    /// The run of the agent process that made these reports.
    pub boot_id: BootId,
    /// The agent's clock when it sent the request; the collector corrects times by it.
    pub sent_at: UnixMillis,
    /// At most 100 ([`crate::limits::MAX_REPORTS_PER_REQUEST`]).
    #[serde(borrow, deserialize_with = "at_most::<_, _, MAX_REPORTS_PER_REQUEST>")]
    pub reports: Vec<Report<'a>>,
}

/// What happened on a node from `start` to `end`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    /// From 1 with each boot, one more per report.
    pub seq: u64,
    /// Start of the interval.
    pub start: UnixMillis,
    /// End of the interval; gauges are as seen here, and the minute is taken from it.
    pub end: UnixMillis,
    /// The agent itself.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentInfo<'a>>,
    /// The host; absent when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostMetrics>,
    /// Every pipeline of the node; one that is missing is no longer configured.
    #[serde(borrow, default, deserialize_with = "at_most::<_, _, MAX_PIPELINES_PER_REPORT>")]
    pub pipelines: Vec<PipelineReport<'a>>,
    /// The reports that this one was merged from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<SeqRange>,
    /// Every pipeline that the collector wants on the node ([`crate::desired`]), and how far it is.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, MAX_DESIRED_PIPELINES>"
    )]
    pub deployments: Vec<DeploymentReport<'a>>,
}

/// The agent that reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo<'a> {
    /// The node's name: the operator's, or the host's as it is now. Agents before 0.2 do not send it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
    /// Set on the last reports of an agent that ends in order: why, such as `agent stopped` or `host is
    /// shutting down`. The node reports no more until an agent starts again.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Text<'a>>,
    /// Version of the agent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Text<'a>>,
    /// Version that `vector --version` gave, when there is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub vector_version: Option<Text<'a>>,
    /// `STANDALONE` or `DOCKER`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub deployment_mode: Option<Text<'a>>,
    /// The user that the agent runs as.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub running_as: Option<Text<'a>>,
    /// The engines that the node's file names, when the agent accepts pipelines of the centre. Absent when it
    /// accepts none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub engines: Option<Vec<Text<'a>>>,
    /// The node's labels, automatic ones included. Those after the first 64 ([`crate::limits::MAX_LABELS`]) are
    /// skipped.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "first_entries::<_, _, _, MAX_LABELS>"
    )]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    /// The state of the agent itself.
    #[serde(default)]
    pub health: AgentHealth,
}

/// The state of the agent itself: what waits, and what it dropped. Counters start at its boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AgentHealth {
    /// Reports that wait for the collector.
    pub spool_reports: u64,
    /// Their bytes.
    pub spool_bytes: u64,
    /// Dropped reports.
    pub lost_reports: u64,
    /// Log lines that were dropped, by a pipeline's budget or with their report.
    pub lost_log_lines: u64,
    /// Items that the collector refused, or that the agent left out because the collector refuses them.
    pub refused_items: u64,
    /// Requests that failed.
    pub send_errors: u64,
    /// Scrapes that failed.
    pub scrape_errors: u64,
    /// Lines of metrics endpoints that are not samples.
    pub garbage_metric_lines: u64,
    /// Seconds since the agent's start.
    pub uptime_seconds: u64,
    /// How often the collector answered again after a failure.
    #[serde(skip_serializing_if = "is_zero")]
    pub reconnects: u64,
    /// How far the agent's clock is ahead of the collector's, as the last answer showed; absent
    /// before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// Why the last failed request failed, at most 1024 bytes ([`crate::limits::MAX_SHORT_TEXT_BYTES`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_send_error: Option<String>,
    /// When that was, by the agent's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_send_error_at: Option<UnixMillis>,
    /// What is wrong with the configuration file, while the agent runs with its last valid state; at
    /// most 1024 bytes ([`crate::limits::MAX_SHORT_TEXT_BYTES`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
}

/// One pipeline over the report's interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PipelineReport<'a> {
    /// Unique in the environment.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// The name for display; the id when absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
    /// Version of the pipeline's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// One of `PipelineStatus` ([`crate::PipelineStatus`]). It is text, so that an unknown one is kept as it is.
    #[serde(borrow)]
    pub status: Text<'a>,
    /// Why the pipeline is in this state.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<'a>>,
    /// Process id, while a process of this pipeline is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Start of that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<UnixMillis>,
    /// How often the agent restarted it since the agent's own start.
    #[serde(default)]
    pub restarts: u64,
    /// Checksum of the configuration that runs.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub config_checksum: Option<Text<'a>>,
    /// What was counted; absent when there is no sample, which is neither zero nor the last value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<PipelineSample>,
    /// Why there is no sample; absent also when no metrics are expected.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub scrape_error: Option<Text<'a>>,
    /// The components' part of the sample.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentReport<'a>>,
    /// Lines since the last report, in order.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine<'a>>,
    /// Lines that the agent's budget dropped in this interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub logs_dropped: u64,
    /// How the components are connected, with the first report of a configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Deltas of a pipeline over the interval, and its gauges at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PipelineSample {
    /// Events that the sources received.
    pub events_in: Counter,
    /// Events that the sinks sent.
    pub events_out: Counter,
    /// Errors of all components.
    #[serde(default)]
    pub errors: Counter,
    /// Events that components dropped, on purpose or not.
    #[serde(default)]
    pub discarded: Counter,
    /// Bytes that the sources received.
    #[serde(default)]
    pub bytes_in: Counter,
    /// Bytes that the sinks sent.
    #[serde(default)]
    pub bytes_out: Counter,
    /// The busiest component's share of time at work, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Mean time that an event spends in a component, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// The process restarted inside the interval.
    #[serde(default)]
    pub reset: bool,
}

/// What a component does in its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// Receives events.
    Source,
    /// Sends events.
    Sink,
    /// Changes events.
    Transform,
    /// A kind that this version does not know. Its counters are kept, and they count in no total of the
    /// pipeline.
    #[serde(other)]
    Unknown,
}

impl ComponentKind {
    /// The kind as the wire and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ComponentKind::Source => "source",
            ComponentKind::Transform => "transform",
            ComponentKind::Sink => "sink",
            ComponentKind::Unknown => "unknown",
        }
    }

    /// Reads what [`Self::as_str`] wrote; anything else is [`ComponentKind::Unknown`].
    pub fn from_wire(text: &str) -> Self {
        match text {
            "source" => ComponentKind::Source,
            "transform" => ComponentKind::Transform,
            "sink" => ComponentKind::Sink,
            _ => ComponentKind::Unknown,
        }
    }
}

/// Deltas of one component over the interval, and its gauges at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport<'a> {
    /// As the engine names it.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// What it does.
    pub kind: ComponentKind,
    /// Events received.
    #[serde(default)]
    pub received_events: Counter,
    /// Events sent.
    #[serde(default)]
    pub sent_events: Counter,
    /// Bytes received; absent where the engine does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<Counter>,
    /// Bytes sent; absent where the engine does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<Counter>,
    /// Errors.
    #[serde(default)]
    pub errors: Counter,
    /// Events dropped, on purpose or not.
    #[serde(default)]
    pub discarded: Counter,
    /// Mean time that an event spends here, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Share of time at work, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Events that wait in the buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_events: Option<Counter>,
    /// Events that fit into the buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_max_events: Option<Counter>,
    /// Bytes that wait in the buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_bytes: Option<Counter>,
    /// Bytes that fit into the buffer (disk buffers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_max_bytes: Option<Counter>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of protocol.md, its ellipses filled in.
    const EXAMPLE: &str = r#"{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1790000000000,
     "reports":[{"seq":41,"start":1789999995000,"end":1790000000000,
       "agent":{"version":"0.1.0","vectorVersion":"0.58.0","deploymentMode":"STANDALONE","runningAs":"root",
                 "labels":{"zone":"a"},"health":{"spoolReports":0,"spoolBytes":0,"lostReports":0,"lostLogLines":0,
                 "refusedItems":0,"sendErrors":0,"scrapeErrors":0,"garbageMetricLines":0,"uptimeSeconds":60}},
       "host":{"memoryTotalBytes":1,"memoryUsedBytes":2,"memoryFreeBytes":3,"cpuSecondsTotal":4.5,"cpuSecondsIdle":5.5,
               "loadAvg1":0.1,"loadAvg5":0.2,"loadAvg15":0.3,"fsTotalBytes":6,"fsUsedBytes":7,"fsFreeBytes":8,
               "diskReadBytes":9,"diskWrittenBytes":10,"netRxBytes":11,"netTxBytes":12},
       "pipelines":[{
         "id":"orders","name":"Orders","version":3,"status":"RUNNING","pid":4242,"startedAt":1789999000000,"restarts":0,
         "configChecksum":"abc",
         "sample":{"eventsIn":500,"eventsOut":498,"errors":0,"discarded":2,"bytesIn":51200,"bytesOut":50100,
                    "utilization":0.43,"latencyMs":1.2,"reset":false},
         "components":[{"id":"parse","kind":"transform","receivedEvents":500,"sentEvents":498,"receivedBytes":1,"sentBytes":2,
                         "errors":0,"discarded":2,"latencyMs":1.2,"utilization":0.2,"bufferEvents":3,"bufferMaxEvents":4}],
         "logs":[{"at":1789999996123,"stream":"stderr","level":"INFO","line":"started"}]}]}]}"#;

    #[test]
    fn request_round_trips_the_protocols_example() {
        let request: ReportRequest<'_> = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(request.reports[0].seq, 41);
        let pipeline = &request.reports[0].pipelines[0];
        assert_eq!(pipeline.sample.unwrap().events_in.get(), Ok(500));
        assert_eq!(pipeline.logs[0].line.as_str(), "started");
        // Every name of the document survives the way through the structs: none is ignored.
        let written = serde_json::to_value(&request).unwrap();
        let expected: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn agent_health_is_compatible_between_versions() {
        let later = r#"{"spoolReports":1,"reconnects":2,"clockSkewMs":-3,"lastSendError":"e","lastSendErrorAt":4}"#;
        let health: AgentHealth = serde_json::from_str(later).unwrap();
        assert_eq!((health.reconnects, health.clock_skew_ms, health.last_send_error_at), (2, Some(-3), Some(4)));
        let earlier: AgentHealth = serde_json::from_str(r#"{"uptimeSeconds":60}"#).unwrap();
        assert_eq!((earlier.clock_skew_ms, earlier.last_send_error), (None, None));
    }

    #[test]
    fn missing_sample_is_not_zero() {
        let json = r#"{"id":"orders","status":"RUNNING","reason":null,"scrapeError":"connection refused"}"#;
        let pipeline: PipelineReport<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(pipeline.sample, None);
        assert_eq!(pipeline.scrape_error.unwrap().as_str(), "connection refused");
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let json = r#"{"id":"orders","status":"PAUSED","novelty":{"deep":[1,2]}}"#;
        let pipeline: PipelineReport<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(pipeline.status.as_str(), "PAUSED");
    }
}
