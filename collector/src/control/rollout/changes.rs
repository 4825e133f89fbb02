//! Changes of the database out of what rollouts decide.

use std::collections::{BTreeMap, HashMap};

use systole_shared::UnixMillis;

use super::agents::{self, AgentRollout};
use super::settle::{Assigned, Pipeline, Place, settle};
use super::state::{Rollout, RolloutState};
use super::step::{Step, step};
use super::world::{VersionTarget, World, rollout};
use crate::model::{DefinitionKey, EnvironmentKey, NodeKey, RolloutKey};
use crate::store::{
    AssignmentRow, RolloutChange, RolloutDefinitionRow, RolloutNodeRow, RolloutRow, RolloutSnapshot, RolloutUpdate,
};

/// Versions by pipeline and number.
pub(crate) type Versions = HashMap<(DefinitionKey, i64), VersionTarget>;

/// What is to change now, one item per pipeline and per rollout of agents.
pub(crate) fn plan(snapshot: &RolloutSnapshot, versions: &Versions, now: UnixMillis) -> Vec<RolloutChange> {
    let world = World::read(snapshot, now);
    let mut nodes: HashMap<i64, Vec<&RolloutNodeRow>> = HashMap::new();
    for row in &snapshot.rollout_nodes {
        nodes.entry(row.rollout).or_default().push(row);
    }
    let of = |row: &RolloutRow| rollout(row, nodes.get(&row.id).map_or(&[], Vec::as_slice));
    let mut assignments: HashMap<i64, Vec<&AssignmentRow>> = HashMap::new();
    for row in &snapshot.assignments {
        assignments.entry(row.definition).or_default().push(row);
    }
    let latest: HashMap<i64, &RolloutRow> =
        snapshot.rollouts.iter().filter_map(|row| Some((row.definition?, row))).collect();
    let mut changes = Vec::new();
    for definition in &snapshot.definitions {
        let row = latest.get(&definition.id).copied();
        let assigned = assignments.get(&definition.id).map_or(&[][..], Vec::as_slice);
        let rollout = row.map(|row| (row, of(row)));
        changes.push(plan_pipeline(&world, definition, rollout.as_ref(), assigned, versions, now));
    }
    for row in snapshot.rollouts.iter().filter(|row| row.definition.is_none()) {
        changes.push(plan_agents(&world, row, &of(row), now));
    }
    changes.retain(|change| change.rollout.is_some() || !change.nodes().is_empty());
    changes
}

fn plan_pipeline(
    world: &World,
    definition: &RolloutDefinitionRow,
    latest: Option<&(&RolloutRow, Rollout)>,
    assignments: &[&AssignmentRow],
    versions: &Versions,
    now: UnixMillis,
) -> RolloutChange {
    let key = DefinitionKey(definition.id);
    let environment = EnvironmentKey(definition.environment);
    let stable = definition.stable_version.and_then(|version| versions.get(&(key, version)));
    let new = latest.filter(|(_, rollout)| rollout.state != RolloutState::Aborted);
    let new = new.and_then(|(_, rollout)| versions.get(&(key, rollout.version)));
    let mut change = RolloutChange { definition: Some(key), now, ..RolloutChange::default() };
    let is_open = latest.is_some_and(|(_, rollout)| rollout.state != RolloutState::Aborted);
    if stable.is_some() != definition.stable_version.is_some() || new.is_some() != is_open {
        // A version that cannot be read selects no node, and must not take the pipeline from all of them.
        return change;
    }
    let stepped = match (latest, new) {
        (Some((row, rollout)), Some(version)) => {
            let candidates = world.candidates(environment, &definition.slug, rollout.version, version, &rollout.policy);
            Some((*row, rollout, step(rollout, &candidates, now)))
        }
        _ => None,
    };
    let decided = stepped.as_ref().map(|(.., step)| step.assign.clone()).unwrap_or_default();
    let assigned: HashMap<NodeKey, Assigned> = assignments
        .iter()
        .map(|row| (NodeKey(row.node), Assigned { version: row.version, paused: row.paused != 0 }))
        .collect();
    let engine = stable.or(new).map_or("", |version| &version.engine);
    let selects = |version: Option<&VersionTarget>, labels| version.is_some_and(|it| it.selector.matches(labels));
    let places: Vec<Place> = world
        .targets(environment)
        .iter()
        .map(|target| Place {
            key: target.key,
            readiness: target.readiness(engine),
            is_in_maintenance: target.is_in_maintenance,
            assigned: assigned.get(&target.key).copied(),
            is_stable: selects(stable, &target.labels),
            is_new: selects(new, &target.labels),
        })
        .collect();
    let pipeline = Pipeline {
        stable_version: definition.stable_version,
        paused: definition.paused != 0,
        rollout: latest.map(|(_, rollout)| rollout.state),
    };
    for (node, assigned) in settle(&pipeline, &places, &decided) {
        match assigned {
            Some(Assigned { version, paused }) => change.assign.push(AssignmentRow {
                node: node.0,
                definition: key.0,
                version,
                paused: i64::from(paused),
            }),
            None => change.unassign.push(node),
        }
    }
    if let Some((row, rollout, step)) = stepped.filter(|(.., step)| !step.is_empty()) {
        if rollout.state == RolloutState::Running && matches!(step.state, Some((RolloutState::Complete, _))) {
            change.stable_version = Some(rollout.version);
        }
        change.rollout = Some(update(row, &step, now));
    }
    change
}

