use super::*;
use crate::model::selector::Selector;
use crate::store::{DeploymentRow, RolloutTargetRow};

const NOW: UnixMillis = 1_790_000_000_000;

fn target(id: i64, labels: &str, engines: Option<&str>) -> RolloutTargetRow {
    RolloutTargetRow {
        id,
        uuid: format!("node-{id}"),
        environment: 1,
        name: format!("edge-{id}"),
        set_name: None,
        labels: labels.to_owned(),
        set_labels: None,
        status: "HEALTHY".to_owned(),
        maintenance_until: None,
        engines: engines.map(str::to_owned),
        agent_version: Some("0.1.0".to_owned()),
        deployment_mode: None,
        agent_rollout: None,
        desired_generation: 0,
        agent_kind: None,
    }
}

fn rollout_row(definition: Option<i64>) -> RolloutRow {
    RolloutRow {
        id: 1,
        environment: 1,
        definition,
        version: if definition.is_some() { 2 } else { 0 },
        from_version: definition.map(|_| 1),
        agent_update: None,
        policy: r#"{"batch":"100%"}"#.to_owned(),
        state: "running".to_owned(),
        reason: String::new(),
        stage: 0,
        author: String::new(),
        started_at: NOW,
        changed_at: NOW,
        finished_at: None,
    }
}

fn orders(stable_version: Option<i64>) -> RolloutSnapshot {
    RolloutSnapshot {
        definitions: vec![RolloutDefinitionRow {
            id: 5,
            environment: 1,
            slug: "orders".to_owned(),
            stable_version,
            paused: 0,
        }],
        rollouts: vec![rollout_row(Some(5))],
        ..RolloutSnapshot::default()
    }
}

fn versions(selector: &str) -> Versions {
    let version = VersionTarget { selector: Selector::parse(&[selector]).unwrap(), engine: "vector".to_owned() };
    [1, 2].into_iter().map(|number| ((DefinitionKey(5), number), version.clone())).collect()
}

