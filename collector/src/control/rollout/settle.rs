//! What nodes should run beside a rollout. Pure.
//!
//! - A node that newly matches gets the stable version, also while a rollout runs: it gets the new one in a batch, like
//!   the others. After the end the rollout itself brings it there, and sees how it does.
//! - A node that no version selects any more loses the pipeline.
//! - A node in maintenance keeps what it runs.

use std::collections::BTreeMap;

use crate::model::NodeKey;

use super::state::{Readiness, RolloutState};

/// A node and a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub key: NodeKey,
    pub readiness: Readiness,
    pub is_in_maintenance: bool,
    /// The version that it should run now.
    pub assigned: Option<Assigned>,
    /// Whether the stable version selects it; false when there is none.
    pub is_stable: bool,
    /// Whether the version of the latest rollout selects it, if that is not aborted.
    pub is_new: bool,
}

/// A version that a node should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub version: i64,
    pub paused: bool,
}

/// A pipeline, as far as it concerns its places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pipeline {
    pub stable_version: Option<i64>,
    pub paused: bool,
    /// The state of the latest rollout, if there is one.
    pub rollout: Option<RolloutState>,
}

/// Assignments that change; `None`: the node should not run the pipeline any more. `decided` are changes of the
/// rollout's step, which win.
pub(crate) fn settle(
    pipeline: &Pipeline,
    places: &[Place],
    decided: &BTreeMap<NodeKey, Option<i64>>,
) -> BTreeMap<NodeKey, Option<Assigned>> {
    let mut changes = BTreeMap::new();
    for place in places {
        let version = match decided.get(&place.key) {
            Some(version) => *version,
            None => undecided(pipeline, place),
        };
        let assigned = version.map(|version| Assigned { version, paused: pipeline.paused });
        if assigned != place.assigned {
            changes.insert(place.key, assigned);
        }
    }
    changes
}

fn undecided(pipeline: &Pipeline, place: &Place) -> Option<i64> {
    let assigned = place.assigned.map(|assigned| assigned.version);
    if place.is_in_maintenance {
        return assigned;
    }
    if assigned.is_some() {
        return assigned.filter(|_| place.is_stable || place.is_new);
    }
    let brings = pipeline.rollout != Some(RolloutState::Complete);
    pipeline.stable_version.filter(|_| brings && place.is_stable && place.readiness == Readiness::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Pipeline = Pipeline { stable_version: Some(1), paused: false, rollout: Some(RolloutState::Running) };

    fn place(assigned: Option<i64>) -> Place {
        Place {
            key: NodeKey(1),
            readiness: Readiness::Ready,
            is_in_maintenance: false,
            assigned: assigned.map(|version| Assigned { version, paused: false }),
            is_stable: true,
            is_new: true,
        }
    }

    fn settled(pipeline: &Pipeline, place: Place) -> Option<Option<i64>> {
        let changes = settle(pipeline, &[place], &BTreeMap::new());
        changes.get(&NodeKey(1)).map(|assigned| assigned.map(|assigned| assigned.version))
    }

    #[test]
    fn new_node_gets_the_stable_version() {
        assert_eq!(settled(&RUNNING, place(None)), Some(Some(1)));
        assert_eq!(settled(&RUNNING, place(Some(2))), None, "the rollout has been there");
        let first = Pipeline { stable_version: None, ..RUNNING };
        assert_eq!(settled(&first, Place { is_stable: false, ..place(None) }), None);
        let away = Place { readiness: Readiness::Away("unreachable"), ..place(None) };
        assert_eq!(settled(&RUNNING, away), None, "once it is back");
        let complete = Pipeline { rollout: Some(RolloutState::Complete), ..RUNNING };
        assert_eq!(settled(&complete, place(None)), None, "by the rollout, which sees how it does");
    }

    #[test]
    fn node_that_no_version_selects_loses_the_pipeline() {
        let gone = Place { is_stable: false, is_new: false, ..place(Some(1)) };
        assert_eq!(settled(&RUNNING, gone.clone()), Some(None));
        assert_eq!(settled(&RUNNING, Place { is_in_maintenance: true, ..gone.clone() }), None);
        assert_eq!(settled(&RUNNING, Place { is_new: true, ..gone }), None, "the new version selects it");
    }

    #[test]
    fn paused_pipeline_is_paused_on_each_node() {
        let paused = Pipeline { paused: true, ..RUNNING };
        let changes = settle(&paused, &[place(Some(1))], &BTreeMap::new());
        assert_eq!(changes[&NodeKey(1)], Some(Assigned { version: 1, paused: true }));
        let decided = BTreeMap::from([(NodeKey(1), Some(2))]);
        let changes = settle(&paused, &[place(Some(1))], &decided);
        assert_eq!(changes[&NodeKey(1)], Some(Assigned { version: 2, paused: true }));
    }
}
