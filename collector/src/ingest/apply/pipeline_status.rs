//! The state of a pipeline, as reported. A pipeline that a complete report no longer contains becomes STOPPED. A report
//! that lost items to refusal is not complete.

use systole_shared::events::{Event, EventType, StatusChange};
use systole_shared::{PipelineStatus, UnixMillis};

use super::{NodeIdentity, ReportWindow};
use crate::ingest::changes::Changes;
use crate::ingest::state::{Dimensions, NodeState, PipelineState};
use crate::model::PipelineKey;
use crate::model::report::ReportedPipeline;
use crate::store::PipelineStatusRow;

pub(super) fn update_status(
    (identity, node_name): (NodeIdentity, &str),
    pipeline: &mut PipelineState,
    facts: &ReportedPipeline,
    dimensions: &mut Dimensions,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let changed =
        pipeline.status != facts.status || pipeline.row.status_text != facts.status_text || !pipeline.is_present();
    let has_new_reason = !changed && pipeline.reason.try_publish(&facts.reason, at.received_at);
    // Most reports change nothing here; then nothing is written.
    if !changed && !has_new_reason && is_as_before(&pipeline.row, facts, at) {
        return;
    }
    let row = PipelineStatusRow {
        node: pipeline.row.node,
        pipeline: pipeline.row.pipeline,
        status: facts.status.as_str().to_owned(),
        status_text: facts.status_text.clone(),
        reason: facts.reason.clone(),
        since: if changed { at.end } else { pipeline.row.since },
        version: facts.version,
        pid: facts.pid.map(i64::from),
        started_at: started_at(facts, at),
        restarts: restarts(facts),
        config_checksum: facts.config_checksum.clone(),
        scrape_error: facts.scrape_error.clone(),
        present: 1,
        reported_at: at.end,
    };
    if changed || has_new_reason {
        let reason = match &facts.status_text {
            Some(text) => format!("reported as {text:?}. {}", facts.reason).trim_end().to_owned(),
            None => facts.reason.clone(),
        };
        let event = Event::StatusChange(StatusChange {
            node_id: identity.1,
            node_name: Some(node_name.to_owned()),
            pipeline_id: Some(facts.id.clone()),
            pipeline_name: dimensions.pipeline(identity.2, &facts.id).map(|known| known.name.clone()),
            from_status: pipeline.status.as_str().to_owned(),
            to_status: facts.status.as_str().to_owned(),
            reason,
            timestamp: at.end,
        });
        let key = PipelineKey(pipeline.row.pipeline);
        changes.add_event(at.end, identity, Some((key, &facts.id)), EventType::StatusChange, &event);
        pipeline.status = facts.status;
        pipeline.reason.publish(&facts.reason);
    }
    changes.set_status(row.clone());
    pipeline.row = row;
}

/// Whether a report says of a pipeline in an unchanged state what was written of it.
fn is_as_before(row: &PipelineStatusRow, facts: &ReportedPipeline, at: &ReportWindow) -> bool {
    row.reason == facts.reason
        && row.version == facts.version
        && row.pid == facts.pid.map(i64::from)
        && row.started_at == started_at(facts, at)
        && row.restarts == restarts(facts)
        && row.config_checksum == facts.config_checksum
        && row.scrape_error == facts.scrape_error
}

fn started_at(facts: &ReportedPipeline, at: &ReportWindow) -> Option<UnixMillis> {
    facts.started_at.map(|started| started.saturating_add(at.correction))
}

fn restarts(facts: &ReportedPipeline) -> i64 {
    i64::try_from(facts.restarts).unwrap_or(i64::MAX)
}

/// Pipelines that the node no longer has count as stopped.
pub(super) fn retire_absent(
    node: &mut NodeState,
    dimensions: &mut Dimensions,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let identity = (node.key, node.id, node.environment);
    for (id, pipeline) in &mut node.pipelines {
        if !pipeline.is_present() || pipeline.last_report == node.reports {
            continue;
        }
        let reason = "no longer configured on the node";
        if pipeline.status != PipelineStatus::Stopped {
            let event = Event::StatusChange(StatusChange {
                node_id: identity.1,
                node_name: Some(node.name.clone()),
                pipeline_id: Some(id.clone()),
                pipeline_name: dimensions.pipeline(identity.2, id).map(|known| known.name.clone()),
                from_status: pipeline.status.as_str().to_owned(),
                to_status: PipelineStatus::Stopped.as_str().to_owned(),
                reason: reason.to_owned(),
                timestamp: at.end,
            });
            let key = PipelineKey(pipeline.row.pipeline);
            changes.add_event(at.end, identity, Some((key, id)), EventType::StatusChange, &event);
        }
        dimensions.places.give_back(identity.0, pipeline.take_places());
        pipeline.status = PipelineStatus::Stopped;
        pipeline.reason.publish(reason);
        pipeline.row.status = PipelineStatus::Stopped.as_str().to_owned();
        pipeline.row.reason = reason.to_owned();
        pipeline.row.since = at.end;
        pipeline.row.present = 0;
        pipeline.row.pid = None;
        pipeline.row.reported_at = at.end;
        changes.set_status(pipeline.row.clone());
    }
}
