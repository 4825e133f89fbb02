//! Records that earlier versions have left. Their fields are in the order in which they were packed.

use serde::Deserialize;

use super::WalRecord;
use crate::model::packed;
use crate::store::{
    ComponentMinuteRow, MinuteBucket, NodeBootRow, NodeHeartbeat, NodeMinuteRow, NodeTotalsRow, PipelineMinuteRow,
};

/// The form before reports of a pipeline were counted.
pub(super) const WITHOUT_REPORTS: u8 = 2;

/// The form before there were totals.
pub(super) const WITHOUT_TOTALS: u8 = 1;

/// A pipeline's minute without counts of reports.
#[derive(Deserialize)]
struct Pipeline {
    series: i64,
    #[serde(with = "packed")]
    events_in: i64,
    #[serde(with = "packed")]
    events_out: i64,
    #[serde(with = "packed")]
    errors: i64,
    #[serde(with = "packed")]
    discarded: i64,
    #[serde(with = "packed")]
    bytes_in: i64,
    #[serde(with = "packed")]
    bytes_out: i64,
    #[serde(with = "packed")]
    utilization_sum: f64,
    #[serde(with = "packed")]
    utilization_weight: f64,
    #[serde(with = "packed")]
    latency_sum: f64,
    #[serde(with = "packed")]
    latency_weight: f64,
    #[serde(with = "packed")]
    samples: i64,
    #[serde(with = "packed")]
    gaps: i64,
    #[serde(with = "packed")]
    resets: i64,
    #[serde(with = "packed")]
    logs_dropped: i64,
}

impl From<Pipeline> for PipelineMinuteRow {
    fn from(row: Pipeline) -> Self {
        PipelineMinuteRow {
            series: row.series,
            events_in: row.events_in,
            events_out: row.events_out,
            errors: row.errors,
            discarded: row.discarded,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            utilization_sum: row.utilization_sum,
            utilization_weight: row.utilization_weight,
            latency_sum: row.latency_sum,
            latency_weight: row.latency_weight,
            samples: row.samples,
            gaps: row.gaps,
            resets: row.resets,
            logs_dropped: row.logs_dropped,
            ..PipelineMinuteRow::default()
        }
    }
}

/// Minute, node, host, pipelines, components.
type Bucket = (i64, i64, Option<NodeMinuteRow>, Vec<Pipeline>, Vec<ComponentMinuteRow>);

/// Boots, forgotten boots, heartbeats.
type Nodes = (Vec<NodeBootRow>, Vec<(i64, String)>, Vec<(i64, NodeHeartbeat)>);

fn record(buckets: Vec<Bucket>, (boots, forgotten_boots, heartbeats): Nodes, totals: Vec<NodeTotalsRow>) -> WalRecord {
    let bucket = |(minute, node, host, pipelines, components): Bucket| MinuteBucket {
        minute,
        node,
        host,
        pipelines: pipelines.into_iter().map(PipelineMinuteRow::from).collect(),
        components,
        buffer_fills: Vec::new(),
    };
    WalRecord { buckets: buckets.into_iter().map(bucket).collect(), boots, forgotten_boots, heartbeats, totals }
}

/// Reads the form [`WITHOUT_REPORTS`].
pub(super) fn without_reports(plain: &[u8]) -> postcard::Result<WalRecord> {
    let (buckets, nodes, totals) = postcard::from_bytes(plain)?;
    Ok(record(buckets, nodes, totals))
}

/// Reads the form [`WITHOUT_TOTALS`].
pub(super) fn without_totals(plain: &[u8]) -> postcard::Result<WalRecord> {
    let (buckets, nodes) = postcard::from_bytes(plain)?;
    Ok(record(buckets, nodes, Vec::new()))
}
