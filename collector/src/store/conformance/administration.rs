//! Settings of nodes, their removal, and the audit.

use super::*;
use crate::model::node::{LabelUpdate, Labels, Maintenance, NodeSettings, NodeUpdate};

pub(super) async fn actions_are_listed_newest_first_and_expire(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let row = |at, environment: Option<EnvironmentKey>, action: &str, token: Option<&str>| NewAuditRow {
        at,
        environment: environment.map(|key| key.0),
        token: token.map(str::to_owned),
        actor: "alice".into(),
        action: action.into(),
        subject: "web-1 \0".into(),
        result: "ok".into(),
    };
    for (at, environment, action, token) in [
        (NOW, Some(environment), "node.rename", Some("t1")),
        (NOW + 1, None, "token.create", None),
        (NOW + 2, Some(environment), "node.remove", Some("t2")),
    ] {
        store.add_audit(row(at, environment, action, token)).await.unwrap();
    }
    let list = async |query: AuditQuery| {
        let rows = store.list_audit(AuditQuery { limit: 10, ..query }).await.unwrap();
        rows.into_iter().map(|row| row.at - NOW).collect::<Vec<_>>()
    };
    assert_eq!(list(AuditQuery::default()).await, [2, 1, 0]);
    assert_eq!(list(AuditQuery { environments: Some(vec![environment]), ..Default::default() }).await, [2, 0]);
    assert_eq!(list(AuditQuery { action: Some("node.rename".into()), ..Default::default() }).await, [0]);
    assert_eq!(list(AuditQuery { token: Some("t2".into()), ..Default::default() }).await, [2]);
    assert_eq!(list(AuditQuery { from: Some(NOW + 1), to: Some(NOW + 2), ..Default::default() }).await, [1]);
    let newest = store.list_audit(AuditQuery { limit: 1, ..Default::default() }).await.unwrap().remove(0);
    assert_eq!(list(AuditQuery { before: Some(newest.id), ..Default::default() }).await, [1, 0]);
    assert_eq!(store.expire_audit(NOW + 2, 1).await.unwrap(), 1, "no more than asked");
    assert_eq!(store.expire_audit(NOW + 2, 10).await.unwrap(), 1);
    assert_eq!(list(AuditQuery::default()).await, [2]);
}

async fn enroll(store: &dyn TimeSeriesStore, name: &str, machine_id: Option<&str>) -> EnrolledNode {
    let environment = default_environment(store).await;
    let enrolment = NewEnrolment {
        name: name.into(),
        labels: [("site".to_owned(), "lab".to_owned())].into(),
        ..enrolment(environment, machine_id, name)
    };
    store.enroll_node(enrolment).await.unwrap()
}

async fn names(store: &dyn TimeSeriesStore) -> Vec<String> {
    let nodes = store.list_nodes(NodeQuery { limit: 10, ..NodeQuery::default() }).await.unwrap();
    nodes.into_iter().map(|node| node.name).collect()
}

