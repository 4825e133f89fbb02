use proptest::prelude::*;

use super::super::state::VersionReport;
use super::*;
use crate::model::RolloutKey;
use crate::model::definition::{Batch, RolloutPolicy};

const NOW: UnixMillis = 1_790_000_000_000;
const OLD: i64 = 1;
const NEW: i64 = 2;

/// What a node makes of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Healthy,
    Fails,
    /// It never says anything.
    Mute,
}

#[derive(Clone, Copy, Debug)]
struct Host {
    is_canary: bool,
    is_away: bool,
    fate: Fate,
}

const GOOD: Host = Host { is_canary: false, is_away: false, fate: Fate::Healthy };

/// A rollout, its hosts, and what they should run.
struct Fleet {
    rollout: Rollout,
    hosts: Vec<Host>,
    assigned: BTreeMap<NodeKey, Option<i64>>,
    now: UnixMillis,
    /// The most nodes that had the version without being done with it.
    most_in_flight: usize,
}

fn key(index: usize) -> NodeKey {
    NodeKey(index as i64 + 1)
}

impl Fleet {
    fn new(hosts: Vec<Host>, batch: u32, max_failed: u32) -> Self {
        let canary = if hosts.iter().any(|host| host.is_canary) { vec!["canary".to_owned()] } else { Vec::new() };
        let rollout = Rollout {
            key: RolloutKey(1),
            version: NEW,
            from_version: Some(OLD),
            policy: RolloutPolicy { canary, batch: Batch::Count(batch), max_failed, healthy_for_ms: 1_000 },
            state: RolloutState::Running,
            reason: String::new(),
            stage: 0,
            nodes: BTreeMap::new(),
        };
        let assigned = (0..hosts.len()).map(|index| (key(index), Some(OLD))).collect();
        Fleet { rollout, hosts, assigned, now: NOW, most_in_flight: 0 }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(index, host): (usize, &Host)| {
            let node = self.rollout.nodes.get(&key(index));
            let has_version = self.assigned[&key(index)] == Some(NEW) && !host.is_away;
            let phase = match host.fate {
                Fate::Healthy => Some(DeploymentPhase::Healthy),
                Fate::Fails => Some(DeploymentPhase::RolledBack),
                Fate::Mute => None,
            };
            let report = phase.filter(|_| has_version).map(|phase| VersionReport {
                phase,
                reason: "exit 1".to_owned(),
                since: node.map_or(0, |node| node.changed_at),
            });
            Candidate {
                key: key(index),
                name: format!("edge-{index}"),
                readiness: if host.is_away { Readiness::Away("unreachable") } else { Readiness::Ready },
                is_canary: host.is_canary,
                report,
            }
        };
        self.hosts.iter().enumerate().map(candidate).collect()
    }

    fn take(&mut self, step: Step) {
        if let Some((state, reason)) = step.state {
            (self.rollout.state, self.rollout.reason) = (state, reason);
        }
        self.rollout.stage = step.stage.unwrap_or(self.rollout.stage);
        self.rollout.nodes.extend(step.nodes);
        self.assigned.extend(step.assign);
        self.most_in_flight = self.most_in_flight.max(self.count(NodeState::Deploying));
    }

    fn step(&mut self) -> bool {
        self.now += 1_000;
        let step = step(&self.rollout, &self.candidates(), self.now);
        let is_empty = step.is_empty();
        self.take(step);
        !is_empty
    }

    /// Until nothing changes any more, also not with time.
    fn run(&mut self) {
        for _ in 0..10 * self.hosts.len() + 10 {
            while self.step() {}
            self.now += DEPLOY_TIMEOUT_MS + 2_000;
            if !self.step() {
                return;
            }
        }
        panic!("the rollout does not come to rest: {:?}", self.rollout);
    }

    fn count(&self, state: NodeState) -> usize {
        self.rollout.nodes.values().filter(|node| node.state == state).count()
    }

    fn with(&self, version: i64) -> usize {
        self.assigned.values().filter(|assigned| **assigned == Some(version)).count()
    }
}

#[test]
fn canaries_come_first_and_batches_after_them() {
    let canary = Host { is_canary: true, ..GOOD };
    let mut fleet = Fleet::new(vec![GOOD, canary, GOOD, GOOD, GOOD], 3, 0);
    assert!(fleet.step());
    assert_eq!((fleet.with(NEW), fleet.assigned[&key(1)]), (1, Some(NEW)), "the canary alone");
    assert!(fleet.step());
    assert_eq!((fleet.rollout.stage, fleet.with(NEW)), (1, 4), "a batch of three");
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.rollout.stage, fleet.with(NEW)), (RolloutState::Complete, 2, 5));
}

