//! Sorted and filtered lists of nodes and pipelines, and what they show of the last report.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::{DeploymentReport, HostMetrics, PipelineReport};
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, pipeline, report, running, text};
use systole_tests::harness::{Answer, ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    nodes_are_sorted_filtered_and_counted,
    pipelines_are_summed_over_nodes_and_sorted,
    lists_are_the_same_after_a_restart_and_without_a_removed_node,
    map_has_all_nodes_in_columns,
    deployments_are_listed,
}

async fn admin(collector: &TestCollector) -> ApiClient {
    collector.client().with_token(collector.create_token("admin", None).await.token.reveal())
}

async fn send(admin: &ApiClient, method: Method, path: &str, body: Value) {
    let request = admin.request(method, path).header("content-type", "application/json").body(body.to_string());
    let answer = Answer::of(request).await;
    assert!(answer.status < 300, "{path}: {answer:?}");
}

async fn report_host(node: &mut NodeClient, pipelines: Vec<PipelineReport<'static>>, seconds: f64, busy: f64) {
    let mut report = report(node.next_seq, clock::now_ms(), pipelines);
    report.host = Some(HostMetrics {
        cpu_seconds_total: Some(seconds),
        cpu_seconds_idle: Some(seconds * (1.0 - busy)),
        memory_used_bytes: Some((busy * 1_000.0) as u64),
        memory_total_bytes: Some(1_000),
        ..HostMetrics::default()
    });
    node.next_seq += 1;
    assert_eq!(node.post(&node.request_of(vec![report])).await.refused, []);
}

/// Nodes a to d: with different rates and processors, one without a sample, and one with a crash.
async fn fleet(collector: &TestCollector) -> Vec<NodeClient> {
    let mut nodes = Vec::new();
    for (name, factor, busy) in [("a", 2, 0.5), ("b", 3, 0.25), ("c", 1, 0.75)] {
        let mut node = NodeClient::enroll(collector, None, name).await;
        for seconds in [100.0, 200.0] {
            let orders =
                if name == "c" { pipeline("orders", "CRASHED") } else { running("orders", distinct_counts(factor)) };
            report_host(&mut node, vec![orders, running("bills", distinct_counts(factor))], seconds, busy).await;
        }
        nodes.push(node);
    }
    nodes.push(NodeClient::enroll(collector, None, "d").await);
    nodes
}

