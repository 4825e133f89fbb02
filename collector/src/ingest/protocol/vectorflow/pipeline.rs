//! A pipeline of a heartbeat and its components.

use systole_shared::limits::MAX_COMPONENTS_PER_REPORT;
use systole_shared::vectorflow::{HeartbeatComponent, HeartbeatPipeline};
use systole_shared::{ComponentId, ComponentKind, Counter, PipelineId, PipelineStatus, RefusalCode, Refused, Text};

use crate::ingest::protocol::Fault;
use crate::ingest::protocol::numbers::{counter, latency, ratio};
use crate::ingest::protocol::seen::Seen;
use crate::ingest::protocol::text::{short, short_option};
use crate::model::report::{PipelineDeltas, Refusals, ReportedComponent, ReportedPipeline, TotalsOfPipeline};

/// The reason of a gap.
const NO_SAMPLE: &str = "the agent could not read the metrics of this pipeline";

/// What is known of a pipeline's components before they are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Components {
    /// Some could not be read.
    pub are_complete: bool,
    /// The scrape has brought some, readable or not.
    pub were_scraped: bool,
}

impl Components {
    /// All that came could be read.
    pub(super) const ALL: Components = Components { are_complete: true, were_scraped: false };
}

pub(super) fn take_pipeline(
    pipeline: HeartbeatPipeline<'_>,
    known: Components,
    components_left: &mut usize,
    refusals: &mut Refusals,
) -> Result<TotalsOfPipeline, Fault> {
    let id = PipelineId::parse(pipeline.pipeline_id.as_str())
        .map_err(|fault| (RefusalCode::InvalidId, format!("pipelineId {fault}")))?;
    let totals = totals(&pipeline)?;
    let reported = pipeline.component_metrics.unwrap_or_default();
    let has_sample = known.were_scraped || !reported.is_empty() || has_counted(&totals);
    let count = reported.len();
    let components = take_components(&id, reported, components_left, refusals);
    let status = PipelineStatus::from_wire(pipeline.status.as_str());
    let status_text = (status == PipelineStatus::Unknown).then(|| short(pipeline.status.as_str()));
    let components_complete = known.are_complete && components.len() == count;
    let is_down = matches!(
        status,
        PipelineStatus::Pending | PipelineStatus::Stopped | PipelineStatus::Crashed | PipelineStatus::CrashLoop
    );
    let pid = pipeline.pid.filter(|pid| *pid > 0 && !is_down);
    // Zero is left out.
    let uptime_seconds = pipeline.uptime_seconds.or(pid.map(|_| 0)).filter(|_| !is_down);
    let pipeline = ReportedPipeline {
        id,
        name: None,
        version: Some(pipeline.version),
        status,
        status_text,
        reason: reason(status, pipeline.recent_logs),
        pid,
        started_at: None,
        restarts: 0,
        config_checksum: short_option(pipeline.config_checksum),
        sample: has_sample.then_some(totals),
        scrape_error: (!has_sample && status.is_running()).then(|| NO_SAMPLE.to_owned()),
        components,
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    };
    Ok(TotalsOfPipeline { pipeline, uptime_seconds, components_complete })
}

/// The totals of a pipeline. What is absent is zero.
fn totals(pipeline: &HeartbeatPipeline<'_>) -> Result<PipelineDeltas, Fault> {
    let total = |name: &str, value: Option<Counter>| counter(name, value.unwrap_or_default());
    Ok(PipelineDeltas {
        events_in: total("eventsIn", pipeline.events_in)?,
        events_out: total("eventsOut", pipeline.events_out)?,
        errors: total("errorsTotal", pipeline.errors_total)?,
        discarded: total("eventsDiscarded", pipeline.events_discarded)?,
        bytes_in: total("bytesIn", pipeline.bytes_in)?,
        bytes_out: total("bytesOut", pipeline.bytes_out)?,
        utilization: ratio(pipeline.utilization).filter(|utilization| *utilization > 0.0),
        latency_ms: None,
        reset: false,
    })
}

fn has_counted(totals: &PipelineDeltas) -> bool {
    *totals != PipelineDeltas { utilization: totals.utilization, ..PipelineDeltas::default() }
}

/// A crash is explained by the last words of the process.
fn reason(status: PipelineStatus, recent_logs: Option<Vec<Text<'_>>>) -> String {
    if !matches!(status, PipelineStatus::Crashed | PipelineStatus::CrashLoop) {
        return String::new();
    }
    let lines = recent_logs.unwrap_or_default();
    let last = lines.iter().map(|line| line.as_str().trim()).rfind(|line| !line.is_empty());
    last.map(short).unwrap_or_default()
}

fn take_components(
    pipeline: &PipelineId,
    reported: Vec<HeartbeatComponent<'_>>,
    left: &mut usize,
    refusals: &mut Refusals,
) -> Vec<ReportedComponent> {
    let mut seen = Seen::new();
    let mut taken: Vec<ReportedComponent> = Vec::with_capacity(reported.len().min(*left));
    for component in reported {
        let fault = match take_component(&component) {
            _ if *left == 0 => (
                RefusalCode::TooManyComponents,
                format!("at most {MAX_COMPONENTS_PER_REPORT} components in a heartbeat"),
            ),
            Ok(good) if seen.add(taken.iter().map(|known| &known.id), &good.id) => {
                *left -= 1;
                taken.push(good);
                continue;
            }
            Ok(_) => (RefusalCode::DuplicateId, "duplicate id: ids must be unique in a pipeline".to_owned()),
            Err(fault) => fault,
        };
        refusals.push_with(|| Refused {
            seq: 0,
            pipeline_id: Some(pipeline.to_string()),
            component_id: Some(short(component.component_id.as_str())),
            code: fault.0,
            detail: fault.1,
        });
    }
    taken
}

fn take_component(component: &HeartbeatComponent<'_>) -> Result<ReportedComponent, Fault> {
    let id = ComponentId::parse(component.component_id.as_str())
        .map_err(|fault| (RefusalCode::InvalidId, format!("componentId {fault}")))?;
    let total = |name: &str, value: Option<Counter>| counter(name, value.unwrap_or_default());
    let bytes = |name: &str, value: Option<Counter>| value.map(|value| counter(name, value)).transpose();
    Ok(ReportedComponent {
        id,
        kind: ComponentKind::from_wire(component.component_kind.as_str()),
        received_events: counter("receivedEvents", component.received_events)?,
        sent_events: counter("sentEvents", component.sent_events)?,
        received_bytes: bytes("receivedBytes", component.received_bytes)?,
        sent_bytes: bytes("sentBytes", component.sent_bytes)?,
        errors: total("errorsTotal", component.errors_total)?,
        discarded: total("discardedEvents", component.discarded_events)?,
        latency_ms: latency(component.latency_mean_seconds).map(|seconds| seconds * 1_000.0),
        utilization: None,
        buffer_events: None,
        buffer_max_events: None,
        buffer_bytes: None,
        buffer_max_bytes: None,
    })
}
