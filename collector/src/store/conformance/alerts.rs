//! Alerts, their messages, and silences.

use super::*;

fn alert(id: &str, state: &str, notified: i64) -> AlertRow {
    AlertRow {
        id: id.to_owned(),
        rule: "errors".into(),
        subject: "node/1/orders".into(),
        environment: 1,
        node: Some(1),
        pipeline: Some("orders".into()),
        name: "n1/orders".into(),
        severity: "warning".into(),
        state: state.to_owned(),
        since: NOW,
        fired_at: None,
        ended_at: None,
        value: Some(0.5),
        text: "bad".into(),
        notified,
        notified_at: None,
    }
}

fn message(id: i64, target: &str) -> OutboxRow {
    OutboxRow { id, target: target.to_owned(), created_at: NOW + id, message: "{}".into() }
}

async fn commit(store: &dyn TimeSeriesStore, head_seq: u64, alerts: AlertBatch, events: Vec<EventRow>) {
    store.commit(CommitBatch { alerts, events, head_seq, ..CommitBatch::default() }).await.unwrap();
}

pub(super) async fn alerts_and_messages_are_written_together(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let event = EventRow { kind: "alert".into(), ..change(1, environment, 0) };
    let alerts: Vec<_> = (0..1_200).map(|number| alert(&format!("errors node/{number}"), "pending", 0)).collect();
    commit(&*store, 1, AlertBatch { alerts, ..AlertBatch::default() }, vec![event]).await;
    let batch = AlertBatch {
        alerts: vec![alert("errors node/7", "firing", 1)],
        forgotten: vec!["errors node/8".into()],
        groups: vec![AlertGroupRow { id: "1/warning/".into(), opened_at: NOW, sent_at: NOW }],
        messages: vec![message(1, "a"), message(2, "a"), message(3, "b")],
    };
    commit(&*store, 2, batch, Vec::new()).await;
    let found = store.load_alerts().await.unwrap();
    assert_eq!((found.alerts.len(), found.groups.len(), found.last_message), (1_199, 1, 3));
    let seventh = found.alerts.iter().find(|row| row.id == "errors node/7").unwrap();
    assert_eq!(*seventh, alert("errors node/7", "firing", 1));
    let group = AlertGroupRow { id: "1/warning/".into(), opened_at: 0, sent_at: NOW + 5 };
    commit(&*store, 3, AlertBatch { groups: vec![group.clone()], ..AlertBatch::default() }, Vec::new()).await;
    assert_eq!(store.load_alerts().await.unwrap().groups, [group]);

    let query =
        |environments: Option<Vec<EnvironmentKey>>| AlertEventQuery { environments, limit: 10, ..Default::default() };
    let events = store.list_alert_events(query(None)).await.unwrap();
    assert_eq!(events.iter().map(|event| (event.seq, event.kind)).collect::<Vec<_>>(), [(1, EventType::Alert)]);
    assert!(store.list_alert_events(query(Some(vec![EnvironmentKey(99)]))).await.unwrap().is_empty());
}

pub(super) async fn messages_wait_until_they_are_finished(store: Arc<dyn TimeSeriesStore>) {
    let messages = vec![message(1, "a"), message(2, "a"), message(3, "b")];
    commit(&*store, 1, AlertBatch { messages, ..AlertBatch::default() }, Vec::new()).await;
    assert_eq!(store.waiting_messages("a".into(), 1).await.unwrap(), [message(1, "a")]);
    let failed = TargetRow {
        target: "a".into(),
        last_attempt_at: NOW,
        failing_since: Some(NOW),
        last_error: Some("refused".into()),
        failed: 1,
        ..TargetRow::default()
    };
    store.finish_messages(Vec::new(), failed.clone()).await.unwrap();
    assert_eq!(store.load_alerts().await.unwrap().targets, [failed]);
    let sent = TargetRow { target: "a".into(), last_success_at: Some(NOW), sent: 1, failed: 1, ..TargetRow::default() };
    store.finish_messages(vec![1], sent.clone()).await.unwrap();
    assert_eq!(store.waiting_messages("a".into(), 9).await.unwrap(), [message(2, "a")]);
    assert_eq!(store.load_alerts().await.unwrap().targets, [sent]);
    let mut usage = store.outbox_usage().await.unwrap();
    usage.sort_by(|a, b| a.target.cmp(&b.target));
    let usage: Vec<_> = usage.into_iter().map(|usage| (usage.target, usage.messages, usage.oldest_at)).collect();
    assert_eq!(usage, [("a".into(), 1, NOW + 2), ("b".into(), 1, NOW + 3)]);
    store.retain_targets(vec!["b".into()]).await.unwrap();
    assert!(store.waiting_messages("a".into(), 9).await.unwrap().is_empty());
    assert!(store.load_alerts().await.unwrap().targets.is_empty());
    store.retain_targets(Vec::new()).await.unwrap();
    assert!(store.outbox_usage().await.unwrap().is_empty());
}

