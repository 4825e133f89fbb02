//! Versions of pipelines, and sealed secrets.

use super::*;

fn author() -> Author {
    Author { name: "ci".into(), id: None }
}

fn body(config: &str, secrets: &[(&str, i64)]) -> String {
    let revisions: BTreeMap<_, _> = secrets.iter().copied().collect();
    let definition = serde_json::json!({"selector": ["*"], "engine": "vector", "config": config, "format": "yaml"});
    serde_json::json!({"definition": definition, "secretRevisions": revisions}).to_string()
}

fn version(environment: EnvironmentKey, replaces: Option<i64>, secrets: &[(&str, i64)]) -> NewVersion {
    NewVersion {
        environment,
        slug: "orders".into(),
        replaces,
        checksum: "c".into(),
        body: body("a: 1", secrets),
        secret_revisions: secrets.iter().map(|(name, revision)| ((*name).to_owned(), *revision)).collect(),
        policy: "{}".into(),
        author: author(),
        note: "why".into(),
        now: NOW,
    }
}

fn secret(environment: EnvironmentKey, name: &str, revision: i64) -> NewSecret {
    let value = SealedSecret {
        environment,
        name: name.into(),
        revision,
        key_id: "k".into(),
        sealed: vec![0, 255, revision as u8],
    };
    NewSecret { value, author: author(), now: NOW }
}

async fn find(store: &dyn TimeSeriesStore) -> Option<StoredDefinition> {
    let query = DefinitionQuery { slug: Some("orders".into()), limit: 2, ..DefinitionQuery::default() };
    let mut found = store.list_definitions(query).await.unwrap();
    assert!(found.len() < 2);
    found.pop()
}

pub(super) async fn version_replaces_exactly_the_one_before(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let create = async |replaces| store.create_version(version(environment, replaces, &[])).await.unwrap();
    assert_eq!(create(Some(1)).await, VersionOutcome::OtherVersion(None));
    let first = create(None).await;
    assert!(matches!(&first, VersionOutcome::Created(CreatedVersion { version: 1, .. })), "{first:?}");
    assert_eq!(create(None).await, VersionOutcome::OtherVersion(Some(1)));
    let second = create(Some(1)).await;
    let (VersionOutcome::Created(first), VersionOutcome::Created(second)) = (first, second) else { panic!() };
    assert!(second.version == 2 && second.rollout > first.rollout);
    let found = find(&*store).await.unwrap();
    assert_eq!((found.version.version, found.stable_version, found.paused), (2, None, false));
    let history = store.definition_history(found.key, None, 10).await.unwrap();
    assert_eq!(history.iter().map(|info| info.version).collect::<Vec<_>>(), [2, 1]);
    let history = store.definition_history(found.key, Some(2), 10).await.unwrap();
    assert_eq!((history.len(), history[0].note.as_str()), (1, "why"));
    let stored = store.definition_version(found.key, 1).await.unwrap().unwrap();
    assert_eq!((stored.info.author.as_str(), stored.body), ("ci", body("a: 1", &[])));

    assert_eq!(store.remove_definition(found.key, NOW).await.unwrap(), []);
    assert_eq!(find(&*store).await, None);
    assert_eq!(create(Some(2)).await, VersionOutcome::OtherVersion(None));
    let again = create(None).await;
    assert!(matches!(again, VersionOutcome::Created(CreatedVersion { version: 3, .. })), "numbers continue: {again:?}");
}

pub(super) async fn new_value_of_a_secret_renews_the_pipelines_that_use_it(store: Arc<dyn TimeSeriesStore>) {
    let environment = default_environment(&*store).await;
    let missing = store.create_version(version(environment, None, &[("db", 1)])).await.unwrap();
    assert_eq!(missing, VersionOutcome::OtherSecret("db".into()));
    for name in ["db", "other"] {
        assert_eq!(store.put_secret(secret(environment, name, 1)).await.unwrap(), SecretOutcome::Stored(vec![]));
    }
    assert_eq!(store.put_secret(secret(environment, "db", 1)).await.unwrap(), SecretOutcome::OtherRevision);
    store.create_version(version(environment, None, &[("db", 1)])).await.unwrap();
    let SecretOutcome::Stored(renewed) = store.put_secret(secret(environment, "db", 2)).await.unwrap() else {
        panic!()
    };
    assert_eq!((renewed.len(), renewed[0].slug.as_str(), renewed[0].version), (1, "orders", 2));
    let found = find(&*store).await.unwrap();
    assert_eq!(found.version.note, "secret db changed");
    let stored = store.definition_version(found.key, 2).await.unwrap().unwrap();
    let uses: crate::model::definition::SecretUses = serde_json::from_str(&stored.body).unwrap();
    assert_eq!(uses.secret_revisions, [("db".to_owned(), 2)].into());
    assert_eq!(store.put_secret(secret(environment, "other", 2)).await.unwrap(), SecretOutcome::Stored(vec![]));
    // Values that no version needs are gone.
    assert!(store.sealed_secret(environment, "other".into(), 1).await.unwrap().is_none());
    let kept = store.sealed_secret(environment, "db".into(), 2).await.unwrap().unwrap();
    assert_eq!(kept.sealed, [0, 255, 2]);
    assert!(matches!(store.put_secret(secret(environment, "db", 3)).await.unwrap(), SecretOutcome::Stored(_)));
    assert!(store.sealed_secret(environment, "db".into(), 1).await.unwrap().is_none());

    let list = store.list_secrets(Some(vec![environment])).await.unwrap();
    let shown: Vec<_> = list.iter().map(|info| (info.name.as_str(), info.revision, info.users.len())).collect();
    assert_eq!(shown, [("db", 3, 1), ("other", 2, 0)]);
    assert!(store.list_secrets(Some(vec![EnvironmentKey(99)])).await.unwrap().is_empty());
    let used = store.remove_secret(environment, "db".into()).await.unwrap();
    assert_eq!(used, SecretRemoval::Used(vec!["orders".into()]));
    assert_eq!(store.remove_secret(environment, "other".into()).await.unwrap(), SecretRemoval::Removed);
    assert_eq!(store.remove_secret(environment, "other".into()).await.unwrap(), SecretRemoval::Unknown);
    store.remove_definition(found.key, NOW).await.unwrap();
    assert_eq!(store.remove_secret(environment, "db".into()).await.unwrap(), SecretRemoval::Removed);
}

pub(super) async fn buffers_and_components_of_a_pipeline_are_read(store: Arc<dyn TimeSeriesStore>) {
    with_pipeline(&*store).await;
    let minute = |minute, buffer_events| ComponentMinuteRow {
        minute,
        series: 2,
        buffer_events: Some(buffer_events),
        buffer_max_events: Some(10),
        ..ComponentMinuteRow::default()
    };
    let component_minutes = vec![minute(MINUTE, 1), minute(MINUTE + 1, 5)];
    store.flush(FlushBatch { component_minutes, ..FlushBatch::default() }).await.unwrap();
    let components = store.pipeline_components(PipelineKey(1)).await.unwrap();
    assert_eq!(components, [("in".to_owned(), "source".to_owned())]);
    let fills = store.buffer_fills(PipelineKey(1), MINUTE).await.unwrap();
    assert_eq!((fills.len(), fills[0].share()), (1, Some(0.5)));
    assert!(store.buffer_fills(PipelineKey(1), MINUTE + 2).await.unwrap().is_empty());
    assert!(store.topologies(PipelineKey(1), vec!["c".into()]).await.unwrap().is_empty());
}
