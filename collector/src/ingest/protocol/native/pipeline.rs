//! A pipeline of a report, its components and its log lines.

use systole_shared::limits::{MAX_COMPONENTS_PER_REPORT, MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_REPORT, cut};
use systole_shared::{ComponentId, ComponentReport, PipelineId, PipelineReport, PipelineStatus, RefusalCode, Refused};

use super::report::Budget;
use super::topology::take_topology;
use crate::ingest::protocol::Fault;
use crate::ingest::protocol::numbers::{counter, gauge, latency, ratio};
use crate::ingest::protocol::seen::Seen;
use crate::ingest::protocol::text::{short, short_option, without_nul};
use crate::model::report::{PipelineDeltas, Refusals, ReportedComponent, ReportedLine, ReportedPipeline};

pub(super) fn take_pipeline(
    pipeline: PipelineReport<'_>,
    seq: u64,
    budget: &mut Budget,
    refusals: &mut Refusals,
) -> Result<ReportedPipeline, Fault> {
    let id =
        PipelineId::parse(pipeline.id.as_str()).map_err(|fault| (RefusalCode::InvalidId, format!("id {fault}")))?;
    let sample = match pipeline.sample {
        Some(sample) => Some(PipelineDeltas {
            events_in: counter("sample.eventsIn", sample.events_in)?,
            events_out: counter("sample.eventsOut", sample.events_out)?,
            errors: counter("sample.errors", sample.errors)?,
            discarded: counter("sample.discarded", sample.discarded)?,
            bytes_in: counter("sample.bytesIn", sample.bytes_in)?,
            bytes_out: counter("sample.bytesOut", sample.bytes_out)?,
            utilization: ratio(sample.utilization),
            latency_ms: latency(sample.latency_ms),
            reset: sample.reset,
        }),
        None => None,
    };
    let mut refuse = |component_id: &dyn Fn() -> Option<String>, fault: &dyn Fn() -> Fault| {
        refusals.push_with(|| {
            let (code, detail) = fault();
            Refused { seq, pipeline_id: Some(id.to_string()), component_id: component_id(), code, detail }
        });
    };

    let mut seen = Seen::new();
    let mut components = Vec::with_capacity(pipeline.components.len().min(budget.components));
    for component in pipeline.components {
        let named = || Some(short(component.id.as_str()));
        if budget.components == 0 {
            let detail = || format!("at most {MAX_COMPONENTS_PER_REPORT} components in a report");
            refuse(&named, &|| (RefusalCode::TooManyComponents, detail()));
            continue;
        }
        match take_component(&component) {
            Ok(taken) if seen.add(components.iter().map(|known: &ReportedComponent| &known.id), &taken.id) => {
                budget.components -= 1;
                components.push(taken);
            }
            Ok(_) => refuse(&named, &|| {
                (RefusalCode::DuplicateId, "duplicate id: ids must be unique in a pipeline".to_owned())
            }),
            Err(fault) => refuse(&named, &|| fault.clone()),
        }
    }

    let excess = pipeline.logs.len().saturating_sub(budget.log_lines);
    if excess > 0 {
        let detail = || format!("{excess} lines beyond the {MAX_LOG_LINES_PER_REPORT} of a report were dropped");
        refuse(&|| None, &|| (RefusalCode::TooManyLogLines, detail()));
    }
    let logs: Vec<ReportedLine> = pipeline
        .logs
        .into_iter()
        .take(budget.log_lines)
        .map(|log| ReportedLine {
            at: log.at,
            stream: log.stream,
            level: log.level,
            line: without_nul(cut(log.line.as_str(), MAX_LOG_LINE_BYTES)),
        })
        .collect();
    budget.log_lines -= logs.len();

    let topology = pipeline.topology.and_then(|topology| {
        let taken = take_topology(&topology);
        taken.map_err(|detail| refuse(&|| None, &|| (RefusalCode::InvalidItem, format!("topology: {detail}")))).ok()
    });
    let status = PipelineStatus::from_wire(pipeline.status.as_str());
    let status_text = (status == PipelineStatus::Unknown).then(|| short(pipeline.status.as_str()));
    Ok(ReportedPipeline {
        id,
        name: short_option(pipeline.name),
        version: pipeline.version,
        status,
        status_text,
        reason: short_option(pipeline.reason).unwrap_or_default(),
        pid: pipeline.pid,
        started_at: pipeline.started_at,
        restarts: pipeline.restarts,
        config_checksum: short_option(pipeline.config_checksum),
        sample,
        scrape_error: short_option(pipeline.scrape_error),
        components,
        logs,
        topology,
        logs_dropped: i64::try_from(pipeline.logs_dropped).unwrap_or(i64::MAX).saturating_add(excess as i64),
    })
}

fn take_component(component: &ComponentReport<'_>) -> Result<ReportedComponent, Fault> {
    let id =
        ComponentId::parse(component.id.as_str()).map_err(|fault| (RefusalCode::InvalidId, format!("id {fault}")))?;
    Ok(ReportedComponent {
        id,
        kind: component.kind,
        received_events: counter("receivedEvents", component.received_events)?,
        sent_events: counter("sentEvents", component.sent_events)?,
        received_bytes: component.received_bytes.map(|bytes| counter("receivedBytes", bytes)).transpose()?,
        sent_bytes: component.sent_bytes.map(|bytes| counter("sentBytes", bytes)).transpose()?,
        errors: counter("errors", component.errors)?,
        discarded: counter("discarded", component.discarded)?,
        latency_ms: latency(component.latency_ms),
        utilization: ratio(component.utilization),
        buffer_events: gauge(component.buffer_events),
        buffer_max_events: gauge(component.buffer_max_events),
        buffer_bytes: gauge(component.buffer_bytes),
        buffer_max_bytes: gauge(component.buffer_max_bytes),
    })
}
