//! A version that passes validation and crashes: the rollout halts, the canaries go back, and no other node notices.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::centre::Centre;
use crate::harness::{AgentFleet, FleetAgent, SOON, TestCollector, agent_fleet, eventually};

/// Promise: a node is back on its last good version this long after the bad one started there.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Longest time for a rollout. An agent that was stopped tries the bad version once more.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the collector is away, and how long nothing more may happen after the end.
const PAUSE: Duration = Duration::from_secs(6);
/// The bad version runs for this long, less than it must be up.
const CRASH_AFTER: &str = "crash-after-ms=1500";
/// What is good on every node.
const GOOD: &str = "good";

/// What happens beside the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// SIGKILL to the collector once a canary runs the version, and a new start after some seconds.
    CollectorKilled,
    /// Some nodes and a canary are away from before the rollout; another canary's agent is killed while it runs the
    /// version. All come back during the rollout.
    AgentsAway,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Trouble; 3] = [Trouble::Nothing, Trouble::CollectorKilled, Trouble::AgentsAway];

    /// The kind for people, and the name of the version.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Nothing => "undisturbed",
            Trouble::CollectorKilled => "collector-killed",
            Trouble::AgentsAway => "agents-away",
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct CrashOutcome {
    /// What happened beside the crash.
    pub trouble: Trouble,
    /// Canaries on which the version ran. It ran on no other node.
    pub touched: usize,
    /// Nodes that the rollout has as failed.
    pub failed: usize,
    /// From the first start of the bad version to the start of the good one after it, the slowest node.
    pub back_max_ms: i64,
    /// From apply to the halt.
    pub halted_after_ms: u128,
    /// Nodes whose process is the one from before the rollout.
    pub untouched: usize,
    /// Agents that were away or killed.
    pub away: usize,
    /// The rollout's reason.
    pub reason: String,
}

