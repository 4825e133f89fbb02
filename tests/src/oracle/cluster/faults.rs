//! The faults of a cluster: any collector dies, freezes, or loses a way; the database crashes.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::harness::{Cluster, LinkState};

/// Until the cluster is well after a fault has ended.
const SETTLED: Duration = Duration::from_secs(45);

/// How long a frozen leader sleeps.
const FROZEN: Duration = Duration::from_secs(10);

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of the leader.
    KillLeader,
    /// SIGKILL of another collector.
    KillFollower,
    /// SIGSTOP of the leader, and SIGCONT when another one leads.
    FreezeLeader,
    /// The leader does not reach PostgreSQL.
    CutLeaderFromDatabase(LinkState),
    /// The others do not reach the leader.
    CutLeaderFromPeers(LinkState),
    /// The others do not reach a follower.
    CutFollower(LinkState),
    /// PostgreSQL ends without finishing anything.
    CrashDatabase,
    /// SIGTERM of the leader.
    StopLeader,
}

impl Fault {
    /// The fault of the n-th round: each kind comes once in eight rounds.
    pub fn of_round(round: usize, random: &mut StdRng) -> Self {
        let link = if random.random() { LinkState::Silent } else { LinkState::Broken };
        match round % 8 {
            1 => Fault::KillLeader,
            2 => Fault::CutLeaderFromPeers(link),
            3 => Fault::KillFollower,
            4 => Fault::CutLeaderFromDatabase(link),
            5 => Fault::CrashDatabase,
            6 => Fault::StopLeader,
            7 => Fault::FreezeLeader,
            _ => Fault::CutFollower(link),
        }
    }

    /// For counting.
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillLeader => "kill leader",
            Fault::KillFollower => "kill follower",
            Fault::FreezeLeader => "freeze leader",
            Fault::CutLeaderFromDatabase(_) => "cut leader from database",
            Fault::CutLeaderFromPeers(_) => "cut leader from peers",
            Fault::CutFollower(_) => "cut follower",
            Fault::CrashDatabase => "crash database",
            Fault::StopLeader => "stop leader",
        }
    }
}

/// Applies faults to a cluster.
#[derive(Debug)]
pub struct Faults {
    /// The cluster.
    pub cluster: Cluster,
    /// Decides how long each lasts.
    pub random: StdRng,
}

impl Faults {
    /// Applies a fault, ends it after a while, and waits until the cluster is well.
    pub async fn apply(&mut self, fault: Fault) {
        self.let_run().await;
        let leader = self.cluster.leader().await;
        let other = (leader + self.random.random_range(1..self.cluster.members.len())) % self.cluster.members.len();
        let short = self.ms(0..3_000);
        let long = self.ms(1_000..8_000);
        match fault {
            Fault::KillLeader => self.kill(leader, short).await,
            Fault::KillFollower => self.kill(other, short).await,
            Fault::StopLeader => {
                self.cluster.stop(leader).await;
                sleep(short).await;
                self.cluster.run(leader).await;
            }
            Fault::FreezeLeader => {
                self.cluster.freeze(leader);
                sleep(FROZEN).await;
                self.cluster.thaw(leader);
            }
            Fault::CutLeaderFromDatabase(link) => {
                self.cluster.set_database_link(leader, link);
                sleep(long).await;
                self.cluster.set_database_link(leader, LinkState::Open);
            }
            Fault::CutLeaderFromPeers(link) => {
                self.cluster.set_peer_link(leader, link);
                sleep(long).await;
                self.cluster.set_peer_link(leader, LinkState::Open);
            }
            Fault::CutFollower(link) => {
                self.cluster.set_peer_link(other, link);
                sleep(long).await;
                self.cluster.set_peer_link(other, LinkState::Open);
            }
            Fault::CrashDatabase => self.cluster.crash_database(short / 2).await,
        }
        self.cluster.settle(SETTLED).await;
        for member in &mut self.cluster.members {
            assert!(member.collector.is_alive(), "{fault:?} ends no collector that was not killed");
        }
    }

    /// Upgrades a collector that was not: a follower while there is one, and the leader last. It is stopped in order,
    /// and the program that is tested takes its place.
    pub async fn upgrade_next(&mut self) {
        self.let_run().await;
        let leader = self.cluster.leader().await;
        let is_next = |number: &usize| *number != leader && self.cluster.members[*number].collector.is_other_program();
        let next = (0..self.cluster.members.len()).find(is_next).unwrap_or(leader);
        self.cluster.stop(next).await;
        self.cluster.members[next].collector.set_program(None);
        self.cluster.run(next).await;
        self.cluster.settle(SETTLED).await;
    }

    /// Lets it run for a moment, or for some seconds.
    pub async fn let_run(&mut self) {
        let life = if self.random.random() { self.ms(20..500) } else { self.ms(500..3_000) };
        sleep(life).await;
    }

    async fn kill(&mut self, member: usize, gone: Duration) {
        self.cluster.kill(member).await;
        sleep(gone).await;
        self.cluster.run(member).await;
    }

    fn ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}
