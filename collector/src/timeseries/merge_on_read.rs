//! Merges unflushed data into the rows that a query has read.

use std::collections::{BTreeMap, HashMap};

use systole_shared::BootId;

use super::memtable::Memtable;
use super::minute_windows::MinuteWindows;
use crate::model::{BucketRange, NodeKey};
use crate::store::{
    ComponentMinuteView, HostAggregate, MinuteRows, NodeMinuteRow, NodeView, Persisted, PipelineMinuteView, SeriesView,
    StoreError, StoredNode, merge_host_aggregates,
};

/// Series by node, of those that were asked for.
fn by_node(series: &[SeriesView]) -> HashMap<i64, Vec<&SeriesView>> {
    let mut nodes: HashMap<i64, Vec<&SeriesView>> = HashMap::new();
    for view in series {
        nodes.entry(view.node).or_default().push(view);
    }
    nodes
}

/// The step of a range that a minute lies in.
fn step_of(minute: i64, range: BucketRange) -> Option<i64> {
    let at = minute.div_euclid(range.step.minutes());
    (range.from..range.to).contains(&at).then_some(at)
}

pub(super) fn pipeline_minutes(
    stored: Persisted<PipelineMinuteView>,
    range: BucketRange,
    memtable: &Memtable,
) -> Vec<PipelineMinuteView> {
    let nodes = by_node(&stored.series);
    let mut views: BTreeMap<i64, PipelineMinuteView> = stored.rows.into_iter().map(|view| (view.at, view)).collect();
    for bucket in memtable.buckets_above(stored.flushes) {
        let (Some(at), Some(series)) = (step_of(bucket.minute, range), nodes.get(&bucket.node)) else { continue };
        for series in series {
            if let Ok(index) = bucket.pipelines.binary_search_by_key(&series.id, |row| row.series) {
                views.entry(at).or_insert_with(|| PipelineMinuteView::empty(at)).add(&bucket.pipelines[index]);
            }
        }
    }
    views.into_values().collect()
}

pub(super) fn component_minutes(
    stored: Persisted<ComponentMinuteView>,
    range: BucketRange,
    memtable: &Memtable,
) -> Vec<ComponentMinuteView> {
    let nodes = by_node(&stored.series);
    let mut views: BTreeMap<(i64, String), ComponentMinuteView> =
        stored.rows.into_iter().map(|view| ((view.at, view.component.clone()), view)).collect();
    for bucket in memtable.buckets_above(stored.flushes) {
        let (Some(at), Some(series)) = (step_of(bucket.minute, range), nodes.get(&bucket.node)) else { continue };
        for series in series {
            if let Ok(index) = bucket.components.binary_search_by_key(&series.id, |row| row.series) {
                let key = (at, series.component.clone());
                let view = views.entry(key).or_insert_with(|| ComponentMinuteView::empty(at, series));
                view.add(&bucket.components[index]);
            }
        }
    }
    views.into_values().collect()
}

pub(super) fn node_minutes(
    stored: Persisted<HostAggregate>,
    node: NodeKey,
    range: BucketRange,
    memtable: &Memtable,
) -> Vec<HostAggregate> {
    let mut parts = stored.rows;
    for bucket in memtable.buckets_above(stored.flushes).filter(|bucket| bucket.node == node.0) {
        let (Some(at), Some(host)) = (step_of(bucket.minute, range), &bucket.host) else { continue };
        add_host(&mut parts, at, host);
    }
    merge_host_aggregates(parts)
}

/// Puts a host's minute into its place. It replaces what is known of the same minute.
fn add_host(parts: &mut Vec<HostAggregate>, at: i64, host: &NodeMinuteRow) {
    let mut span = HostAggregate::of_minute(at, host);
    let place = parts.partition_point(|part| part.first_minute < host.minute);
    match parts.get_mut(place).filter(|part| (part.first_minute, part.last_minute) == (host.minute, host.minute)) {
        Some(same) => {
            span.samples += same.samples;
            *same = span;
        }
        None => parts.insert(place, span),
    }
}

/// Minutes of all pipelines and hosts, from `from` to before `to`.
pub(super) fn all_minutes(mut stored: MinuteRows, (from, to): (i64, i64), memtable: &Memtable) -> MinuteRows {
    for bucket in memtable.buckets_above(stored.flushes).filter(|bucket| (from..to).contains(&bucket.minute)) {
        stored.pipelines.extend(bucket.pipelines.iter().cloned());
        stored.hosts.extend(bucket.host.clone());
    }
    stored
}

/// Adds minutes of all pipelines and hosts, from `from` to before `to`.
pub(super) fn fill_windows(
    windows: &mut MinuteWindows,
    stored: MinuteRows,
    (from, to): (i64, i64),
    memtable: &Memtable,
) {
    for row in &stored.pipelines {
        windows.add_row(row.minute, row);
    }
    for fill in stored.fills {
        windows.set_fill(fill.minute, fill.series, fill.fill as f32);
    }
    for host in stored.hosts {
        windows.set_host(host);
    }
    for bucket in memtable.buckets_above(stored.flushes).filter(|bucket| (from..to).contains(&bucket.minute)) {
        windows.add_bucket(bucket);
    }
}

pub(super) fn add_heartbeats(nodes: &mut [NodeView], memtable: &Memtable) {
    let mut by_key: HashMap<i64, &mut NodeView> = nodes.iter_mut().map(|node| (node.key.0, node)).collect();
    for (node, heartbeat) in memtable.heartbeats() {
        let Some(view) = by_key.get_mut(&node).filter(|view| view.last_seen_at <= heartbeat.last_seen_at) else {
            continue;
        };
        let heartbeat = heartbeat.clone();
        view.last_seen_at = heartbeat.last_seen_at;
        view.health = heartbeat.health.or_else(|| view.health.take());
        view.host = heartbeat.host.or_else(|| view.host.take());
    }
}

/// Gives nodes the totals that their rows do not have yet.
pub(super) fn add_totals(nodes: &mut [StoredNode], memtable: &Memtable) {
    let mut by_key: HashMap<i64, &mut StoredNode> = nodes.iter_mut().map(|node| (node.key.0, node)).collect();
    for row in memtable.totals() {
        if let Some(node) = by_key.get_mut(&row.node) {
            node.totals = Some(row.body.clone());
        }
    }
}

/// Gives nodes the boots that their rows do not have yet, the one that was seen last at the end.
pub(super) fn add_boots(nodes: &mut [StoredNode], memtable: &Memtable) -> Result<(), StoreError> {
    let mut by_key: HashMap<i64, &mut StoredNode> = nodes.iter_mut().map(|node| (node.key.0, node)).collect();
    let mut seen: HashMap<(i64, BootId), i64> = HashMap::new();
    for (key, boot, row) in memtable.boots() {
        let Some(node) = by_key.get_mut(&key) else { continue };
        let boot: BootId = boot.parse().map_err(|_| StoreError::Corrupt(format!("boot {boot:?}")))?;
        node.boots.retain(|(known, _)| *known != boot);
        if let Some(row) = row {
            // Those of one chunk come in the order of their names.
            let later = |(known, _): &(BootId, u64)| seen.get(&(key, *known)).is_some_and(|at| *at > row.last_seen_at);
            let place = node.boots.iter().position(later).unwrap_or(node.boots.len());
            node.boots.insert(place, (boot, u64::try_from(row.seq).unwrap_or(0)));
            seen.insert((key, boot), row.last_seen_at);
            node.last_seen = node.last_seen.max(row.last_seen_at);
        }
    }
    Ok(())
}
