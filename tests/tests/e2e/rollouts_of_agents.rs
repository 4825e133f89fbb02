//! A version that crashes, on real agents: it stops at the canaries, which go back by themselves.

use systole_tests::bench::rollout::{Centre, Trouble, crash};
use systole_tests::harness::{AgentFleet, DatabaseKind, SOON, TestCollector, eventually};

on_each_database! {
    crashing_version_stops_at_the_canaries,
    crashing_version_stops_at_the_canaries_of_a_killed_collector,
    crashing_version_stops_at_the_canaries_while_agents_come_and_go,
}

const AGENTS: usize = 6;
/// Two of them fail in each case, which is more than may.
const CANARIES: usize = 3;

async fn crash_in(database: DatabaseKind, trouble: Trouble) {
    let mut collector = TestCollector::start_on_with(database, &["--interval", "1s"]).await;
    let centre = Centre::of(&collector).await;
    let mut fleet = AgentFleet::start(&collector, AGENTS, CANARIES, true).await;
    eventually("every agent reports", SOON, async || (centre.nodes_up().await == AGENTS).then_some(())).await;
    let outcome = crash::run(&mut collector, &centre, &mut fleet, trouble).await;
    assert!(outcome.touched >= 2 && outcome.untouched >= AGENTS - CANARIES - outcome.away, "{outcome:?}");
}

async fn crashing_version_stops_at_the_canaries(database: DatabaseKind) {
    crash_in(database, Trouble::Nothing).await;
}

async fn crashing_version_stops_at_the_canaries_of_a_killed_collector(database: DatabaseKind) {
    crash_in(database, Trouble::CollectorKilled).await;
}

async fn crashing_version_stops_at_the_canaries_while_agents_come_and_go(database: DatabaseKind) {
    crash_in(database, Trouble::AgentsAway).await;
}
