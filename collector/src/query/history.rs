//! Pipelines and hosts over time.

use std::collections::BTreeMap;

use crate::model::{BucketRange, NodeKey, PipelineKey, Resolution};
use crate::store::{
    ComponentCounts, ComponentMinuteView, Extremes, HostAggregate, PipelineCounts, PipelineMinuteView, StoreError,
};
use crate::timeseries::TimeSeries;

/// Rows of minutes that are read for the extremes of a sum over nodes: some tenths of a second, and less once the hours
/// are in memory.
const MAX_MINUTE_ROWS: i64 = 400_000;

/// What extremes are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtremesOf {
    /// What the item sums up, minute by minute.
    Sum,
    /// Each node, added up. The sum lies between them as long as every node reports.
    EachNode,
}

/// A history: each item with the extremes of its minutes, where they are known.
#[derive(Debug)]
pub(crate) struct History<V, C> {
    pub items: Vec<(V, Option<Extremes<C>>)>,
    /// `None` for minutes, which have no extremes.
    pub extremes: Option<ExtremesOf>,
}

/// When minutes are kept, and which of them have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptMinutes {
    /// The first minute that is not expired.
    pub from: i64,
    /// The running minute.
    pub to: i64,
}

/// A pipeline, summed over nodes unless one is named.
///
/// # Errors
///
/// When the store cannot be read, or the query takes too long.
pub(crate) async fn pipeline(
    timeseries: &TimeSeries,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
    kept: KeptMinutes,
) -> Result<History<PipelineMinuteView, PipelineCounts>, StoreError> {
    let views = timeseries.pipeline_minutes(pipeline, node, range).await?;
    if range.step == Resolution::Minute {
        return Ok(History { items: views.into_iter().map(|view| (view, None)).collect(), extremes: None });
    }
    let nodes = if node.is_some() { 1 } else { timeseries.pipeline_nodes(pipeline).await? };
    let (mut extremes, of) = match minutes_of_sum(range, nodes, kept) {
        Some(minutes) => {
            let views = timeseries.pipeline_minutes(pipeline, node, minutes).await?;
            (extremes_of_minutes(&views, range.step), ExtremesOf::Sum)
        }
        None => {
            let stored = timeseries.pipeline_extremes(pipeline, node, range).await?;
            let extremes = stored.into_iter().map(|((at, _), extremes)| (at, extremes)).collect();
            (extremes, if nodes > 1 { ExtremesOf::EachNode } else { ExtremesOf::Sum })
        }
    };
    let items = views.into_iter().map(|view| {
        let of_view = extremes.remove(&view.at);
        (view, of_view)
    });
    Ok(History { items: items.collect(), extremes: Some(of) })
}

/// A pipeline's components, summed over nodes unless one is named.
///
/// # Errors
///
/// As [`pipeline`].
pub(crate) async fn components(
    timeseries: &TimeSeries,
    pipeline: PipelineKey,
    node: Option<NodeKey>,
    range: BucketRange,
) -> Result<History<ComponentMinuteView, ComponentCounts>, StoreError> {
    let views = timeseries.component_minutes(pipeline, node, range).await?;
    if range.step == Resolution::Minute {
        return Ok(History { items: views.into_iter().map(|view| (view, None)).collect(), extremes: None });
    }
    let nodes = if node.is_some() { 1 } else { timeseries.pipeline_nodes(pipeline).await? };
    let mut extremes = timeseries.component_extremes(pipeline, node, range).await?;
    let items = views.into_iter().map(|view| {
        let of_view = extremes.remove(&(view.at, view.component.clone()));
        (view, of_view)
    });
    let of = if nodes > 1 { ExtremesOf::EachNode } else { ExtremesOf::Sum };
    Ok(History { items: items.collect(), extremes: Some(of) })
}

/// The minutes from which the extremes of a sum over several nodes are made, if they are kept and not too many. Of a step
/// that is partly expired nothing is known.
fn minutes_of_sum(range: BucketRange, nodes: i64, kept: KeptMinutes) -> Option<BucketRange> {
    let factor = range.step.minutes();
    let first_whole = range.from + i64::from(range.from.saturating_mul(factor) < kept.from);
    let (from, to) = (first_whole.saturating_mul(factor), range.to.saturating_mul(factor).min(kept.to));
    let is_short = to.saturating_sub(from).saturating_mul(nodes) <= MAX_MINUTE_ROWS;
    let is_kept = from >= kept.from && from < to;
    (nodes > 1 && is_kept && is_short).then_some(BucketRange { step: Resolution::Minute, from, to })
}

/// The extremes of minutes that have a sample, by step.
fn extremes_of_minutes(minutes: &[PipelineMinuteView], step: Resolution) -> BTreeMap<i64, Extremes<PipelineCounts>> {
    let mut extremes: BTreeMap<i64, Extremes<PipelineCounts>> = BTreeMap::new();
    for minute in minutes.iter().filter(|minute| minute.samples > 0) {
        let counts = PipelineCounts::from(minute);
        let own = Extremes { min: counts, max: counts };
        let at = minute.at.div_euclid(step.minutes());
        extremes.entry(at).and_modify(|known| *known = known.join(own)).or_insert(own);
    }
    extremes
}

/// The spans of a range, and the one before it, from which on counters have grown.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn host(
    timeseries: &TimeSeries,
    node: NodeKey,
    range: BucketRange,
) -> Result<Vec<HostAggregate>, StoreError> {
    timeseries.node_minutes(node, BucketRange { from: range.from.saturating_sub(1), ..range }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: KeptMinutes = KeptMinutes { from: 100 * 60 + 1, to: 200 * 60 + 30 };

    fn hours(from: i64, to: i64) -> BucketRange {
        BucketRange { step: Resolution::Hour, from, to }
    }

    #[test]
    fn minutes_of_several_nodes_are_read_when_they_are_kept_and_few() {
        let minutes = |from, to| Some(BucketRange { step: Resolution::Minute, from, to });
        assert_eq!(minutes_of_sum(hours(150, 201), 3, KEPT), minutes(150 * 60, KEPT.to), "up to the running one");
        assert_eq!(
            minutes_of_sum(hours(100, 160), 3, KEPT),
            minutes(101 * 60, 160 * 60),
            "the first hour is not whole"
        );
        assert_eq!(minutes_of_sum(hours(99, 160), 3, KEPT), None, "hours are expired");
        assert_eq!(minutes_of_sum(hours(150, 201), 1, KEPT), None, "one node has its own");
        assert_eq!(minutes_of_sum(hours(150, 201), 1_000, KEPT), None, "too many");
    }

    #[test]
    fn minute_without_a_sample_is_no_minimum() {
        let minute =
            |at, events_in, samples| PipelineMinuteView { events_in, samples, ..PipelineMinuteView::empty(at) };
        let minutes = [minute(60, 5, 1), minute(61, 0, 0), minute(62, 9, 2), minute(120, 1, 1)];
        let extremes = extremes_of_minutes(&minutes, Resolution::Hour);
        let ends: Vec<_> = extremes.iter().map(|(at, ends)| (*at, ends.min.events_in, ends.max.events_in)).collect();
        assert_eq!(ends, [(1, 5, 9), (2, 1, 1)]);
    }
}
