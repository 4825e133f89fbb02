//! The badge of a pipeline.

use systole_tests::harness::reports::{distinct_counts, pipeline, running};
use systole_tests::harness::{NodeClient, TestCollector};

const BADGE: &str = "/api/v1/badge/pipelines/orders.svg";

#[tokio::test]
async fn badge_shows_the_worst_state_to_readers_of_the_environment() {
    let mut collector = TestCollector::start().await;
    let (mut one, mut other) =
        (NodeClient::enroll(&collector, None, "n1").await, NodeClient::enroll(&collector, None, "n2").await);
    one.report(vec![running("orders", distinct_counts(1))]).await;
    other.report(vec![pipeline("orders", "CRASHED")]).await;
    let viewer = collector.viewer().await;
    let badge = viewer.get(BADGE).await;
    assert_eq!((badge.status, badge.content_type.as_str()), (200, "image/svg+xml"));
    let svg = String::from_utf8(badge.body).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains(": crashed 1/2</title>"), "{svg}");

    assert_eq!(viewer.get("/api/v1/badge/pipelines/none.svg").await.status, 404);
    assert_eq!(collector.client().get(BADGE).await.status, 401);
    collector.create_environment("lab").await;
    assert_eq!(collector.viewer_of("lab").await.get(BADGE).await.status, 404);
}
