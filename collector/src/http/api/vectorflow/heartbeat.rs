//! `POST /api/agent/heartbeat`: the state of a node with the totals of its processes. Answered after the commit.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Payload};
use systole_shared::{PipelineId, PipelineStatus};

use super::answers::take_sample_results;
use super::{Agent, Answer, Taken};
use crate::app::App;
use crate::clock;
use crate::http::api::report_body;
use crate::http::error::ApiError;
use crate::ingest::protocol::vectorflow::{self, DecodedHeartbeat};
use crate::model::report::{Content, ReportedDeployments, Submission, TotalsOfPipeline};

pub(in crate::http) async fn submit_heartbeat(
    app: Data<App>,
    agent: Agent,
    request: HttpRequest,
    payload: Payload,
) -> Answer<Taken> {
    let result = try_submit(&app, agent, &request, payload).await;
    Ok(Json(result.inspect_err(|error| report_body::count_rejected(&app, error))?))
}

async fn try_submit(app: &App, agent: Agent, request: &HttpRequest, payload: Payload) -> Result<Taken, ApiError> {
    let node = agent.node;
    // Before the body: a slow upload does not make the interval longer.
    let received_at = clock::now_ms();
    // The room is held until the heartbeat is committed.
    let (decoded, _room) = report_body::read(app, node, request, payload, vectorflow::decode_heartbeat).await?;
    let DecodedHeartbeat { mut report, update_error, sample_results, refusals } = decoded;
    if let Some(given) = app.delivery.given(node) {
        report.deployments = ReportedDeployments::Observed(given);
    }
    let processes = app.actions.awaits_restart(node).then(|| processes(&report.pipelines));
    let submission = Submission {
        node,
        received_at,
        address: request.peer_addr().map(|peer| peer.ip()),
        content: Content::Totals(Box::new(report)),
        refusals,
        heard_by: None,
    };
    let committed = app.cluster.submit(submission).await?;
    if let Some(error) = update_error {
        // The agent says it once. `token list --all` names the node.
        tracing::warn!(token = %agent.identity.token, error = ?error, "an agent could not update itself");
    }
    sample_results.into_iter().for_each(|results| take_sample_results(app, node, &results));
    if let Some(processes) = processes {
        app.actions.observe(node, &processes);
    }
    Ok(committed.refusals.into())
}

/// The ids of the processes that run.
fn processes(pipelines: &[TotalsOfPipeline]) -> Vec<(PipelineId, Option<i64>)> {
    let process = |totals: &TotalsOfPipeline| {
        let pipeline = &totals.pipeline;
        let is_up = pipeline.status.is_running() || pipeline.status == PipelineStatus::Starting;
        (pipeline.id.clone(), pipeline.pid.filter(|_| is_up).map(i64::from))
    };
    pipelines.iter().map(process).collect()
}

impl report_body::Decoded for DecodedHeartbeat {
    fn bytes(&self) -> usize {
        DecodedHeartbeat::bytes(self)
    }

    fn refused_count(&self) -> u64 {
        self.refusals.count
    }
}
