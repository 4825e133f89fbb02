//! One attacker and one good node: what does the good node lose while the collector is attacked?
//!
//! The good node reports by the clock. Its latency counts from the moment at which a report is due, so a
//! stall of the collector is not hidden. The attacker has a thread and a runtime of its own: what it
//! costs to build an attack must not look like a slow collector.
//!
//! A new kind is a variant of [`AttackKind`], a line in [`attack`], and a function beside those of [`ingest`].

pub mod edge;
pub mod ingest;
pub mod outcome;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use self::outcome::AttackOutcome;
use super::args::{AttackArgs, AttackKind};
use super::run::{raise_open_files, write_outcome};
use super::tally::Tally;
use super::{metrics, process};
use crate::harness::node::{Encoding, to_json};
use crate::harness::reports::{distinct_counts, running};
use crate::harness::{Answer, ApiClient, NodeClient, TestCollector};

/// Pause of an attacker after a request without an answer, so that it does not only burn its own core.
const PAUSE: Duration = Duration::from_millis(5);

/// Address and tokens for an attack.
#[derive(Clone, Debug)]
pub struct Target {
    /// The collector.
    pub address: SocketAddr,
    /// A client without a token.
    pub client: ApiClient,
    /// An enrolment token.
    pub enroll_token: String,
    /// A viewer token of every environment, other than that of the measurement.
    pub viewer_token: String,
    /// The attacker's own node.
    pub node: NodeClient,
    /// Connections or tasks at a time.
    pub connections: usize,
    /// End of the attack.
    pub end: Instant,
}

impl Target {
    /// The same node with connections of their own, which belong to the calling runtime.
    #[must_use]
    pub fn reconnected(&self) -> Self {
        Target { client: self.client.reconnected(), node: self.node.reconnected(), ..self.clone() }
    }

    /// Whether the attack continues.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }
}

/// Counts of an attacker's requests by their result.
#[derive(Clone, Debug, Default)]
pub struct AttackTally {
    /// Requests or connections by status, or by kind of failure.
    pub answers: BTreeMap<String, u64>,
    /// Items that acknowledgements said were refused.
    pub refused_items: u64,
}

impl AttackTally {
    /// Notes an answer or a failure.
    pub fn note(&mut self, kind: impl Into<String>) {
        *self.answers.entry(kind.into()).or_default() += 1;
    }

