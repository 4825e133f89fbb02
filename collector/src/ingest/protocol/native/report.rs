//! A report within its limits.

use systole_shared::limits::{MAX_COMPONENTS_PER_REPORT, MAX_LOG_LINES_PER_REPORT, MAX_PIPELINES_PER_REPORT};
use systole_shared::{AgentHealth, AgentInfo, RefusalCode, Refused, Report, Text};

use super::deployments::take_deployments;
use super::pipeline::take_pipeline;
use crate::ingest::protocol::labels::take_labels;
use crate::ingest::protocol::seen::Seen;
use crate::ingest::protocol::text::{printable, short, short_option};
use crate::model::AgentKind;
use crate::model::report::{NodeReport, Refusals, ReportedAgent, ReportedDeployments, ReportedPipeline};

/// Whether the lists of a report have all their items: some were refused before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Complete {
    pub pipelines: bool,
    pub deployments: bool,
}

impl Complete {
    pub(super) const BOTH: Complete = Complete { pipelines: true, deployments: true };
}

pub(super) fn take_report(report: Report<'_>, mut complete: Complete, refusals: &mut Refusals) -> NodeReport {
    let seq = report.seq;
    let mut budget = Budget { components: MAX_COMPONENTS_PER_REPORT, log_lines: MAX_LOG_LINES_PER_REPORT };
    let mut seen = Seen::new();
    let mut pipelines = Vec::with_capacity(report.pipelines.len().min(MAX_PIPELINES_PER_REPORT));
    for pipeline in report.pipelines {
        let named = pipeline.id.clone();
        let fault = match take_pipeline(pipeline, seq, &mut budget, refusals) {
            Ok(pipeline) if seen.add(pipelines.iter().map(|known: &ReportedPipeline| &known.id), &pipeline.id) => {
                pipelines.push(pipeline);
                continue;
            }
            Ok(_) => (RefusalCode::DuplicateId, "duplicate id: the first in this report is used".to_owned()),
            Err(fault) => fault,
        };
        complete.pipelines = false;
        let pipeline_id = || Some(short(named.as_str()));
        refusals.push_with(|| Refused {
            seq,
            pipeline_id: pipeline_id(),
            component_id: None,
            code: fault.0,
            detail: fault.1,
        });
    }
    let deployments = take_deployments(report.deployments, seq, &mut complete.deployments, refusals);
    let health = report.agent.as_ref().map(|agent| AgentHealth {
        last_send_error: agent.health.last_send_error.as_deref().map(short),
        config_error: agent.health.config_error.as_deref().map(short),
        ..agent.health.clone()
    });
    NodeReport {
        seq,
        start: report.start,
        end: report.end,
        covers_from: report.covers.map_or(seq, |covers| covers.from.clamp(1, seq)),
        stopping: report.agent.as_ref().and_then(|agent| agent.stopping.as_ref()).map(|text| printable(text.as_str())),
        agent: report.agent.map(take_agent),
        health,
        host: report.host,
        pipelines,
        complete: complete.pipelines,
        deployments: ReportedDeployments::Stated { items: deployments, complete: complete.deployments },
    }
}

/// Engines of one node: each is a section of its file.
const MAX_ENGINES: usize = 64;

fn take_engines(engines: Vec<Text<'_>>) -> Vec<String> {
    engines.into_iter().take(MAX_ENGINES).map(|engine| printable(engine.as_str())).collect()
}

fn take_agent(agent: AgentInfo<'_>) -> ReportedAgent {
    // Names appear in log lines and tables, like those of enrolment.
    let name = agent.name.map(|name| printable(name.as_str()));
    ReportedAgent {
        kind: AgentKind::Systole,
        name: name.filter(|name| !name.is_empty()),
        version: short_option(agent.version),
        vector_version: short_option(agent.vector_version),
        deployment_mode: short_option(agent.deployment_mode),
        running_as: short_option(agent.running_as),
        engines: agent.engines.map(take_engines),
        labels: Some(take_labels(agent.labels)),
    }
}

/// The rest of a report's limits.
pub(super) struct Budget {
    pub components: usize,
    pub log_lines: usize,
}
