//! Adding what is not in its rows yet to what was read from them.

use std::collections::{BTreeMap, HashMap};

use systole_shared::BootId;

use super::memtable::Pending;
use crate::model::{NodeKey, StepRange};
use crate::store::{
    ComponentMinuteView, NodeMinuteRow, NodeSpan, NodeView, PipelineMinuteView, SeriesView, StoreError, Stored,
    StoredNode, merged_spans,
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
fn step_of(minute: i64, range: StepRange) -> Option<i64> {
    let at = minute.div_euclid(range.step.minutes());
    (range.from..range.to).contains(&at).then_some(at)
}

pub(super) fn pipeline_minutes(
    stored: Stored<PipelineMinuteView>,
    range: StepRange,
    pending: &Pending,
) -> Vec<PipelineMinuteView> {
    let nodes = by_node(&stored.series);
    let mut views: BTreeMap<i64, PipelineMinuteView> = stored.rows.into_iter().map(|view| (view.at, view)).collect();
    for cell in pending.cells_above(stored.folds) {
        let (Some(at), Some(series)) = (step_of(cell.minute, range), nodes.get(&cell.node)) else { continue };
        for series in series {
            if let Ok(index) = cell.pipelines.binary_search_by_key(&series.id, |row| row.series) {
                views.entry(at).or_insert_with(|| PipelineMinuteView::empty(at)).add(&cell.pipelines[index]);
            }
        }
    }
    views.into_values().collect()
}

pub(super) fn component_minutes(
    stored: Stored<ComponentMinuteView>,
    range: StepRange,
    pending: &Pending,
) -> Vec<ComponentMinuteView> {
    let nodes = by_node(&stored.series);
    let mut views: BTreeMap<(i64, String), ComponentMinuteView> =
        stored.rows.into_iter().map(|view| ((view.at, view.component.clone()), view)).collect();
    for cell in pending.cells_above(stored.folds) {
        let (Some(at), Some(series)) = (step_of(cell.minute, range), nodes.get(&cell.node)) else { continue };
        for series in series {
            if let Ok(index) = cell.components.binary_search_by_key(&series.id, |row| row.series) {
                let key = (at, series.component.clone());
                let view = views.entry(key).or_insert_with(|| ComponentMinuteView::empty(at, series));
                view.add(&cell.components[index]);
            }
        }
    }
    views.into_values().collect()
}

pub(super) fn node_minutes(
    stored: Stored<NodeSpan>,
    node: NodeKey,
    range: StepRange,
    pending: &Pending,
) -> Vec<NodeSpan> {
    let mut parts = stored.rows;
    for cell in pending.cells_above(stored.folds).filter(|cell| cell.node == node.0) {
        let (Some(at), Some(host)) = (step_of(cell.minute, range), &cell.host) else { continue };
        add_host(&mut parts, at, host);
    }
    merged_spans(parts)
}

/// Puts a host's minute into its place. It replaces what is known of the same minute.
fn add_host(parts: &mut Vec<NodeSpan>, at: i64, host: &NodeMinuteRow) {
    let mut span = NodeSpan::of_minute(at, host);
    let place = parts.partition_point(|part| part.first_minute < host.minute);
    match parts.get_mut(place).filter(|part| (part.first_minute, part.last_minute) == (host.minute, host.minute)) {
        Some(same) => {
            span.samples += same.samples;
            *same = span;
        }
        None => parts.insert(place, span),
    }
}

pub(super) fn add_pulses(nodes: &mut [NodeView], pending: &Pending) {
    let mut by_key: HashMap<i64, &mut NodeView> = nodes.iter_mut().map(|node| (node.key.0, node)).collect();
    for (node, pulse) in pending.pulses() {
        let Some(view) = by_key.get_mut(&node).filter(|view| view.last_seen_at <= pulse.last_seen_at) else { continue };
        let pulse = pulse.clone();
        view.last_seen_at = pulse.last_seen_at;
        view.health = pulse.health.or_else(|| view.health.take());
        view.host = pulse.host.or_else(|| view.host.take());
    }
}

/// Gives nodes the boots that their rows do not have yet, the one that was seen last at the end.
pub(super) fn add_boots(nodes: &mut [StoredNode], pending: &Pending) -> Result<(), StoreError> {
    let mut by_key: HashMap<i64, &mut StoredNode> = nodes.iter_mut().map(|node| (node.key.0, node)).collect();
    let mut seen: HashMap<(i64, BootId), i64> = HashMap::new();
    for (key, boot, row) in pending.boots() {
        let Some(node) = by_key.get_mut(&key) else { continue };
        let boot: BootId = boot.parse().map_err(|_| StoreError::Corrupt(format!("boot {boot:?}")))?;
        node.boots.retain(|(known, _)| *known != boot);
        if let Some(row) = row {
            // Those of one slice come in the order of their names.
            let later = |(known, _): &(BootId, u64)| seen.get(&(key, *known)).is_some_and(|at| *at > row.last_seen_at);
            let place = node.boots.iter().position(later).unwrap_or(node.boots.len());
            node.boots.insert(place, (boot, u64::try_from(row.seq).unwrap_or(0)));
            seen.insert((key, boot), row.last_seen_at);
        }
    }
    Ok(())
}
