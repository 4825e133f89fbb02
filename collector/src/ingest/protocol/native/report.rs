//! A report within its limits.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use systole_shared::limits::{
    MAX_COMPONENTS_PER_REPORT, MAX_LABELS, MAX_LABELS_BYTES, MAX_LOG_LINES_PER_REPORT, MAX_PIPELINES_PER_REPORT,
};
use systole_shared::{AgentHealth, AgentInfo, RefusalCode, Refused, Report, Text};

use super::deployments::take_deployments;
use super::pipeline::take_pipeline;
use super::text::{printable, short, short_option};
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
    let label = |(key, value): (Text<'_>, Text<'_>)| (short(key.as_str()), short(value.as_str()));
    let mut labels_bytes = 0;
    let fits = |(key, value): &(String, String)| {
        labels_bytes += key.len() + value.len();
        labels_bytes <= MAX_LABELS_BYTES
    };
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
        labels: agent.labels.into_iter().take(MAX_LABELS).map(label).take_while(fits).collect::<BTreeMap<_, _>>(),
    }
}

/// Finds ids that come twice. Few are compared one by one, which is quicker than hashing them.
pub(super) struct Seen<I>(HashSet<I>);

impl<I: Clone + Eq + Hash> Seen<I> {
    const FEW: usize = 16;

    pub(super) fn new() -> Self {
        Seen(HashSet::new())
    }

    /// False when one of `known`, which are all that were added, has this id.
    pub(super) fn add<'a>(&mut self, mut known: impl ExactSizeIterator<Item = &'a I>, id: &'a I) -> bool {
        if known.len() < Self::FEW {
            return known.all(|known| known != id);
        }
        if self.0.is_empty() {
            self.0.extend(known.cloned());
        }
        self.0.insert(id.clone())
    }
}

/// The rest of a report's limits.
pub(super) struct Budget {
    pub components: usize,
    pub log_lines: usize,
}