fn plan_agents(world: &World, row: &RolloutRow, rollout: &Rollout, now: UnixMillis) -> RolloutChange {
    let mut change = RolloutChange { now, ..RolloutChange::default() };
    let update_json = row.agent_update.as_deref().and_then(|text| serde_json::from_str::<AgentRollout>(text).ok());
    let Some(agents) = update_json else { return change };
    let candidates = agents::candidates(world, EnvironmentKey(row.environment), rollout, &agents);
    let step = step(rollout, &candidates, now);
    if step.is_empty() {
        return change;
    }
    change.agents = agent_assignments(rollout.key, &step);
    change.rollout = Some(update(row, &step, now));
    change
}

/// Assignments of a step of agents: the rollout itself, or none.
fn agent_assignments(key: RolloutKey, step: &Step) -> Vec<(NodeKey, Option<RolloutKey>)> {
    step.assign.iter().map(|(node, version)| (*node, version.map(|_| key))).collect()
}

/// A step that an operator asked for.
pub(crate) fn ordered(row: &RolloutRow, step: &Step, paused: bool, now: UnixMillis) -> RolloutChange {
    let mut change = RolloutChange {
        rollout: Some(update(row, step, now)),
        definition: row.definition.map(DefinitionKey),
        now,
        ..RolloutChange::default()
    };
    let Some(definition) = row.definition else {
        change.agents = agent_assignments(RolloutKey(row.id), step);
        return change;
    };
    for (node, version) in &step.assign {
        match version {
            Some(version) => change.assign.push(AssignmentRow {
                node: node.0,
                definition,
                version: *version,
                paused: i64::from(paused),
            }),
            None => change.unassign.push(*node),
        }
    }
    change
}

fn update(row: &RolloutRow, step: &Step, now: UnixMillis) -> RolloutUpdate {
    let (state, reason) = match &step.state {
        Some((state, reason)) => (state.as_str().to_owned(), reason.clone()),
        None => (row.state.clone(), row.reason.clone()),
    };
    let has_ended = matches!(&step.state, Some((RolloutState::Complete | RolloutState::Aborted, _)));
    let nodes: &BTreeMap<_, _> = &step.nodes;
    RolloutUpdate {
        key: RolloutKey(row.id),
        expected: row.changed_at,
        state,
        reason,
        stage: step.stage.unwrap_or(row.stage),
        finished_at: row.finished_at.or(has_ended.then_some(now)),
        nodes: nodes
            .iter()
            .map(|(node, state)| RolloutNodeRow {
                rollout: row.id,
                node: node.0,
                stage: state.stage,
                state: state.state.as_str().to_owned(),
                reason: state.reason.clone(),
                changed_at: state.changed_at,
            })
            .collect(),
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
