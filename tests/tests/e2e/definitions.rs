//! Pipelines of the centre: what an administrator says, and what comes of it.

use reqwest::Method;
use serde_json::{Value, json};
use systole_tests::harness::control::definition;
use systole_tests::harness::{ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    apply_changes_only_what_differs,
    history_shows_each_version_and_rollback_makes_a_new_one,
    invalid_definition_is_refused_with_its_place,
    concurrent_applies_have_one_winner,
    rights_to_pipelines_depend_on_the_token,
    removed_pipeline_keeps_its_numbers,
    environments_have_pipelines_of_their_own,
}

const CONFIG: &str = "sources:\n  in:\n    type: stdin\n";

async fn admin(collector: &TestCollector) -> ApiClient {
    let token = collector.create_token_with("admin", None, &["--name", "ci"]).await;
    collector.client().with_token(token.token.reveal())
}

async fn apply_changes_only_what_differs(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let shown = admin.apply("orders", "?dryRun=true", &definition(CONFIG)).await;
    assert_eq!((&shown["version"], &shown["changed"], &shown["rolloutId"]), (&json!(0), &json!(true), &Value::Null));
    assert!(shown["diff"].as_str().unwrap().contains("+    type: stdin\n"), "{shown}");
    assert_eq!(admin.get("/api/v1/pipelines/orders/definition").await.status, 404, "a dry run writes nothing");

    let first = admin.apply("orders", "?note=first%20try", &definition(CONFIG)).await;
    assert_eq!((&first["version"], &first["changed"]), (&json!(1), &json!(true)));
    assert!(first["rolloutId"].is_i64(), "{first}");
    let again = admin.apply("orders", "", &definition(CONFIG)).await;
    assert_eq!(again, json!({"version": 1, "changed": false, "diff": "", "rolloutId": null}));
    assert_eq!(admin.list("/api/v1/pipelines/orders/versions").await.len(), 1);

    let stored = admin.get_json("/api/v1/pipelines/orders/definition").await;
    assert_eq!((&stored["definition"]["config"], &stored["author"]), (&json!(CONFIG), &json!("ci")));
    assert_eq!(stored["note"], "first try");
    assert_eq!(stored["checksum"].as_str().unwrap().len(), 64);
    let list = admin.list("/api/v1/definitions").await;
    assert_eq!((list.len(), &list[0]["id"], &list[0]["definition"]), (1, &json!("orders"), &Value::Null));
    let audit = admin.list("/api/v1/audit").await;
    let applies: Vec<_> = audit.iter().rev().filter(|row| row["action"] == "pipeline.apply").collect();
    let results: Vec<_> = applies.iter().map(|row| row["result"].as_str().unwrap()).collect();
    assert_eq!((results.as_slice(), &applies[0]["actor"]), (&["version 1", "unchanged"][..], &json!("ci")));
    // What applying takes is what reading gives.
    let taken = admin.apply("orders", "", &stored["definition"]).await;
    assert_eq!(taken["changed"], false);
}

