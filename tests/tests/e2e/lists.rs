//! Lists in pages, and as CSV.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use systole_shared::HostMetrics;
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, pipeline, report, running, with_lines};
use systole_tests::harness::{ApiClient, DatabaseKind, NodeClient, SOON, TestCollector, eventually_true};

on_each_database! {
    csv_and_json_have_the_same_names,
    csv_page_links_to_the_next,
    histories_are_paged_and_name_their_step,
    nodes_pipelines_and_changes_are_paged,
    lines_are_found_with_and_without_the_index,
    newest_items_come_first_with_order_desc,
    unknown_and_empty_parameters_are_named,
}

const MINUTE_MS: i64 = 60_000;

/// What CSV answers with: headers, and the lines of the body.
async fn csv(viewer: &ApiClient, path: &str) -> (reqwest::header::HeaderMap, Vec<String>) {
    let answer = viewer.request(Method::GET, path).header("Accept", "text/csv").send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let headers = answer.headers().clone();
    let text = answer.text().await.expect("a text");
    assert!(text.ends_with("\r\n"), "{path}: {text}");
    (headers, text.split_terminator("\r\n").map(str::to_owned).collect())
}

/// A node with some of everything, over the last three minutes.
async fn with_history(collector: &TestCollector) -> (NodeClient, i64) {
    let node = NodeClient::enroll(collector, None, "n1").await;
    let first = (clock::now_ms() / MINUTE_MS - 3) * MINUTE_MS;
    let reports = (0..3i64).map(|number| {
        let at = first + number * MINUTE_MS + 1_000;
        let lines = [format!("=1+{number}, \"quoted\"")].into_iter();
        let mut one = report(
            number.unsigned_abs() + 1,
            at,
            vec![with_lines(running("orders", distinct_counts(1)), at, lines), pipeline("bills", "CRASHED")],
        );
        one.host = Some(HostMetrics { memory_total_bytes: Some(1_000), ..HostMetrics::default() });
        one
    });
    assert_eq!(node.post(&node.request_of(reports.collect())).await.refused, []);
    (node, first)
}

async fn csv_and_json_have_the_same_names(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let (node, first) = with_history(&collector).await;
    let viewer = collector.viewer().await;
    let range = format!("from={first}&to={}&step=minute", first + 3 * MINUTE_MS);
    for (path, file) in [
        ("environments?".to_owned(), "environments"),
        ("nodes?".to_owned(), "nodes"),
        (format!("nodes/{}/minutes?{range}", node.id), "node-minutes"),
        ("pipelines?".to_owned(), "pipelines"),
        (format!("pipelines/orders/minutes?{range}"), "pipeline-minutes"),
        (format!("pipelines/orders/components/minutes?{range}"), "components-minutes"),
        (format!("samples?node={}&pipeline=orders", node.id), "samples"),
        ("logs?".to_owned(), "logs"),
        ("status-changes?pipeline=bills".to_owned(), "status-changes"),
    ] {
        let path = format!("/api/v1/{path}");
        let items = viewer.list(&path).await;
        let (headers, lines) = csv(&viewer, &path).await;
        let names: BTreeSet<&str> = lines[0].split(',').collect();
        let keys: BTreeSet<&str> = items[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, keys, "{path}");
        assert_eq!(lines.len(), 1 + items.len(), "{path}");
        assert_eq!(headers["content-type"], "text/csv; charset=utf-8; header=present");
        assert_eq!(headers["vary"], "Accept", "{path}");
        assert_eq!(headers["content-disposition"], format!("attachment; filename=\"{file}.csv\""));
        assert!(!headers.contains_key("link"), "{path}: there is one page");
        let named = viewer.get(&format!("{path}&format=csv")).await;
        assert_eq!(named.body, format!("{}\r\n", lines.join("\r\n")).into_bytes(), "{path}");
        let problem = viewer.get(&format!("{path}&format=xml")).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with("format: "), "{path}: {problem}");
    }
    let (_, lines) = csv(&viewer, "/api/v1/logs?limit=1").await;
    assert!(lines[1].ends_with(",\"=1+0, \"\"quoted\"\"\""), "{lines:?}");
    let (_, lines) = csv(&viewer, &format!("/api/v1/nodes/{}/minutes?{range}", node.id)).await;
    assert!(lines[1].starts_with(&format!("{first},1000,,,,")), "what is not known is empty: {lines:?}");
}

async fn csv_page_links_to_the_next(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let (_, first) = with_history(&collector).await;
    let viewer = collector.viewer().await;
    for path in [
        "/api/v1/logs?limit=1&q=%22quoted%22".to_owned(),
        format!("/api/v1/pipelines/orders/minutes?from={first}&to={}&limit=1", first + 3 * MINUTE_MS),
    ] {
        let mut rows = BTreeSet::new();
        let mut pages = 0;
        let mut next = Some(path.clone());
        while let Some(path) = next {
            let (headers, lines) = csv(&viewer, &path).await;
            rows.extend(lines.into_iter().skip(1));
            pages += 1;
            next = headers.get("link").map(|link| {
                let link = link.to_str().unwrap();
                link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
            });
        }
        assert_eq!((rows.len(), pages), (3, 3), "{path}: {rows:?}");
    }
}