    /// Notes an answer with its refused items; waits a moment after a failure.
    pub async fn note_answer(&mut self, answer: Result<Answer, reqwest::Error>) {
        match answer {
            Ok(answer) => {
                self.note(answer.status.to_string());
                let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                self.refused_items += body["refusedCount"].as_u64().unwrap_or_default();
                if answer.status >= 400 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(_) => {
                self.note("no answer");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Adds another task's.
    pub fn add(&mut self, other: Self) {
        for (kind, count) in other.answers {
            *self.answers.entry(kind).or_default() += count;
        }
        self.refused_items += other.refused_items;
    }
}

/// Attacks until [`Target::end`].
async fn attack(kind: AttackKind, target: Target) -> AttackTally {
    match kind {
        AttackKind::RefusedItems => ingest::refused_items(&target).await,
        AttackKind::EmptyMembers => ingest::empty_members(&target).await,
        AttackKind::NewPipelines => ingest::new_pipelines(&target).await,
        AttackKind::ComponentHistories => ingest::component_histories(&target).await,
        AttackKind::HeldBodies => ingest::held_bodies(&target).await,
        AttackKind::EnrolFlood => edge::enrol_flood(&target).await,
        AttackKind::UnknownTokens => edge::unknown_tokens(&target).await,
        AttackKind::LogFlood => edge::log_flood(&target).await,
        AttackKind::Searches => edge::searches(&target).await,
        AttackKind::HalfHandshakes => edge::half_handshakes(&target).await,
    }
}

/// Attacks and reports.
///
/// # Errors
///
/// When the attacker's thread does not start, or the outcome cannot be written.
pub async fn run(args: &AttackArgs) -> anyhow::Result<()> {
    if args.seconds == 0 || args.connections == 0 || args.interval_ms == 0 {
        bail!("at least one second, one connection and one millisecond");
    }
    raise_open_files();
    let mut collector = match args.kind {
        AttackKind::HalfHandshakes => TestCollector::start_with_tls().await,
        _ => TestCollector::start().await,
    };
    let token = collector.create_token("enroll", None).await.token.reveal().to_owned();
    let attacker_viewer = collector.create_token("viewer", None).await.token.reveal().to_owned();
    let mut good = NodeClient::enroll_with(&collector.client(), &token, "good").await;
    let node = NodeClient::enroll_with(&collector.client(), &token, "attacker").await;
    let viewer = collector.viewer().await;
    if args.kind == AttackKind::Searches {
        edge::fill_with_lines(&mut collector, &mut good).await;
    }
    let pid = collector.pid();

    let mut calm = Tally::new();
    report_by_the_clock(&mut good, args, Instant::now() + Duration::from_secs(args.warm_up), &mut calm).await;
    let before = (process::memory_bytes(pid), process::cpu_seconds(pid), metrics::counters(&viewer).await);
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let target = Target {
        address: collector.address(),
        client: collector.client(),
        enroll_token: token,
        viewer_token: attacker_viewer,
        node,
        connections: args.connections,
        end,
    };
    let attacked = start(args.kind, target)?;
    let mut tally = Tally::new();
    report_by_the_clock(&mut good, args, end, &mut tally).await;
    let attacked = attacked.await.context("the attacker's thread")?;
    let outcome = AttackOutcome {
        kind: format!("{:?}", args.kind),
        seconds: args.seconds,
        connections: args.connections,
        calm_p99_ms: calm.percentile_ms(99.0),
        good_reports: tally.acknowledged(),
        good_failures: tally.failures.clone(),
        good_refused: tally.refused,
        good_p50_ms: tally.percentile_ms(50.0),
        good_p99_ms: tally.percentile_ms(99.0),
        good_max_ms: tally.percentile_ms(100.0),
        rss_before_bytes: before.0,
        rss_after_bytes: process::memory_bytes(pid),
        rss_peak_bytes: process::peak_memory_bytes(pid),
        collector_cpu_seconds: process::cpu_seconds(pid) - before.1,
        attacker_answers: attacked.answers,
        attacker_refused_items: attacked.refused_items,
        metrics: metrics::growth(&before.2, metrics::counters(&viewer).await),
    };
    collector.stop().await;
    write_outcome(args.json.as_deref(), &outcome, &outcome.table())
}

/// Starts the attacker on a thread of its own.
fn start(kind: AttackKind, target: Target) -> anyhow::Result<oneshot::Receiver<AttackTally>> {
    let (done, outcome) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    std::thread::Builder::new().name("attacker".to_owned()).spawn(move || {
        let tally = runtime.block_on(async { attack(kind, target.reconnected()).await });
        let _ = done.send(tally);
    })?;
    Ok(outcome)
}

/// Has the good node report until `end`; a report that is not acknowledged is sent again unchanged.
async fn report_by_the_clock(good: &mut NodeClient, args: &AttackArgs, end: Instant, tally: &mut Tally) {
    let mut ticks = interval(Duration::from_millis(args.interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        let due = ticks.tick().await;
        let body = to_json(&good.next_request(vec![running("good-pipeline", distinct_counts(1))]));
        let packed = Encoding::Zstd.pack(&body);
        loop {
            tally.requests += 1;
            match Answer::try_of(good.raw_request(packed.clone(), Encoding::Zstd.name())).await {
                Ok(answer) if answer.status == 200 => {
                    let ack: systole_shared::ReportAck = answer.json();
                    tally.refused += ack.refused_count;
                    tally.record(due.elapsed());
                    break;
                }
                Ok(answer) => tally.fail(&answer.status.to_string()),
                Err(_) => tally.fail("no answer"),
            }
            tokio::time::sleep(PAUSE).await;
            if Instant::now() > end + Duration::from_secs(30) {
                tally.given_up += 1;
                return;
            }
        }
    }
}