#[test]
fn failed_canary_halts_before_anyone_else_gets_the_version() {
    let canary = Host { is_canary: true, fate: Fate::Fails, ..GOOD };
    let mut fleet = Fleet::new(vec![canary, GOOD, GOOD], 3, 0);
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.with(OLD)), (RolloutState::Halted, 3));
    assert_eq!(fleet.rollout.reason, "1 node failed, none may fail; edge-0: rolled back: exit 1");
    assert_eq!((fleet.count(NodeState::Failed), fleet.rollout.nodes.len()), (1, 1));
}

#[test]
fn halt_takes_the_version_from_those_that_are_not_healthy_yet() {
    let fates = [Fate::Healthy, Fate::Fails, Fate::Fails, Fate::Mute];
    let hosts = fates.map(|fate| Host { fate, ..GOOD });
    let mut fleet = Fleet::new(hosts.to_vec(), 4, 1);
    fleet.run();
    assert_eq!(fleet.rollout.state, RolloutState::Halted);
    assert_eq!(fleet.assigned.values().copied().collect::<Vec<_>>(), [Some(NEW), Some(OLD), Some(OLD), Some(OLD)]);
    let resumed = resume(&fleet.rollout, fleet.now);
    fleet.take(resumed);
    fleet.hosts.iter_mut().for_each(|host| host.fate = Fate::Healthy);
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.with(NEW)), (RolloutState::Complete, 4), "they try again");
}

#[test]
fn abort_takes_the_version_from_every_node() {
    let mut fleet = Fleet::new(vec![GOOD, GOOD, Host { fate: Fate::Mute, ..GOOD }], 2, 0);
    fleet.step();
    fleet.step();
    assert_eq!(fleet.with(NEW), 3);
    let aborted = abort(&fleet.rollout, "aborted by ops", fleet.now);
    fleet.take(aborted);
    assert_eq!((fleet.rollout.state, fleet.with(OLD)), (RolloutState::Aborted, 3));
    assert!(!fleet.step());
}

#[test]
fn first_version_that_fails_is_removed_from_its_nodes() {
    let mut fleet = Fleet::new(vec![Host { fate: Fate::Fails, ..GOOD }], 1, 5);
    fleet.rollout.from_version = None;
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.assigned[&key(0)]), (RolloutState::Halted, None));
    assert!(fleet.rollout.reason.contains("none is healthy"), "{}", fleet.rollout.reason);
}

#[test]
fn node_that_is_away_blocks_no_one_and_gets_the_version_when_it_is_back() {
    let away = Host { is_away: true, ..GOOD };
    let mut fleet = Fleet::new(vec![GOOD, away, away], 1, 0);
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.with(NEW)), (RolloutState::Complete, 1));
    assert_eq!(fleet.rollout.reason, "2 nodes get the version when they are back");
    fleet.hosts[1].is_away = false;
    fleet.run();
    assert_eq!((fleet.with(NEW), fleet.count(NodeState::Healthy)), (2, 2));
    assert_eq!(fleet.rollout.reason, "1 node gets the version when it is back");
    fleet.hosts[2] = Host { fate: Fate::Fails, ..GOOD };
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.assigned[&key(2)]), (RolloutState::Complete, Some(OLD)), "back, for good");
    assert!(!fleet.step(), "and not again");
}

#[test]
fn node_that_falls_silent_in_its_batch_has_its_time_again() {
    let mut fleet = Fleet::new(vec![Host { fate: Fate::Mute, ..GOOD }, GOOD], 1, 0);
    fleet.step();
    fleet.hosts[0].is_away = true;
    fleet.step();
    fleet.step();
    assert_eq!(fleet.assigned[&key(1)], Some(NEW), "the next batch does not wait for it");
    fleet.now += 10 * DEPLOY_TIMEOUT_MS;
    fleet.step();
    fleet.hosts[0].is_away = false;
    fleet.step();
    assert_eq!(fleet.count(NodeState::Failed), 0, "its time begins when it is back");
    fleet.run();
    assert_eq!(fleet.count(NodeState::Failed), 1, "{:?}", fleet.rollout);
}

#[test]
fn rollout_halts_without_a_canary_even_if_it_may_fail() {
    let canary = Host { is_canary: true, fate: Fate::Fails, ..GOOD };
    let mut fleet = Fleet::new(vec![canary, GOOD, GOOD], 3, 1);
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.with(NEW)), (RolloutState::Halted, 0));
    assert!(fleet.rollout.reason.starts_with("1 node failed, and no canary is left; edge-0: "), "{:?}", fleet.rollout);
}