/// Runs it once; panics when anything is not as promised.
pub async fn run(
    collector: &mut TestCollector,
    centre: &Centre,
    fleet: &mut AgentFleet,
    trouble: Trouble,
) -> CrashOutcome {
    let policy = |healthy_for_ms: u64, batch: &str| json!({"canary": ["canary=true"], "batch": batch, "healthyForMs": healthy_for_ms, "maxFailed": 1});
    // The same content as before touches no process, so the fleet is as it was before the last run.
    let good = centre.apply(&agent_fleet::config(GOOD, &[]), &policy(1_000, "100%")).await;
    if let Some(rollout) = good.rollout {
        centre.rollout_in(rollout, "complete", LIMIT).await;
    }
    let before: Vec<u32> = fleet.agents.iter().map(good_pid).collect();
    let plan = Plan::of(fleet, trouble);
    for &index in &plan.away {
        fleet.agents[index].agent.stop().await;
    }
    wait_until_away(centre, fleet.agents.len() - plan.away.len()).await;

    let version = trouble.as_str();
    let begin = Instant::now();
    let bad = centre.apply(&agent_fleet::config(version, &[CRASH_AFTER]), &policy(20_000, "10%")).await;
    let rollout = bad.rollout.unwrap_or_else(|| panic!("the version is new: {bad:?}"));
    disturb(collector, fleet, &plan, trouble).await;
    let halted = centre.rollout_in(rollout, "halted", LIMIT).await;
    let halted_after_ms = begin.elapsed().as_millis();

    eventually("every node runs the good version, and says so", LIMIT, async || {
        let runs_good =
            fleet.agents.iter().all(|agent| agent.pid_of(GOOD).is_some() && agent.pid_of(version).is_none());
        (runs_good && reported(&centre.rollout(rollout).await, good.version)).then_some(())
    })
    .await;
    sleep(PAUSE).await;
    let touched: Vec<&FleetAgent> = fleet.agents.iter().filter(|agent| !agent.lives(version).is_empty()).collect();
    assert!(!touched.is_empty(), "the version ran nowhere");
    for agent in &touched {
        assert!(agent.is_canary, "{} is no canary and ran the version", agent.name);
    }
    let back_max_ms = touched.iter().map(|agent| back_after(agent, version)).max().unwrap_or_default();
    assert!(back_max_ms <= as_ms(BACK_WITHIN), "a node was back after {back_max_ms} ms");
    let mut untouched = 0;
    for (index, (agent, pid)) in fleet.agents.iter().zip(before).enumerate() {
        if !plan.is_stopped(index) && agent.lives(version).is_empty() {
            assert_eq!(agent.pid_of(GOOD), Some(pid), "{} has another process", agent.name);
            untouched += 1;
        }
    }
    let failed = check_answer(&halted, fleet);
    CrashOutcome {
        trouble,
        touched: touched.len(),
        failed,
        back_max_ms,
        halted_after_ms,
        untouched,
        away: plan.away.len() + usize::from(plan.killed.is_some()),
        reason: halted["reason"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Agents that are stopped, by their index.
struct Plan {
    /// From before the rollout.
    away: Vec<usize>,
    /// While it runs the bad version.
    killed: Option<usize>,
}

impl Plan {
    fn of(fleet: &AgentFleet, trouble: Trouble) -> Self {
        if trouble != Trouble::AgentsAway {
            return Plan { away: Vec::new(), killed: None };
        }
        let canaries = fleet.agents.iter().filter(|agent| agent.is_canary).count();
        let others = fleet.agents.len() - canaries;
        // The last canary, and a tenth of the others from the end.
        let away = (0..others.div_ceil(10)).map(|index| fleet.agents.len() - 1 - index);
        Plan { away: away.chain([canaries - 1]).collect(), killed: Some(0) }
    }

    fn is_stopped(&self, index: usize) -> bool {
        self.away.contains(&index) || self.killed == Some(index)
    }
}

/// Waits until the collector knows which nodes are away.
async fn wait_until_away(centre: &Centre, up: usize) {
    eventually("the stopped agents are away", SOON, async || (centre.nodes_up().await == up).then_some(())).await;
}

async fn disturb(collector: &mut TestCollector, fleet: &mut AgentFleet, plan: &Plan, trouble: Trouble) {
    let version = trouble.as_str();
    let first = plan.killed.map_or(0..fleet.agents.len(), |index| index..index + 1);
    eventually("a canary runs the version", SOON, async || {
        fleet.agents[first.clone()].iter().any(|agent| !agent.lives(version).is_empty()).then_some(())
    })
    .await;
    if trouble == Trouble::CollectorKilled {
        collector.kill().await;
        sleep(PAUSE).await;
        collector.run().await;
    }
    if let Some(index) = plan.killed {
        fleet.agents[index].agent.kill().await;
        fleet.agents[index].agent.run();
    }
    for &index in &plan.away {
        fleet.agents[index].agent.run();
    }
}

fn good_pid(agent: &FleetAgent) -> u32 {
    agent.pid_of(GOOD).unwrap_or_else(|| panic!("{} does not run the good version", agent.name))
}

/// Whether each node that the rollout reached says that it runs this version.
fn reported(rollout: &Value, version: i64) -> bool {
    nodes(rollout).iter().all(|node| node["stage"].is_null() || node["runningVersion"] == version)
}

fn nodes(rollout: &Value) -> &[Value] {
    rollout["nodes"].as_array().unwrap_or_else(|| panic!("no nodes in {rollout:#}"))
}

/// From the first start of the bad version on a node to the good one's start after it.
fn back_after(agent: &FleetAgent, version: &str) -> i64 {
    let bad = agent.lives(version)[0].started_at;
    let last_bad = agent.started_at(version).unwrap_or(bad);
    let good = agent.lives(GOOD).into_iter().map(|life| life.started_at).find(|at| *at >= last_bad);
    good.unwrap_or_else(|| panic!("{} has no good process after the bad one", agent.name)) - bad
}

/// The answer names each failed node with its reason. Returns how many there are.
fn check_answer(halted: &Value, fleet: &AgentFleet) -> usize {
    let failed: Vec<&Value> = nodes(halted).iter().filter(|node| node["state"] == "failed").collect();
    let summary = halted["reason"].as_str().unwrap_or_default();
    assert!(failed.len() > 1, "more than one failed: {halted:#}");
    for node in &failed {
        let (name, reason) =
            (node["nodeName"].as_str().unwrap_or_default(), node["reason"].as_str().unwrap_or_default());
        assert!(fleet.agents.iter().any(|agent| agent.name == name && agent.is_canary), "{node}");
        assert!(reason.contains("exit code 1"), "{node}");
    }
    let is_named = |node: &&Value| summary.contains(node["nodeName"].as_str().unwrap_or("no name"));
    assert!(failed.iter().any(is_named) && summary.contains("exit code 1"), "{summary}");
    failed.len()
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
