//! The second reading of a request, after the first one failed: each item alone.
//!
//! It keeps as many items as a report may have and some to list, and only counts the rest. A request
//! with more unreadable items than [`MAX_UNREADABLE_ITEMS`] is refused whole.

use serde_json::value::RawValue;
use systole_shared::ack::MAX_REFUSED_LISTED;
use systole_shared::desired::MAX_DESIRED_PIPELINES;
use systole_shared::limits::{MAX_PIPELINES_PER_REPORT, MAX_REPORTS_PER_REQUEST};
use systole_shared::{
    AgentInfo, BootId, DeploymentReport, HostMetrics, PipelineReport, RefusalCode, Refused, Report, SeqRange,
    UnixMillis,
};

use super::report::{Complete, take_report};
use super::{DecodeError, check_reports};
use crate::ingest::protocol::first::First;
use crate::ingest::protocol::json::{id_of, parse, read_part};
use crate::model::report::{NodeReport, Refusals};

/// Items of one request that are read alone and are no pipelines. Each takes some microseconds; a request has
/// either a few of them, or it is not what an agent sends.
pub(super) const MAX_UNREADABLE_ITEMS: usize = 2_000;

/// Pipelines of a report that the second reading keeps: those that may be taken, and as many of the rest as a
/// response lists.
const MAX_KEPT_ITEMS: usize = MAX_PIPELINES_PER_REPORT + MAX_REFUSED_LISTED;

/// The request with its items unread.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseRequest<'a> {
    boot_id: BootId,
    sent_at: UnixMillis,
    #[serde(borrow)]
    reports: First<LooseReport<'a>, MAX_REPORTS_PER_REQUEST>,
}

#[derive(serde::Deserialize)]
struct LooseReport<'a> {
    seq: u64,
    start: UnixMillis,
    end: UnixMillis,
    #[serde(borrow, default)]
    agent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    host: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pipelines: First<&'a RawValue, MAX_KEPT_ITEMS>,
    #[serde(default)]
    covers: Option<SeqRange>,
    #[serde(borrow, default)]
    deployments: First<&'a RawValue, MAX_DESIRED_PIPELINES>,
}

pub(super) fn decode_item_by_item(
    body: &[u8],
    refusals: &mut Refusals,
) -> Result<(BootId, UnixMillis, Vec<NodeReport>), DecodeError> {
    let request = parse_loose(body).map_err(DecodeError::Malformed)?;
    if request.reports.beyond > 0 {
        return Err(DecodeError::TooManyReports(request.reports.items.len() + request.reports.beyond));
    }
    check_reports(request.reports.items.iter().map(|report| report.seq))?;
    let mut reports = Vec::with_capacity(request.reports.items.len());
    let mut unreadable = 0;
    for loose in request.reports.items {
        let mut refuse = |pipeline_id: Option<String>, detail: String| {
            let code = RefusalCode::InvalidItem;
            refusals.push(Refused { seq: loose.seq, pipeline_id, component_id: None, code, detail });
        };
        let agent = read_part::<AgentInfo<'_>>(loose.agent).unwrap_or_else(|detail| {
            refuse(None, format!("agent: {detail}"));
            None
        });
        let host = read_part::<HostMetrics>(loose.host).unwrap_or_else(|detail| {
            refuse(None, format!("host: {detail}"));
            None
        });
        let kept = loose.pipelines.items;
        let (within, beyond) = kept.split_at(kept.len().min(MAX_PIPELINES_PER_REPORT));
        let mut complete = Complete { pipelines: beyond.is_empty(), ..Complete::BOTH };
        let mut pipelines = Vec::with_capacity(within.len());
        for raw in within {
            match parse::<PipelineReport<'_>>(raw.get().as_bytes()) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(detail) => {
                    unreadable += 1;
                    if unreadable > MAX_UNREADABLE_ITEMS {
                        return Err(DecodeError::TooManyUnreadable);
                    }
                    complete.pipelines = false;
                    refuse(id_of(raw), detail);
                }
            }
        }
        for raw in beyond {
            refusals.push_with(|| Refused {
                seq: loose.seq,
                pipeline_id: id_of(raw),
                component_id: None,
                code: RefusalCode::TooManyPipelines,
                detail: format!("at most {MAX_PIPELINES_PER_REPORT} pipelines in a report"),
            });
        }
        refusals.count += loose.pipelines.beyond as u64;
        let mut deployments = Vec::with_capacity(loose.deployments.items.len());
        for raw in loose.deployments.items {
            match parse::<DeploymentReport<'_>>(raw.get().as_bytes()) {
                Ok(deployment) => deployments.push(deployment),
                Err(detail) => {
                    unreadable += 1;
                    if unreadable > MAX_UNREADABLE_ITEMS {
                        return Err(DecodeError::TooManyUnreadable);
                    }
                    complete.deployments = false;
                    refusals.push_with(|| Refused {
                        seq: loose.seq,
                        pipeline_id: id_of(raw),
                        component_id: None,
                        code: RefusalCode::InvalidItem,
                        detail: format!("deployments: {detail}"),
                    });
                }
            }
        }
        if loose.deployments.beyond > 0 {
            complete.deployments = false;
            refusals.push_with(|| Refused {
                seq: loose.seq,
                pipeline_id: None,
                component_id: None,
                code: RefusalCode::TooManyPipelines,
                detail: format!("at most {MAX_DESIRED_PIPELINES} deployments in a report"),
            });
        }
        let report = Report {
            seq: loose.seq,
            start: loose.start,
            end: loose.end,
            agent,
            host,
            pipelines,
            covers: loose.covers,
            deployments,
        };
        reports.push(take_report(report, complete, refusals));
    }
    Ok((request.boot_id, request.sent_at, reports))
}

/// Reads the request with its items unread. Only a fault is looked for again with its place, because that
/// takes several times as long.
fn parse_loose(body: &[u8]) -> Result<LooseRequest<'_>, String> {
    serde_json::from_slice(body).or_else(|_| parse(body))
}
