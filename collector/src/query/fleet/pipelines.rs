//! Pipelines in an order, over the nodes that have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;
use systole_shared::{PipelineStatus, UnixMillis};

use super::Among;
use super::order::{Order, Place, Ranked};
use super::severity::Severity;
use crate::model::directory::{ListedNode, NodeDirectory, PipelineEntry};
use crate::model::live::LivePipeline;
use crate::model::{PipelineKey, Throughput};

/// What pipelines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PipelineSort {
    #[default]
    Id,
    Worst,
    EventsIn,
    EventsOut,
    Errors,
    Discards,
}

/// Which pipelines.
#[derive(Clone, Debug)]
pub(crate) struct PipelineFilter {
    /// On which nodes.
    pub among: Among,
    /// Pipelines that are in one of these states on a node. Empty: every pipeline.
    pub statuses: Vec<PipelineStatus>,
    /// Part of an id or a name, in lower case.
    pub text: Option<String>,
}

/// A pipeline on all of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedPipeline {
    pub entry: Arc<PipelineEntry>,
    pub sum: PipelineSum,
}

/// The last values of a pipeline, over nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PipelineSum {
    /// Nodes whose reports have it, by its state there.
    pub statuses: BTreeMap<PipelineStatus, u64>,
    /// `None` when no node has a fresh sample.
    pub throughput: Option<Throughput>,
}

impl PipelineSum {
    fn add(&mut self, pipeline: &LivePipeline, now: UnixMillis) {
        if !pipeline.is_present {
            return;
        }
        *self.statuses.entry(pipeline.status).or_default() += 1;
        if let Some(more) = pipeline.throughput(now) {
            self.throughput = Some(self.throughput.unwrap_or_default().plus(more));
        }
    }

    /// The worst of its states, and on how many nodes it is in it.
    pub(crate) fn worst(&self) -> Option<(PipelineStatus, u64)> {
        let worst = self.statuses.iter().min_by_key(|(status, _)| Severity::from(**status))?;
        Some((*worst.0, *worst.1))
    }
}

/// A page of pipelines. One that some node had and no node has any more is still listed; with a filter of labels only
/// what runs on these nodes is.
pub(crate) fn list(
    directory: &NodeDirectory,
    filter: &PipelineFilter,
    (sort, order): (PipelineSort, Order),
    (after, limit): (Option<&Place>, usize),
    now: UnixMillis,
) -> Ranked<ListedPipeline> {
    let nodes = directory.select(|node| filter.among.includes(node));
    let mut sums: HashMap<PipelineKey, PipelineSum> = HashMap::default();
    for pipeline in nodes.iter().flat_map(|node| node.live.pipelines.iter()) {
        sums.entry(pipeline.key).or_default().add(pipeline, now);
    }
    let entries = directory.pipelines();
    let listed = sums.into_iter().filter_map(|(key, sum)| {
        let entry = Arc::clone(entries.get(&key)?);
        Some(ListedPipeline { entry, sum }).filter(|pipeline| filter.includes(pipeline))
    });
    order.rank(listed.collect(), after, limit, |pipeline| Place {
        value: value(sort, &pipeline.sum),
        name: pipeline.entry.id.to_string(),
        key: pipeline.entry.key.0,
    })
}

impl PipelineFilter {
    fn includes(&self, pipeline: &ListedPipeline) -> bool {
        let PipelineEntry { id, name, .. } = &*pipeline.entry;
        let contains = |text: &String| id.as_str().to_lowercase().contains(text) || name.to_lowercase().contains(text);
        (self.among.selector.is_none() || !pipeline.sum.statuses.is_empty())
            && (self.statuses.is_empty()
                || self.statuses.iter().any(|status| pipeline.sum.statuses.contains_key(status)))
            && self.text.as_ref().is_none_or(contains)
    }
}

/// The last values of one pipeline, on nodes.
pub(crate) fn sum<'a>(nodes: impl Iterator<Item = &'a ListedNode>, key: PipelineKey, now: UnixMillis) -> PipelineSum {
    let mut sum = PipelineSum::default();
    for node in nodes {
        if let Ok(index) = node.live.pipelines.binary_search_by_key(&key, |pipeline| pipeline.key) {
            sum.add(&node.live.pipelines[index], now);
        }
    }
    sum
}

fn value(sort: PipelineSort, sum: &PipelineSum) -> Option<i64> {
    /// More than there are nodes.
    const NODES: i64 = 1 << 32;
    let flow = |rate: fn(Throughput) -> i64| sum.throughput.map(rate);
    match sort {
        PipelineSort::Id => None,
        // On the most nodes first.
        PipelineSort::Worst => sum.worst().map(|(status, nodes)| {
            Severity::from(status).0 * NODES - i64::try_from(nodes).unwrap_or(NODES).min(NODES - 1)
        }),
        PipelineSort::EventsIn => flow(|sum| sum.events_in),
        PipelineSort::EventsOut => flow(|sum| sum.events_out),
        PipelineSort::Errors => flow(|sum| sum.errors),
        PipelineSort::Discards => flow(|sum| sum.discarded),
    }
}
