//! Kills in the middle of alerts: nothing is reported twice, and nothing is forgotten.

use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use systole_tests::harness::reports::pipeline;
use systole_tests::harness::{DatabaseKind, SOON, eventually_true};
use tokio::time::sleep;

use super::alert_scene::Scene;

on_each_database! {
    alerts_are_reported_once_over_twenty_kills,
}

const KILLS: usize = 20;

async fn alerts_are_reported_once_over_twenty_kills(database: DatabaseKind) {
    let mut scene = Scene::start(database).await;
    let mut node = scene.node("edge-1").await;
    // It is silent while the collector is down, which is not what this is about.
    scene.silence("rule=node-unreachable").await;
    let mut random = SmallRng::seed_from_u64(20);
    let mut expected = Vec::new();
    for round in 0..KILLS {
        let (status, state) = if round % 2 == 0 { ("CRASH_LOOP", "firing") } else { ("RUNNING", "resolved") };
        let request = node.next_request(vec![pipeline("orders", status)]);
        node.post_until_accepted(&request).await;
        expected.push(format!("{state} pipeline-crash-loop"));
        // Somewhere between the report, the decision, the message and its delivery.
        sleep(Duration::from_millis(random.random_range(0..400))).await;
        scene.kill_and_run().await;
        eventually_true(&format!("message {round}"), SOON, async || {
            // The pipeline is not observed while its node is UNREACHABLE.
            let request = node.next_request(vec![pipeline("orders", status)]);
            node.post_until_accepted(&request).await;
            scene.told().len() >= expected.len()
        })
        .await;
    }
    assert_eq!(scene.told(), expected);
    let states: Vec<_> = expected.iter().map(|told| told.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(scene.history("pipeline-crash-loop").await, states);
}