pub(super) async fn settings_win_and_names_sort_as_they_are_shown(store: Arc<dyn TimeSeriesStore>) {
    let first = enroll(&*store, "a", None).await;
    enroll(&*store, "b", None).await;
    let update = NodeUpdate {
        name: Some(Some("c".into())),
        labels: Some(LabelUpdate::Merge([("site".to_owned(), Some("plant".to_owned()))].into())),
        maintenance: Some(Some(Maintenance { until: NOW + 5, note: Some("disk".into()) })),
    };
    let settings = NodeSettings::default().updated(&update);
    let batch = CommitBatch { settings: vec![NodeSettingsRow::new(first.key, &settings)], ..CommitBatch::default() };
    store.commit(batch).await.unwrap();
    assert_eq!(names(&*store).await, ["b", "c"]);
    let of_first = NodeQuery { among: Some(vec![first.key]), limit: 10, ..NodeQuery::default() };
    let shown = store.list_nodes(of_first).await.unwrap().remove(0);
    assert_eq!((shown.labels.as_str(), &shown.settings), (r#"{"site":"plant"}"#, &settings));
    // What the agent reports is kept below.
    let change = NodeChange { name: Some("a2".into()), ..NodeChange::default() };
    let cleared = NodeSettingsRow::new(first.key, &NodeSettings::default());
    let batch = CommitBatch { nodes: vec![(first.key.0, change)], ..CommitBatch::default() };
    store.commit(batch).await.unwrap();
    assert_eq!(names(&*store).await, ["b", "c"]);
    let stored = store.load_settings(Some(first.key)).await.unwrap().remove(0);
    assert_eq!((stored.reported_name.as_str(), &stored.settings), ("a2", &settings));
    store.commit(CommitBatch { settings: vec![cleared], ..CommitBatch::default() }).await.unwrap();
    assert_eq!(names(&*store).await, ["a2", "b"]);
}

pub(super) async fn removed_node_leaves_its_events_only(store: Arc<dyn TimeSeriesStore>) {
    let (environment, kept) = with_pipeline(&*store).await;
    let gone = enroll(&*store, "gone", Some("m")).await;
    let series = SeriesRow { id: 3, node: gone.key.0, pipeline: 1, component: String::new(), kind: "pipeline".into() };
    let own = SeriesRow { id: 4, pipeline: 2, ..series.clone() };
    let pipeline = PipelineRow { id: 2, environment: environment.0, slug: "own".into(), name: "Own".into() };
    let batch = CommitBatch {
        pipelines: vec![pipeline],
        series: vec![series, own],
        logs: vec![log(1, 1, kept.key.0, NOW), log(2, 2, gone.key.0, NOW)],
        events: vec![change(3, environment, gone.key.0)],
        head_seq: 3,
        ..CommitBatch::default()
    };
    store.commit(batch).await.unwrap();
    let minutes = [1, 3, 4].map(|series| pipeline_minute(MINUTE, series, 10)).into();
    store.flush(FlushBatch { pipeline_minutes: minutes, head_seq: 3, ..FlushBatch::default() }).await.unwrap();

    let labels: Labels = [("site".to_owned(), "lab".to_owned())].into();
    let removal = NodeRemoval { node: gone.key, labels: labels.clone(), at: NOW };
    let batch = CommitBatch {
        events: vec![change(4, environment, gone.key.0)],
        removals: vec![removal],
        head_seq: 4,
        ..CommitBatch::default()
    };
    let version = store.load_access(None).await.unwrap().unwrap().version;
    store.commit(batch).await.unwrap();
    let access = store.load_access(Some(version)).await.unwrap().expect("tokens have changed");
    assert!(access.tokens.iter().all(|token| token.node != Some(gone.key)), "its token is gone");
    assert!(store.load_node(gone.key).await.unwrap().is_none());
    let removed = store.load_removed().await.unwrap();
    assert_eq!((removed.nodes.len(), removed.nodes[0].id, &removed.nodes[0].labels), (1, gone.id, &labels));
    assert_eq!(removed.last_series, 4);
    let sums = store.pipeline_minutes(PipelineKey(1), None, ALL_MINUTES).await.unwrap().rows;
    assert_eq!(sums[0].events_in, 10, "of the other node");
    assert_eq!(store.list_pipelines(PipelineQuery { limit: 9, ..Default::default() }).await.unwrap().len(), 1);
    assert_eq!(store.list_logs(LogQuery { limit: 9, ..LogQuery::default() }).await.unwrap().len(), 1);
    let replay = ReplayQuery {
        environments: None,
        among: None,
        types: vec![EventType::StatusChange],
        nodes: vec![gone.id],
        pipelines: Vec::new(),
        after: 0,
        to: 4,
        limit: 10,
    };
    assert_eq!(store.replay_page(replay).await.unwrap().events.len(), 2);

    // The rest goes in steps.
    let left = store.leftovers(10).await.unwrap();
    assert_eq!((left.nodes.as_slice(), left.series.as_slice()), (&[gone.key][..], &[3, 4][..]));
    let table = StepTable { kind: StepKind::Pipeline, step: Resolution::Minute };
    assert_eq!(store.step_ends(table).await.unwrap(), Some((MINUTE, MINUTE)));
    assert_eq!(store.remove_steps(table, vec![MINUTE - 1, MINUTE], left.series.clone()).await.unwrap(), 2);
    for table in StepTable::all() {
        assert_eq!(store.remove_steps(table, vec![MINUTE, MINUTE / 60], vec![3, 4]).await.unwrap(), 0);
    }
    assert_eq!(store.remove_lines(left.nodes.clone(), 0).await.unwrap().removed, 1);
    store.forget_series(left.series).await.unwrap();
    store.mark_clean(left.nodes).await.unwrap();
    assert_eq!(store.leftovers(10).await.unwrap(), Leftovers::default());

    // No key is used twice, also not after the node is forgotten; its pipeline goes with its events.
    assert_eq!(store.forget_removed(NOW).await.unwrap(), [], "not yet");
    let next = enroll(&*store, "next", Some("m")).await;
    assert!(next.key > gone.key && next.id != gone.id);
    assert_eq!(store.forget_removed(NOW + 1).await.unwrap(), [PipelineKey(2)]);
    assert!(store.load_removed().await.unwrap().nodes.is_empty());
}

pub(super) async fn twin_inherits_the_machine_id(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let first = enroll(&*store, "a", Some("m")).await;
    let twin = |name: &str| NewEnrolment { name: name.into(), ..enrolment(environment, Some("m"), name) };
    let second = store.enroll_node_as(twin("b"), EnrolAs::TwinOf(first.key)).await.unwrap();
    let third = store.enroll_node_as(twin("c"), EnrolAs::TwinOf(first.key)).await.unwrap();
    let removal = NodeRemoval { node: first.key, labels: Labels::new(), at: NOW };
    store.commit(CommitBatch { removals: vec![removal], ..CommitBatch::default() }).await.unwrap();
    let nodes = store.nodes_of_machine(environment, "m".into()).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.key).collect::<Vec<_>>(), [second.key, third.key]);
    let gone = store.enroll_node_as(twin("a"), EnrolAs::Known(first.key)).await.unwrap_err();
    assert!(gone.is_of_missing_row(), "{gone:?}");
}

pub(super) async fn lists_take_many_nodes(store: Arc<dyn TimeSeriesStore>) {
    let node = enroll(&*store, "a", None).await;
    let among = (0..40_000).map(NodeKey).collect::<Vec<_>>();
    let query = NodeQuery { among: Some(among.clone()), limit: 10, ..NodeQuery::default() };
    assert_eq!(store.list_nodes(query.clone()).await.unwrap().len(), 1);
    let without = among.into_iter().filter(|key| *key != node.key).collect();
    assert!(store.list_nodes(NodeQuery { among: Some(without), ..query.clone() }).await.unwrap().is_empty());
    assert!(store.list_nodes(NodeQuery { among: Some(Vec::new()), ..query }).await.unwrap().is_empty());
}