/// The letters of a list, page by page.
async fn names(viewer: &ApiClient, path: &str) -> String {
    let items = viewer.list(path).await;
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

async fn nodes_are_sorted_filtered_and_counted(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let nodes = fleet(&collector).await;
    let admin = admin(&collector).await;
    send(&admin, Method::PATCH, &format!("/api/v1/nodes/{}", nodes[1].id), json!({"labels": {"site": "Lab"}})).await;
    let viewer = collector.viewer().await;
    for list in ["/api/v1/nodes", "/api/v1/fleet/nodes"] {
        for (query, expected) in [
            ("", "abcd"),
            ("order=desc", "dcba"),
            ("sort=state", "cdab"),
            ("sort=cpu", "bacd"),
            ("sort=cpu&order=desc", "cabd"),
            ("sort=memory", "bacd"),
            ("sort=eventsIn", "cabd"),
            ("sort=eventsOut&order=desc", "bacd"),
            ("sort=errors", "cabd"),
            ("sort=lastReport", "abcd"),
            ("sort=version", "abcd"),
            ("status=healthy", "ab"),
            ("status=DEGRADED,UNKNOWN", "cd"),
            ("pipelineStatus=crashed,crash_loop", "c"),
            ("q=B", "b"),
            ("q=site:lab", "b"),
            ("label=!site", "acd"),
        ] {
            for limit in [1, 2, 100] {
                assert_eq!(names(&viewer, &format!("{list}?{query}&limit={limit}")).await, expected, "{list} {query}");
            }
            let page = viewer.get_json(&format!("{list}?{query}&limit=1")).await;
            assert_eq!(page["total"], expected.len(), "{query}");
        }
        let items = viewer.list(list).await;
        let sample = &items[0]["sample"];
        assert_eq!((&sample["cpu"], &sample["memoryUsedBytes"]), (&0.5.into(), &500.into()), "{sample}");
        assert_eq!((&sample["eventsInRate"], &sample["errorsRate"]), (&400.0.into(), &2.4.into()), "two pipelines");
        assert!(items[3]["sample"].as_object().unwrap().values().all(Value::is_null), "absent is not zero");
        for (parameter, query) in [
            ("sort", "sort=size"),
            ("order", "order=down"),
            ("status", "status=healthy,well"),
            ("pipelineStatus", "pipelineStatus=well"),
            ("cursor", "cursor=1.a"),
            ("cursor", "sort=cpu&cursor=memory.1.1.a"),
            ("q", "q="),
        ] {
            let problem = viewer.get(&format!("{list}?{query}")).await.problem(400);
            assert!(problem["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{query}: {problem}");
        }
    }
    let row = &viewer.list("/api/v1/fleet/nodes?q=c").await[0];
    assert_eq!((&row["status"], &row["statusReason"]), (&"DEGRADED".into(), &"pipeline orders is CRASHED".into()));
    assert_eq!(row["pipelines"], json!([{"id": "bills", "status": "RUNNING"}, {"id": "orders", "status": "CRASHED"}]));
    let row = &viewer.list("/api/v1/fleet/nodes?q=site:lab").await[0];
    assert_eq!(row["labels"], json!({"site": "Lab"}));
}

async fn pipelines_are_summed_over_nodes_and_sorted(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut nodes = fleet(&collector).await;
    nodes[0].report(vec![running("orders", distinct_counts(2)), running("alone", distinct_counts(1))]).await;
    let viewer = collector.viewer().await;
    for list in ["/api/v1/pipelines", "/api/v1/fleet/pipelines"] {
        for (query, expected) in [
            ("", "alone,bills,orders"),
            ("order=desc", "orders,bills,alone"),
            ("sort=worst", "orders,bills,alone"),
            ("sort=eventsIn&order=desc", "orders,bills,alone"),
            ("sort=discards", "alone,bills,orders"),
            ("status=crashed", "orders"),
            ("q=LL", "bills"),
            ("q=o&sort=errors", "alone,orders"),
        ] {
            for limit in [1, 2, 100] {
                let items = viewer.list(&format!("{list}?{query}&limit={limit}")).await;
                let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
                assert_eq!(ids.join(","), expected, "{list} {query}");
            }
        }
        let page = viewer.get_json(&format!("{list}?limit=1&sort=worst")).await;
        assert_eq!((&page["total"], &page["items"][0]["worst"]), (&3.into(), &"CRASHED".into()), "{page}");
        assert_eq!(page["items"][0]["sample"]["eventsInRate"], 500.0, "of a and b");
    }
    let rows = viewer.list("/api/v1/fleet/pipelines").await;
    assert_eq!((&rows[1]["nodes"], &rows[1]["worst"]), (&2.into(), &"RUNNING".into()), "a has no bills any more");
    assert_eq!(rows[2]["statuses"], json!({"RUNNING": 2, "CRASHED": 1}));
    assert_eq!(viewer.list("/api/v1/fleet/pipelines?label=nowhere").await, Vec::<Value>::new());
}

async fn lists_are_the_same_after_a_restart_and_without_a_removed_node(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let nodes = fleet(&collector).await;
    let viewer = collector.viewer().await;
    let without_samples = async |viewer: &ApiClient, path: &str| {
        let mut rows = viewer.list(path).await;
        for row in &mut rows {
            row.as_object_mut().unwrap().remove("sample");
        }
        rows
    };
    let lists =
        ["/api/v1/fleet/nodes?sort=state", "/api/v1/fleet/pipelines?sort=worst", "/api/v1/fleet/nodes?sort=version"];
    let mut before = Vec::new();
    for list in lists {
        before.push(without_samples(&viewer, list).await);
    }
    collector.kill().await;
    collector.run().await;
    let viewer = collector.viewer().await;
    for (list, before) in lists.iter().zip(before) {
        assert_eq!(without_samples(&viewer, list).await, before, "{list}");
    }
    let admin = admin(&collector).await;
    send(&admin, Method::DELETE, &format!("/api/v1/nodes/{}", nodes[2].id), Value::Null).await;
    assert_eq!(names(&viewer, "/api/v1/fleet/nodes").await, "abd");
    assert_eq!(names(&viewer, "/api/v1/nodes").await, "abd");
    let worst = viewer.list("/api/v1/fleet/pipelines?sort=worst").await;
    assert_eq!(worst[0]["worst"], "RUNNING", "its crash is gone: {worst:?}");
}

async fn map_has_all_nodes_in_columns(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let nodes = fleet(&collector).await;
    let admin = admin(&collector).await;
    for (node, site) in [(0, "plant"), (2, "lab")] {
        let path = format!("/api/v1/nodes/{}", nodes[node].id);
        send(&admin, Method::PATCH, &path, json!({"labels": {"site": site}})).await;
    }
    let viewer = collector.viewer().await;
    let map = viewer.get_json("/api/v1/fleet/map?group=site").await;
    assert_eq!((&map["total"], &map["names"]), (&4.into(), &json!(["a", "b", "c", "d"])));
    let ids: Vec<_> = nodes.iter().map(|node| node.id.to_string()).collect();
    assert_eq!(map["ids"], json!(ids));
    assert_eq!((&map["groupNames"], &map["groups"]), (&json!(["lab", "plant", null]), &json!([1, 2, 0, 2])));
    let well = json!({"status": "HEALTHY", "worstPipeline": "RUNNING"});
    let crashed = json!({"status": "DEGRADED", "worstPipeline": "CRASHED"});
    let unknown = json!({"status": "UNKNOWN", "worstPipeline": null});
    assert_eq!((&map["states"], &map["stateNames"]), (&json!([0, 0, 1, 2]), &json!([well, crashed, unknown])));
    let filtered = viewer.get_json("/api/v1/fleet/map?status=degraded").await;
    assert_eq!((&filtered["names"], &filtered["groups"]), (&json!(["c"]), &json!([])));
    let request = viewer.request(Method::GET, "/api/v1/fleet/map?group=site").header("accept-encoding", "br, gzip");
    let packed = request.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    GzDecoder::new(&*packed.bytes().await.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), map);
}

async fn deployments_are_listed(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    let mut other = NodeClient::enroll(&collector, None, "n2").await;
    other.report(vec![running("orders", distinct_counts(1))]).await;
    for (pipeline, phase) in [("orders", "validating"), ("orders", "healthy"), ("new", "rejected")] {
        let mut report = report(node.next_seq, clock::now_ms(), Vec::new());
        report.deployments = vec![DeploymentReport {
            pipeline_id: text(pipeline),
            version: 3,
            phase: text(phase),
            running_version: None,
            reason: text(""),
        }];
        node.next_seq += 1;
        assert_eq!(node.post(&node.request_of(vec![report])).await.refused, []);
    }
    let viewer = collector.viewer().await;
    let phases = async |query: &str| {
        let items = viewer.list(&format!("/api/v1/deployments?{query}")).await;
        let phases = items.iter().map(|item| format!("{} {}", item["pipelineId"], item["phase"]).replace('"', ""));
        phases.collect::<Vec<_>>().join(", ")
    };
    eventually_true("all are there", SOON, async || phases("").await.contains("new rejected")).await;
    let orders = "orders validating, orders healthy";
    assert!(phases("").await.starts_with(orders), "{}", phases("").await);
    assert!(phases("order=desc&limit=1").await.ends_with("orders healthy, orders validating"));
    assert_eq!(
        phases("pipeline=orders").await,
        format!("{orders}, orders removed"),
        "the third report has only the other"
    );
    assert!(phases("pipeline=new").await.starts_with("new rejected"), "no report has had it");
    assert_eq!(phases("pipeline=ne").await, "");
    assert_eq!(phases(&format!("node={}", other.id)).await, "");
    assert_eq!(phases("from=-1h&to=-30m").await, "");
    let first = &viewer.list("/api/v1/deployments?limit=1").await[0];
    assert_eq!((&first["type"], &first["version"]), (&"deployment".into(), &3.into()), "{first}");
    assert_eq!(first["nodeId"], node.id.to_string());
    viewer.get("/api/v1/deployments?kind=x").await.problem(400);
}