async fn histories_are_paged_and_name_their_step(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let (node, first) = with_history(&collector).await;
    let viewer = collector.viewer().await;
    let range = format!("from={first}&to={}", first + 3 * MINUTE_MS);
    for path in [
        format!("/api/v1/nodes/{}/minutes?{range}", node.id),
        format!("/api/v1/pipelines/orders/minutes?{range}"),
        format!("/api/v1/pipelines/orders/components/minutes?{range}"),
    ] {
        let all = viewer.list(&path).await;
        let at: BTreeSet<_> = all.iter().map(|item| item["at"].as_i64().unwrap() - first).collect();
        assert_eq!(at, BTreeSet::from([0, MINUTE_MS, 2 * MINUTE_MS]), "{path}");
        assert_eq!(viewer.list(&format!("{path}&limit=2")).await, all, "{path}");
        let page = viewer.get_json(&format!("{path}&limit=2&step=auto")).await;
        assert_eq!(
            (&page["step"], &page["next"]),
            (&"minute".into(), &format!("minute.{}", first + 2 * MINUTE_MS).into())
        );
        assert_eq!(viewer.get_json(&path).await["next"], Value::Null);
        for (parameter, more) in
            [("limit", "limit=1501"), ("limit", "limit=0"), ("cursor", "cursor=1"), ("step", "step=week")]
        {
            let problem = viewer.get(&format!("{path}&{more}")).await.problem(400);
            assert!(problem["detail"].as_str().unwrap().starts_with(parameter), "{more}: {problem}");
        }
    }
}

async fn nodes_pipelines_and_changes_are_paged(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    for name in ["n2", "n1", "n1"] {
        let mut node = NodeClient::enroll(&collector, None, name).await;
        node.report(vec![running("orders", distinct_counts(1)), pipeline("bills", "CRASHED")]).await;
    }
    let viewer = collector.viewer().await;
    for path in ["nodes?", "pipelines?", "status-changes?", "status-changes?pipeline=bills&from=1"] {
        let all = viewer.list(&format!("/api/v1/{path}")).await;
        assert!(all.len() >= 2, "{path}: {all:?}");
        assert_eq!(viewer.list(&format!("/api/v1/{path}&limit=1")).await, all, "{path}");
        let first = viewer.get_json(&format!("/api/v1/{path}&limit=1")).await;
        assert_eq!(first["items"].as_array().map(Vec::len), Some(1), "{path}");
    }
}

async fn lines_are_found_with_and_without_the_index(database: DatabaseKind) {
    let scan = tempfile::tempdir().unwrap();
    let file = scan.path().join("collector.toml");
    std::fs::write(&file, "log_search = 'scan'\n").unwrap();
    for (options, is_indexed) in [(vec![], true), (vec!["--config", file.to_str().unwrap()], false)] {
        let mut collector = TestCollector::start_on_with(database, &options).await;
        let mut node = NodeClient::enroll(&collector, None, "n1").await;
        for hundred in 0..10 {
            let lines = (0..100).map(move |number| format!("order {}-{number:02} taken", hundred));
            node.report(vec![with_lines(running("orders", distinct_counts(1)), clock::now_ms(), lines)]).await;
        }
        let viewer = collector.viewer().await;
        let indexed = async || {
            let page = String::from_utf8(viewer.get("/metrics").await.body).unwrap();
            let value = page.lines().find_map(|line| line.strip_prefix("systole_log_blocks_indexed_total "));
            value.unwrap().parse::<u64>().unwrap()
        };
        let find = async |q: &str| viewer.list(&format!("/api/v1/logs?q={q}")).await.len();
        let all = async || (find("ORDER%206-42%20").await, find("9-9").await, find("taken&limit=300").await);
        assert_eq!(all().await, (1, 10, 1_000), "at once");
        if is_indexed {
            eventually_true("complete blocks are indexed", SOON, async || indexed().await >= 3).await;
        } else {
            assert_eq!(indexed().await, 0);
        }
        assert_eq!(all().await, (1, 10, 1_000));
        viewer.get("/api/v1/logs?q=a%00b").await.problem(400);
    }
}

async fn newest_items_come_first_with_order_desc(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    for (hundred, state) in ["RUNNING", "CRASHED", "RUNNING"].into_iter().enumerate() {
        let lines = (0..100).map(move |number| format!("order {hundred}-{number:02}"));
        node.report(vec![with_lines(pipeline("orders", state), clock::now_ms(), lines)]).await;
    }
    let viewer = collector.viewer().await;
    for path in ["logs?pipeline=orders", "logs?q=order&from=-1h", "status-changes?from=-1h&to=now"] {
        let mut all = viewer.list(&format!("/api/v1/{path}")).await;
        all.reverse();
        assert_eq!(viewer.list(&format!("/api/v1/{path}&order=desc&limit=7")).await, all, "{path}");
    }
    let newest = viewer.get_json("/api/v1/logs?order=desc&limit=1").await;
    assert_eq!(newest["items"][0]["line"], "order 2-99");
}

async fn unknown_and_empty_parameters_are_named(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let _node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    for (path, name) in [
        ("nodes?labels=x", "labels"),
        ("nodes?limit=5&limit=6", "limit"),
        ("pipelines?environment=", "environment"),
        ("logs?node=", "node"),
        ("logs?pipeline=", "pipeline"),
        ("logs?order=down", "order"),
        ("status-changes?from=yesterday", "from"),
        ("samples?pipeline=orders", "node"),
        ("events?node=", "node"),
        ("events?kind=status_change", "kind"),
    ] {
        let problem = viewer.get(&format!("/api/v1/{path}")).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with(&format!("{name}: ")), "{path}: {problem}");
    }
}