#[test]
fn rollout_waits_for_a_canary() {
    let canary = Host { is_canary: true, is_away: true, ..GOOD };
    let mut fleet = Fleet::new(vec![canary, GOOD], 1, 0);
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.with(NEW)), (RolloutState::Running, 0));
    assert!(fleet.rollout.reason.starts_with("waiting for a canary"), "{}", fleet.rollout.reason);
    fleet.hosts[0].is_away = false;
    fleet.run();
    assert_eq!((fleet.rollout.state, fleet.rollout.reason.as_str()), (RolloutState::Complete, ""));
}

#[test]
fn rollout_without_a_node_is_complete() {
    let mut fleet = Fleet::new(Vec::new(), 1, 0);
    fleet.run();
    assert_eq!(fleet.rollout.state, RolloutState::Complete);
}

#[test]
fn report_of_an_earlier_attempt_is_not_a_failure() {
    let mut fleet = Fleet::new(vec![GOOD], 1, 0);
    fleet.step();
    let mut candidates = fleet.candidates();
    candidates[0].report =
        Some(VersionReport { phase: DeploymentPhase::Rejected, reason: "old".into(), since: fleet.now - 1 });
    assert!(step(&fleet.rollout, &candidates, fleet.now).is_empty());
    candidates[0].report =
        Some(VersionReport { phase: DeploymentPhase::Rejected, reason: "bad port".into(), since: fleet.now });
    fleet.take(step(&fleet.rollout, &candidates, fleet.now));
    assert_eq!(fleet.rollout.reason, "1 node failed, none may fail; edge-0: rejected: bad port");
}

fn host() -> impl Strategy<Value = Host> {
    let fate = prop_oneof![6 => Just(Fate::Healthy), 1 => Just(Fate::Fails), 1 => Just(Fate::Mute)];
    (any::<bool>(), prop::bool::weighted(0.2), fate).prop_map(|(is_canary, is_away, fate)| Host {
        is_canary,
        is_away,
        fate,
    })
}

proptest! {
    #[test]
    fn rollout_comes_to_rest_within_its_policy(
        hosts in prop::collection::vec(host(), 0..30),
        batch in 1_u32..8,
        max_failed in 0_u32..4,
        flips in prop::collection::vec((0_usize..30, any::<bool>()), 0..20),
    ) {
        let canaries = hosts.iter().filter(|host| host.is_canary).count();
        let mut fleet = Fleet::new(hosts, batch, max_failed);
        // Nodes come and go while it runs.
        for (index, is_away) in flips {
            fleet.step();
            if let Some(host) = fleet.hosts.get_mut(index) {
                host.is_away = is_away;
            }
        }
        fleet.run();
        for (index, host) in fleet.hosts.iter().enumerate() {
            let node = fleet.rollout.nodes.get(&key(index));
            let assigned = fleet.assigned[&key(index)];
            match node.map(|node| node.state) {
                None | Some(NodeState::Waiting | NodeState::Failed) => prop_assert_eq!(assigned, Some(OLD)),
                Some(NodeState::Healthy) => prop_assert_eq!(assigned, Some(NEW)),
                Some(NodeState::Deploying) => {
                    prop_assert_eq!(assigned, Some(NEW));
                    prop_assert!(host.is_away, "a node that reports is done: {:?}", fleet.rollout);
                }
            }
            if fleet.rollout.state == RolloutState::Complete && !host.is_away {
                let state = node.map(|node| node.state);
                prop_assert!(matches!(state, Some(NodeState::Healthy | NodeState::Failed)), "{:?}", fleet.rollout);
            }
        }
        // A batch that ran beside nodes that fell silent has them on top.
        prop_assert!(fleet.most_in_flight <= canaries.max(batch as usize) + fleet.hosts.len());
        let failed = fleet.count(NodeState::Failed);
        match fleet.rollout.state {
            RolloutState::Halted => {
                let none_is_healthy = fleet.count(NodeState::Healthy) == 0;
                prop_assert!(failed > max_failed as usize || (failed > 0 && none_is_healthy));
            }
            RolloutState::Running => prop_assert!(fleet.rollout.reason.starts_with("waiting for a canary")),
            RolloutState::Complete => {}
            RolloutState::Aborted => prop_assert!(false, "no one has aborted it"),
        }
    }
}
