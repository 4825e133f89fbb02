//! How fast a version gets to every node: applied, rolled back, and applied once more without a change.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::centre::{Centre, Change, PIPELINE};
use super::outcome::{PaceOutcome, StepOutcome, Times};
use crate::clock;
use crate::harness::{AgentFleet, Feed, FeedEvent, TestCollector, agent_fleet, eventually};

/// Longest time for one version, far beyond what is promised: a late one is measured and not cut.
const LIMIT: Duration = Duration::from_secs(180);
/// How long nothing may happen after an apply that changes nothing: two intervals of reports.
const QUIET: Duration = Duration::from_secs(10);
/// Longest time that is distinguished.
const MAX_MS: u64 = 300_000;

/// Runs it; panics when a version does not get to every node.
pub(super) async fn run(
    collector: &mut TestCollector,
    centre: &Centre,
    fleet: &AgentFleet,
    push: bool,
) -> anyhow::Result<PaceOutcome> {
    let mut feed = collector.feed(&format!("types=deployment&pipeline={PIPELINE}")).await;
    let mut steps = Vec::new();
    for (name, config) in [("first version", "one"), ("second version", "two")] {
        steps.push(step(name, config, fleet, centre, &mut feed, async || apply(centre, config).await).await?);
    }
    steps.push(step("rollback", "one", fleet, centre, &mut feed, async || centre.roll_back(1).await).await?);
    nothing_changes(centre, fleet).await;
    Ok(PaceOutcome { agents: fleet.agents.len(), push, steps })
}

async fn apply(centre: &Centre, config: &str) -> Change {
    let policy = json!({"batch": "100%", "healthyForMs": 1_000, "maxFailed": 0});
    centre.apply(&agent_fleet::config(config, &[]), &policy).await
}

/// One change, until every node runs it and the rollout is complete.
async fn step(
    name: &'static str,
    config: &str,
    fleet: &AgentFleet,
    centre: &Centre,
    feed: &mut Feed,
    change: impl AsyncFn() -> Change,
) -> anyhow::Result<StepOutcome> {
    let (begin, began_at) = (Instant::now(), clock::now_ms());
    let change = change().await;
    let answered_ms = ms(begin.elapsed());
    let rollout = change.rollout.with_context(|| format!("{name}: no rollout of {change:?}"))?;
    let everyone = |phases: &'static [&'static str]| {
        move |events: &[FeedEvent]| {
            let first = first_of(events, change.version, phases);
            (first.len() == fleet.agents.len()).then(|| first.into_values().collect::<Vec<_>>())
        }
    };
    let running = feed.wait_until("every node runs it", LIMIT, everyone(&["starting", "healthy"])).await;
    let healthy = feed.wait_until("every node is healthy", LIMIT, everyone(&["healthy"])).await;
    centre.rollout_in(rollout, "complete", LIMIT).await;
    let complete_ms = ms(begin.elapsed());
    let started = eventually("every process has started", LIMIT, async || {
        let newest = fleet.agents.iter().map(|agent| agent.started_at(config).filter(|at| *at >= began_at));
        newest.collect::<Option<Vec<_>>>()
    })
    .await;
    let since = |at: &Instant| ms(at.saturating_duration_since(begin));
    Ok(StepOutcome {
        name,
        answered_ms,
        started: times(started.iter().map(|at| u64::try_from(at - began_at).unwrap_or_default()))?,
        reported_running: times(running.iter().map(since))?,
        reported_healthy: times(healthy.iter().map(since))?,
        complete_ms,
    })
}

/// When each node first said that a version is in one of these phases.
fn first_of(events: &[FeedEvent], version: i64, phases: &[&str]) -> BTreeMap<String, Instant> {
    let mut first = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == "deployment" && event.data["version"] == version) {
        let phase = event.data["phase"].as_str().unwrap_or_default();
        assert!(!matches!(phase, "rejected" | "rolled_back"), "{}", event.data);
        if phases.contains(&phase) {
            let node = event.data["nodeId"].as_str().unwrap_or_default().to_owned();
            first.entry(node).or_insert(event.at);
        }
    }
    first
}

/// The same once more: no version, no generation, no process is another one.
async fn nothing_changes(centre: &Centre, fleet: &AgentFleet) {
    let state = || -> Vec<_> {
        let of = |agent: &crate::harness::FleetAgent| (agent.name.clone(), agent.generation(), agent.pid_of("one"));
        fleet.agents.iter().map(of).collect()
    };
    let before = state();
    assert!(before.iter().all(|(_, generation, pid)| generation.is_some() && pid.is_some()), "{before:?}");
    let again = apply(centre, "one").await;
    assert_eq!(again.rollout.map(Value::from), None, "nothing has changed: {again:?}");
    sleep(QUIET).await;
    assert_eq!(state(), before, "an apply without a change touched a node");
}

fn times(values: impl Iterator<Item = u64>) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, MAX_MS, 3)?;
    values.for_each(|value| histogram.saturating_record(value.max(1)));
    let (p50_ms, p99_ms) = (histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99));
    Ok(Times { p50_ms, p99_ms, max_ms: histogram.max() })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(MAX_MS)
}