async fn history_shows_each_version_and_rollback_makes_a_new_one(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    for number in 1..=3 {
        admin.apply("orders", &format!("?note=n{number}"), &definition(&format!("a: {number}\nb: 0\n"))).await;
    }
    let versions = admin.list("/api/v1/pipelines/orders/versions?limit=2").await;
    let seen: Vec<_> = versions.iter().map(|version| (version["version"].clone(), version["note"].clone())).collect();
    assert_eq!(seen, [(json!(3), json!("n3")), (json!(2), json!("n2")), (json!(1), json!("n1"))]);
    let second = admin.get_json("/api/v1/pipelines/orders/versions/2").await;
    assert_eq!(second["definition"]["config"], "a: 2\nb: 0\n");
    assert_eq!(admin.get("/api/v1/pipelines/orders/versions/9").await.status, 404);

    let diff = admin.get_json("/api/v1/pipelines/orders/diff?from=1&to=3").await;
    let expected = "--- orders.yaml (version 1)\n+++ orders.yaml (version 3)\n@@ -1,2 +1,2 @@\n-a: 1\n+a: 3\n b: 0\n";
    assert_eq!(diff["diff"], expected);
    let newest = admin.get_json("/api/v1/pipelines/orders/diff").await;
    assert_eq!((&newest["from"], &newest["to"]), (&json!(2), &json!(3)));

    let post =
        async |query: &str| admin.send_empty(Method::POST, &format!("/api/v1/pipelines/orders/rollback{query}")).await;
    let back: Value = post("?to=1").await.json();
    assert_eq!((&back["version"], &back["changed"]), (&json!(4), &json!(true)));
    let now = admin.get_json("/api/v1/pipelines/orders/definition").await;
    assert_eq!((&now["definition"]["config"], &now["note"]), (&json!("a: 1\nb: 0\n"), &json!("back to version 1")));
    // Without nodes a rollout is soon complete. From then on the version before is the one to go back to.
    eventually_true("version 4 is stable", SOON, async || {
        admin.get_json("/api/v1/pipelines/orders/definition").await["stableVersion"] == 4
    })
    .await;
    let before: Value = post("?note=why%20not").await.json();
    assert_eq!(before["version"], 5);
    let now = admin.get_json("/api/v1/pipelines/orders/definition").await;
    assert_eq!(
        (&now["definition"]["config"], &now["note"]),
        (&json!("a: 3\nb: 0\n"), &json!("back to version 3: why not"))
    );
    assert_eq!(post("?to=77").await.status, 404);
    let audited = admin.list("/api/v1/audit?action=pipeline.rollback").await;
    let results: Vec<_> = audited.iter().map(|entry| entry["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["version 5", "version 4"]);

    for (action, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let answer = admin.send_empty(Method::POST, &format!("/api/v1/pipelines/orders/{action}")).await;
        assert_eq!(answer.json::<Value>()["paused"], paused);
        assert_eq!(admin.get_json("/api/v1/pipelines/orders/definition").await["paused"], paused);
    }
}

async fn invalid_definition_is_refused_with_its_place(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    let with = |field: &str, value: Value| {
        let mut definition = definition(CONFIG);
        definition[field] = value;
        definition
    };
    let long = format!("a: {}\n", "x".repeat(1024 * 1024));
    for (body, parts) in [
        (definition("sources:\n  in: [\n"), &["config: line "][..]),
        (definition("a: 1\nb:\n  c: 1\n  c: 2\n"), &["config: line 4, column 3: the key \"c\" occurs twice"]),
        (definition(&long), &["config: has 1048580 bytes, more than 1048576"]),
        (with("format", "toml".into()), &["config: line 1, column "]),
        (with("selector", json!([])), &["selector: ", "\"*\" selects every node"]),
        (with("selectr", json!(["*"])), &["selectr"]),
        (with("engine", "/bin/sh -c".into()), &["engine: "]),
        (with("secrets", json!({"DB": "prod/db", "LD_PRELOAD": "x"})), &["secrets.LD_PRELOAD: "]),
        (with("secrets", json!({"DB": "prod/db"})), &["secrets.DB: the secret prod/db does not exist"]),
        (with("rollout", json!({"batch": "0%", "maxFailed": 1})), &["rollout.batch: "]),
        (
            json!({"selector": ["="], "engine": "", "config": "", "format": "json"}),
            &["selector: ", "engine: ", "config: "],
        ),
    ] {
        for query in ["", "?dryRun=true"] {
            let problem = admin.try_apply("orders", query, &body).await.problem(400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(parts.iter().all(|part| detail.contains(part)), "{parts:?}: {detail}");
        }
    }
    let problem = admin.try_apply("orders", "?dryrun=true", &definition(CONFIG)).await.problem(400);
    assert!(problem["detail"].as_str().unwrap().starts_with("dryrun: unknown parameter"), "{problem}");
    let stale = admin.try_apply("orders", "?expectedVersion=3", &definition(CONFIG)).await.problem(409);
    assert!(stale["detail"].as_str().unwrap().contains("expected version 3"), "{stale}");
    assert_eq!(admin.list("/api/v1/definitions").await, [json!(null); 0]);
}

async fn concurrent_applies_have_one_winner(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    for version in 0..3 {
        let query = format!("?expectedVersion={version}");
        let mut all = tokio::task::JoinSet::new();
        for number in 0..6 {
            let (admin, query) = (admin.clone(), query.clone());
            let body = definition(&format!("a: {version}{number}\n"));
            all.spawn(async move { admin.try_apply("orders", &query, &body).await.status });
        }
        let mut statuses = all.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
    }
    assert_eq!(admin.list("/api/v1/pipelines/orders/versions").await.len(), 3);
}

async fn rights_to_pipelines_depend_on_the_token(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    admin.apply("orders", "", &definition(CONFIG)).await;
    admin.set_secret("prod/db", "x").await;
    let pipeline = "/api/v1/pipelines/orders";
    let writes = [
        (Method::PUT, format!("{pipeline}/definition"), definition("a: 2\n")),
        (Method::POST, format!("{pipeline}/rollback?to=1"), Value::Null),
        (Method::POST, format!("{pipeline}/pause"), Value::Null),
        (Method::POST, format!("{pipeline}/resume"), Value::Null),
        (Method::PUT, "/api/v1/secrets/prod%2Fdb".to_owned(), json!({"value": "y"})),
        (Method::POST, "/api/v1/secret-key/rotate".to_owned(), Value::Null),
        (Method::DELETE, "/api/v1/secrets/prod%2Fdb".to_owned(), Value::Null),
        (Method::DELETE, format!("{pipeline}/definition"), Value::Null),
    ];
    let reads = ["definition", "versions", "versions/1", "diff"].map(|route| format!("{pipeline}/{route}"));
    let reads: Vec<_> = reads.into_iter().chain(["/api/v1/definitions".into(), "/api/v1/secrets".into()]).collect();
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let mut tokens = vec![("node", node.client().token().unwrap().to_owned())];
    for kind in ["viewer", "operator", "enroll", "scrape"] {
        tokens.push((kind, collector.create_token(kind, None).await.token.reveal().to_owned()));
    }
    for (kind, token) in &tokens {
        let client = collector.client().with_token(token);
        for (method, path, body) in &writes {
            assert_eq!(client.send(method.clone(), path, body).await.status, 403, "{kind}: {method} {path}");
        }
        let expected = if matches!(*kind, "viewer" | "operator") { 200 } else { 403 };
        for path in &reads {
            assert_eq!(client.get(path).await.status, expected, "{kind}: GET {path}");
        }
    }
    for (method, path, body) in &writes {
        assert_eq!(collector.client().send(method.clone(), path, body).await.status, 401, "{method} {path}");
        let answer = admin.send(method.clone(), path, body).await;
        assert!(matches!(answer.status, 200 | 204), "admin: {method} {path}: {answer:?}");
    }
}

async fn removed_pipeline_keeps_its_numbers(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let admin = admin(&collector).await;
    admin.apply("orders", "", &definition("a: 1\n")).await;
    let remove = async || admin.send_empty(Method::DELETE, "/api/v1/pipelines/orders/definition").await.status;
    assert_eq!(remove().await, 204);
    assert_eq!(remove().await, 404);
    assert_eq!(admin.get("/api/v1/pipelines/orders/versions").await.status, 404);
    let again = admin.apply("orders", "?expectedVersion=0", &definition("a: 1\n")).await;
    assert_eq!((&again["version"], &again["changed"]), (&json!(2), &json!(true)));
    assert_eq!(admin.list("/api/v1/pipelines/orders/versions").await.len(), 2);
}

async fn environments_have_pipelines_of_their_own(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let all = admin(&collector).await;
    collector.create_environment("lab").await;
    let of_lab = collector.create_token("admin", Some("lab")).await;
    let lab = collector.client().with_token(of_lab.token.reveal());
    let unnamed = all.try_apply("orders", "", &definition(CONFIG)).await.problem(400);
    assert!(unnamed["detail"].as_str().unwrap().starts_with("environment: is missing"), "{unnamed}");
    all.apply("orders", "?environment=default", &definition("a: 1\n")).await;
    assert_eq!(lab.get("/api/v1/pipelines/orders/definition").await.status, 404);
    assert_eq!(lab.try_apply("orders", "?environment=default", &definition(CONFIG)).await.status, 403);
    lab.apply("orders", "", &definition("a: 2\n")).await;
    assert_eq!(lab.get_json("/api/v1/pipelines/orders/definition").await["definition"]["config"], "a: 2\n");
    assert_eq!(all.get("/api/v1/pipelines/orders/definition").await.status, 409);
    let named = all.get_json("/api/v1/pipelines/orders/definition?environment=default").await;
    assert_eq!((&named["version"], &named["definition"]["config"]), (&json!(1), &json!("a: 1\n")));
    lab.set_secret("db", "x").await;
    assert_eq!(all.list("/api/v1/secrets?environment=default").await.len(), 0);
    assert_eq!(lab.send_empty(Method::POST, "/api/v1/secret-key/rotate").await.status, 403, "the key is of all");
}
