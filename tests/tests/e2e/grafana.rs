//! The query of docs/grafana.md, as Grafana's data source sends it.

use std::path::Path;

use serde_json::Value;
use systole_tests::clock;
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{NodeClient, TestCollector};

#[tokio::test]
async fn query_of_the_document_has_its_columns() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running("orders", distinct_counts(3))]).await;
    let viewer = collector.viewer().await;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grafana.md");
    let document = std::fs::read_to_string(document).unwrap();
    let query = document.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let query: Value = serde_json::from_str(query).unwrap();

    let now = clock::now_ms();
    let filled = |url: &str| {
        let path =
            url.strip_prefix("https://collector.example:8080").unwrap_or(url).replace("NODE_ID", &node.id.to_string());
        path.replace("${__from}", &(now - 3_600_000).to_string()).replace("${__to}", &(now + 60_000).to_string())
    };
    let items = async |url: &str| viewer.get_json(&filled(url)).await["items"].as_array().unwrap().clone();
    let root = query["root_selector"].as_str().unwrap();
    assert_eq!(root, "items");
    let rows = items(query["url"].as_str().unwrap()).await;
    for column in query["columns"].as_array().unwrap() {
        let value = &rows[0][column["selector"].as_str().unwrap()];
        assert!(value.is_u64(), "{column}: {rows:?}");
    }
    assert_eq!(rows[0]["eventsIn"], distinct_counts(3).events_in);

    // The other queries of the table.
    for line in document.lines().filter(|line| line.starts_with("| ") && line.contains("`/api/v1/")) {
        let cells: Vec<_> = line.split('`').collect();
        let rows = items(cells[1]).await;
        let columns = cells[3].split(", ");
        // A report of a test has neither lines nor a host.
        let Some(row) = rows.first() else {
            assert!(cells[1].contains("/logs") || cells[1].contains("/nodes/"), "{line}");
            continue;
        };
        for column in columns {
            assert!(row.get(column).is_some(), "{column} of {line}: {row}");
        }
    }
}
