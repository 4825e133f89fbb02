//! How long a cluster is away for its clients when its leader fails: from the fault to the first acknowledged report
//! that was sent after it, and to the first event at a subscriber.

use std::fmt;
use std::time::Duration;

use systole_shared::{ReportAck, ReportRequest};
use tokio::time::{Instant, sleep, timeout};

use crate::clock;
use crate::harness::node::to_json;
use crate::harness::reports::{pipeline, report, with_lines};
use crate::harness::{Answer, ApiClient, Cluster, Feed, LinkState, NodeClient};

/// Between two reports of a node, which has one request at a time.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest wait before a node or a subscriber tries the next address.
const NEXT_ADDRESS: Duration = Duration::from_millis(100);

/// After which a round has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Until the cluster is well again.
const SETTLED: Duration = Duration::from_secs(60);

/// How the leader fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LeaderFault {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP.
    Freeze,
    /// Bytes to and from PostgreSQL and from the other collectors are dropped; clients reach it.
    Partition,
}

/// The times of one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// To the first acknowledged report.
    pub report: Duration,
    /// To the first event at the subscriber.
    pub event: Duration,
}

/// The times of all rounds of a fault.
#[derive(Clone, Debug, Default)]
pub struct Recoveries(Vec<Recovery>);

impl Recoveries {
    /// The median and the longest, of reports and of events.
    pub fn summary(&self) -> [(Duration, Duration); 2] {
        let of = |time: fn(&Recovery) -> Duration| {
            let mut times: Vec<Duration> = self.0.iter().map(time).collect();
            times.sort_unstable();
            (times.get(times.len() / 2).copied().unwrap_or_default(), times.last().copied().unwrap_or_default())
        };
        [of(|it| it.report), of(|it| it.event)]
    }
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [report, event] = self.summary();
        let ms = |time: Duration| time.as_millis();
        write!(
            f,
            "{} rounds; first report p50 {} ms, worst {} ms; first event p50 {} ms, worst {} ms",
            self.0.len(),
            ms(report.0),
            ms(report.1),
            ms(event.0),
            ms(event.1)
        )?;
        let rounds: Vec<_> = self.0.iter().map(|round| format!("{}/{}", ms(round.report), ms(round.event))).collect();
        write!(f, "\n  report/event in ms: {}", rounds.join(" "))
    }
}

/// Lets the leader fail so many times. The node and the subscriber are at the leader when it fails.
pub async fn measure(cluster: &mut Cluster, fault: LeaderFault, rounds: usize) -> Recoveries {
    let token = cluster.members[0].collector.create_token("enroll", None).await;
    let name = format!("recovery-{}", clock::now_ms());
    let any = ApiClient::of_several(&cluster.urls());
    let mut node = NodeClient::enroll_with(&any, token.token.reveal(), &name).await;
    let mut recoveries = Recoveries::default();
    for _ in 0..rounds {
        let leader = cluster.leader().await;
        recoveries.0.push(measure_once(cluster, leader, fault, &mut node).await);
        match fault {
            LeaderFault::Kill | LeaderFault::Stop => cluster.run(leader).await,
            LeaderFault::Freeze => cluster.thaw(leader),
            LeaderFault::Partition => {
                cluster.set_database_link(leader, LinkState::Open);
                cluster.set_peer_link(leader, LinkState::Open);
            }
        }
        cluster.settle(SETTLED).await;
    }
    recoveries
}

async fn measure_once(cluster: &mut Cluster, leader: usize, fault: LeaderFault, node: &mut NodeClient) -> Recovery {
    let viewer = cluster.viewer().beginning_at(leader);
    let mut feed = Feed::open(&viewer, &format!("types=log_entry&node={}", node.id)).await;
    node.begin_at(leader);
    // Both are at the leader, and the way works.
    let first = send(node).await;
    while !has_line(&feed, first) {
        sleep(Duration::from_millis(5)).await;
    }
    let failed_at = Instant::now();
    match fault {
        LeaderFault::Kill => cluster.kill(leader).await,
        LeaderFault::Freeze => cluster.freeze(leader),
        LeaderFault::Partition => {
            cluster.set_database_link(leader, LinkState::Silent);
            cluster.set_peer_link(leader, LinkState::Silent);
        }
        LeaderFault::Stop => cluster.members[leader].collector.signal(nix::sys::signal::Signal::SIGTERM),
    }
    let mut recovery = Recovery::default();
    let after_fault = async {
        let mut sent = Vec::new();
        sent.push(send(node).await);
        recovery.report = failed_at.elapsed();
        loop {
            sent.push(send(node).await);
            sleep(PAUSE).await;
            // It receives the first of them sooner or later, in order.
            if sent.len() > 100 {
                return sent;
            }
        }
    };
    // A subscriber whose collector falls silent has 5 s, as an agent has.
    let first_after = first + 1;
    let event_at = async {
        let mut heard_at = Instant::now();
        let mut count = feed.events().len();
        loop {
            if has_line(&feed, first_after) {
                return failed_at.elapsed();
            }
            let events = feed.events().len();
            if events != count {
                (count, heard_at) = (events, Instant::now());
            }
            if feed.has_ended() || heard_at.elapsed() > viewer.patience() {
                viewer.move_on(viewer.base());
                let _ = timeout(viewer.patience(), feed.try_resume()).await;
                heard_at = Instant::now();
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (_, event) = timeout(LIMIT, async { tokio::join!(after_fault, event_at) })
        .await
        .unwrap_or_else(|_| panic!("{fault:?}: not served within {LIMIT:?}"));
    recovery.event = event;
    if fault == LeaderFault::Stop {
        cluster.wait(leader).await;
    }
    recovery
}

/// Sends the next report, with one line, until it is acknowledged; returns its number.
async fn send(node: &mut NodeClient) -> u64 {
    let seq = node.next_seq;
    node.next_seq += 1;
    let end = clock::now_ms();
    loop {
        let pipelines = vec![with_lines(pipeline("recovery", "RUNNING"), end, [format!("report {seq}")])];
        let request =
            ReportRequest { boot_id: node.boot, sent_at: clock::now_ms(), reports: vec![report(seq, end, pipelines)] };
        let base = node.client().base().to_owned();
        let answer = Answer::try_of(node.raw_request(to_json(&request), None));
        if let Ok(Ok(answer)) = timeout(node.client().patience(), answer).await {
            if answer.status == 200 {
                let ack: ReportAck = answer.json();
                assert!(ack.durable_seq >= seq, "acknowledged means committed");
                return seq;
            }
            assert!(answer.status >= 500 || answer.status == 408, "an agent would give such reports up: {answer:?}");
        }
        node.client().move_on(&base);
        sleep(NEXT_ADDRESS.mul_f64(rand::random())).await;
    }
}

fn has_line(feed: &Feed, seq: u64) -> bool {
    let wanted = format!("report {seq}");
    feed.events_of("log_entry").iter().any(|event| event.lines().contains(&wanted))
}