pub(super) async fn silences_last_until_they_end(store: Arc<dyn TimeSeriesStore>) {
    let new = |ends_at| NewSilenceRow {
        environment: None,
        matchers: r#"["node=x"]"#.into(),
        starts_at: NOW,
        ends_at,
        author: "ops".into(),
        note: String::new(),
        created_at: NOW,
    };
    let first = store.add_silence(new(NOW + 10)).await.unwrap();
    let second = store.add_silence(new(NOW + 20)).await.unwrap();
    assert!(second.id > first.id);
    let ids = |silences: Vec<SilenceRow>| silences.into_iter().map(|silence| silence.id).collect::<Vec<_>>();
    assert_eq!(ids(store.list_silences(NOW).await.unwrap()), [first.id, second.id]);
    assert_eq!(ids(store.list_silences(NOW + 10).await.unwrap()), [second.id]);
    assert!(store.end_silence(second.id, NOW + 5).await.unwrap());
    assert!(!store.end_silence(second.id, NOW + 6).await.unwrap(), "it has ended");
    assert_eq!(ids(store.list_silences(NOW + 5).await.unwrap()), [first.id]);
    assert_eq!(store.expire_silences(NOW + 8).await.unwrap(), 1);
    assert_eq!(ids(store.list_silences(0).await.unwrap()), [first.id]);
}

pub(super) async fn minutes_of_all_pipelines_come_with_hosts_and_buffers(store: Arc<dyn TimeSeriesStore>) {
    let series =
        |id, component: &str| SeriesRow { id, node: 1, pipeline: 1, component: component.into(), kind: "sink".into() };
    let rows = vec![series(1, ""), series(2, "out"), series(3, "in")];
    store.commit(CommitBatch { series: rows, ..CommitBatch::default() }).await.unwrap();
    let buffer = |series, held| ComponentMinuteRow {
        minute: MINUTE,
        series,
        buffer_events: Some(held),
        buffer_max_events: Some(10),
        ..ComponentMinuteRow::default()
    };
    let bytes = ComponentMinuteRow {
        minute: MINUTE + 1,
        series: 2,
        buffer_bytes: Some(1),
        buffer_max_bytes: Some(4),
        ..ComponentMinuteRow::default()
    };
    let batch = FlushBatch {
        pipeline_minutes: vec![pipeline_minute(MINUTE, 1, 5), pipeline_minute(MINUTE + 1, 1, 6)],
        component_minutes: vec![buffer(2, 9), buffer(3, 2), bytes],
        node_minutes: vec![NodeMinuteRow { minute: MINUTE, node: 1, samples: 1, ..NodeMinuteRow::default() }],
        ..FlushBatch::default()
    };
    store.flush(batch).await.unwrap();
    let found = store.minute_rows(MINUTE, MINUTE + 2, RowsOf::Everything).await.unwrap();
    assert_eq!(
        found.pipelines.iter().map(|row| (row.minute, row.events_in)).collect::<Vec<_>>(),
        [(MINUTE, 5), (MINUTE + 1, 6)]
    );
    assert_eq!(found.hosts.len(), 1);
    let mut fills: Vec<_> = found.fills.iter().map(|fill| (fill.minute, fill.series, fill.fill)).collect();
    fills.sort_by_key(|(minute, ..)| *minute);
    assert_eq!(fills, [(MINUTE, 1, 0.9), (MINUTE + 1, 1, 0.25)]);
    let one = store.minute_rows(MINUTE, MINUTE + 1, RowsOf::Pipelines).await.unwrap();
    assert_eq!((one.pipelines.len(), one.hosts.len(), one.fills.len()), (1, 0, 0));
}