const VECTOR: Option<&str> = Some(r#"["vector"]"#);

#[test]
fn version_goes_to_nodes_that_can_run_it() {
    let mut snapshot = orders(None);
    snapshot.targets = vec![
        target(1, r#"{"role":"edge"}"#, VECTOR),
        target(2, r#"{"role":"edge"}"#, None),
        target(3, r#"{"role":"edge"}"#, Some(r#"["fluent-bit"]"#)),
        target(4, r#"{"role":"core"}"#, VECTOR),
        RolloutTargetRow { set_labels: Some(r#"{"role":"edge"}"#.into()), ..target(5, "{}", VECTOR) },
        RolloutTargetRow { maintenance_until: Some(NOW + 1), ..target(6, r#"{"role":"edge"}"#, VECTOR) },
        RolloutTargetRow { environment: 2, ..target(7, r#"{"role":"edge"}"#, VECTOR) },
        target(8, r#"{"role":"edge"}"#, Some("null")),
    ];
    let changes = plan(&snapshot, &versions("role=edge"), NOW);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].assign.iter().map(|row| (row.node, row.version)).collect::<Vec<_>>(), [(1, 2), (5, 2)]);
    let update = changes[0].rollout.as_ref().unwrap();
    assert_eq!((update.stage, update.state.as_str(), update.nodes.len()), (1, "running", 2));
}

#[test]
fn version_that_cannot_be_read_changes_nothing() {
    let mut snapshot = orders(Some(1));
    snapshot.targets = vec![target(1, "{}", VECTOR)];
    snapshot.assignments = vec![AssignmentRow { node: 1, definition: 5, version: 1, paused: 0 }];
    let mut known = versions("role=edge");
    assert_eq!(plan(&snapshot, &known, NOW)[0].unassign, [NodeKey(1)], "no version selects it");
    known.remove(&(DefinitionKey(5), 1));
    assert!(plan(&snapshot, &known, NOW).is_empty());
}

#[test]
fn complete_rollout_makes_its_version_the_stable_one() {
    let mut snapshot = orders(Some(1));
    snapshot.targets = vec![target(1, "{}", VECTOR)];
    snapshot.assignments = vec![AssignmentRow { node: 1, definition: 5, version: 2, paused: 0 }];
    snapshot.rollout_nodes = vec![RolloutNodeRow {
        rollout: 1,
        node: 1,
        stage: 1,
        state: "deploying".to_owned(),
        reason: String::new(),
        changed_at: NOW,
    }];
    snapshot.deployments = vec![DeploymentRow {
        node: 1,
        slug: "orders".to_owned(),
        version: 2,
        running_version: Some(2),
        phase: "healthy".to_owned(),
        reason: String::new(),
        since: NOW,
    }];
    let changes = plan(&snapshot, &versions("*"), NOW + 1);
    assert_eq!(changes[0].stable_version, Some(2));
    let update = changes[0].rollout.as_ref().unwrap();
    assert_eq!((update.state.as_str(), update.finished_at), ("complete", Some(NOW + 1)));
    assert!(changes[0].nodes().is_empty(), "no node has anything new to run");
}

#[test]
fn agents_get_their_version_and_are_healthy_when_they_report_it() {
    let mut snapshot = RolloutSnapshot { rollouts: vec![rollout_row(None)], ..RolloutSnapshot::default() };
    snapshot.rollouts[0].agent_update =
        Some(r#"{"selector":["*"],"update":{"version":"0.2.0","url":"https://x/agent","sha256":"00"}}"#.to_owned());
    snapshot.targets = vec![
        target(1, "{}", None),
        RolloutTargetRow { agent_version: Some("0.2.0".into()), ..target(2, "{}", None) },
        RolloutTargetRow { deployment_mode: Some("DOCKER".into()), ..target(3, "{}", None) },
    ];
    let changes = plan(&snapshot, &Versions::new(), NOW);
    assert_eq!(changes[0].agents, [(NodeKey(1), Some(RolloutKey(1))), (NodeKey(2), Some(RolloutKey(1)))]);
    snapshot.rollout_nodes = changes[0].rollout.as_ref().unwrap().nodes.clone();
    snapshot.targets[0].agent_version = Some("0.2.0".into());
    let changes = plan(&snapshot, &Versions::new(), NOW + 1);
    let update = changes[0].rollout.as_ref().unwrap();
    assert!(update.nodes.iter().all(|node| node.state == "healthy"), "{update:?}");
    assert_eq!(update.state, "complete");
}

#[test]
fn agent_that_cannot_be_updated_keeps_its_version() {
    let mut snapshot = RolloutSnapshot { rollouts: vec![rollout_row(None)], ..RolloutSnapshot::default() };
    snapshot.rollouts[0].agent_update =
        Some(r#"{"selector":["*"],"update":{"version":"0.2.0","url":"https://x/agent","sha256":"00"}}"#.to_owned());
    snapshot.targets = vec![target(1, "{}", None)];
    let changes = plan(&snapshot, &Versions::new(), NOW);
    snapshot.rollout_nodes = changes[0].rollout.as_ref().unwrap().nodes.clone();
    snapshot.deployments = vec![DeploymentRow {
        node: 1,
        slug: "agent".to_owned(),
        version: 0,
        running_version: None,
        phase: "rejected".to_owned(),
        reason: "SHA-256 does not match".to_owned(),
        since: NOW,
    }];
    let changes = plan(&snapshot, &Versions::new(), NOW + 1);
    assert_eq!(changes[0].agents, [(NodeKey(1), None)]);
    let reason = &changes[0].rollout.as_ref().unwrap().reason;
    assert_eq!(reason, "1 node failed, none may fail; edge-1: rejected: SHA-256 does not match");
}

#[test]
fn agent_of_vectorflow_is_not_updated() {
    let mut snapshot = RolloutSnapshot { rollouts: vec![rollout_row(None)], ..RolloutSnapshot::default() };
    snapshot.rollouts[0].agent_update =
        Some(r#"{"selector":["*"],"update":{"version":"0.2.0","url":"https://x/agent","sha256":"00"}}"#.to_owned());
    let vectorflow = RolloutTargetRow { agent_kind: Some("vf-agent".into()), ..target(1, "{}", VECTOR) };
    snapshot.targets = vec![vectorflow, target(2, "{}", VECTOR)];
    let changes = plan(&snapshot, &Versions::new(), NOW);
    assert_eq!(changes[0].agents, [(NodeKey(2), Some(RolloutKey(1)))]);
}
