//! How far a node is with the pipelines of the centre.

use systole_shared::{DeploymentPhase, DeploymentReport, PipelineId, RefusalCode, Refused};

use crate::ingest::protocol::Fault;
use crate::ingest::protocol::text::short;
use crate::model::report::{Refusals, ReportedDeployment};

/// Takes the good ones. `complete` becomes false when one is refused.
pub(super) fn take_deployments(
    reports: Vec<DeploymentReport<'_>>,
    seq: u64,
    complete: &mut bool,
    refusals: &mut Refusals,
) -> Vec<ReportedDeployment> {
    let mut taken: Vec<ReportedDeployment> = Vec::with_capacity(reports.len());
    for report in reports {
        let fault = match take_deployment(&report) {
            // There are few of them.
            Ok(deployment) if taken.iter().all(|known| known.pipeline != deployment.pipeline) => {
                taken.push(deployment);
                continue;
            }
            Ok(_) => (RefusalCode::DuplicateId, "duplicate id: the first in this report is used".to_owned()),
            Err(fault) => fault,
        };
        *complete = false;
        refusals.push_with(|| Refused {
            seq,
            pipeline_id: Some(short(report.pipeline_id.as_str())),
            component_id: None,
            code: fault.0,
            detail: format!("deployments: {}", fault.1),
        });
    }
    taken
}

fn take_deployment(report: &DeploymentReport<'_>) -> Result<ReportedDeployment, Fault> {
    let pipeline = PipelineId::parse(report.pipeline_id.as_str())
        .map_err(|fault| (RefusalCode::InvalidId, format!("pipelineId {fault}")))?;
    let phase = DeploymentPhase::from_wire(report.phase.as_str()).ok_or_else(|| {
        let known = DeploymentPhase::ALL.map(DeploymentPhase::as_str).join(", ");
        (RefusalCode::InvalidItem, format!("phase {:?}, expected one of {known}", short(report.phase.as_str())))
    })?;
    Ok(ReportedDeployment {
        pipeline,
        version: report.version,
        phase,
        running_version: report.running_version,
        reason: short(report.reason.as_str()),
    })
}
