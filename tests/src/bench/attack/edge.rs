//! Attacks before and beside reports: tokens, log lines, searches and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use systole_shared::limits::MAX_LOG_LINES_PER_REPORT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use super::{AttackTally, Target};
use crate::clock;
use crate::harness::database::{Database, Place};
use crate::harness::node::{Encoding, to_json};
use crate::harness::reports::{pipeline, report, with_lines};
use crate::harness::{Answer, NodeClient, TestCollector};

/// Lines that are searched.
const SEARCHED_LINES: u64 = 1_000_000;

/// The first bytes of a handshake, which says that 512 follow.
pub const HALF_HELLO: [u8; 6] = [22, 3, 1, 2, 0, 1];

/// Runs one task per connection until all end.
async fn on_connections<F>(target: &Target, attack: impl Fn(Target) -> F) -> AttackTally
where
    F: Future<Output = AttackTally> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        tasks.spawn(attack(target.reconnected()));
    }
    let mut all = AttackTally::default();
    for tally in tasks.join_all().await {
        all.add(tally);
    }
    all
}

pub(super) async fn enrol_flood(target: &Target) -> AttackTally {
    let number = Arc::new(AtomicU64::new(0));
    on_connections(target, |target| {
        let number = Arc::clone(&number);
        async move {
            let mut tally = AttackTally::default();
            while target.goes_on() {
                let name = format!("flood-{}", number.fetch_add(1, Ordering::Relaxed));
                tally.note_answer(Ok(NodeClient::try_enroll(&target.client, &target.enroll_token, &name).await)).await;
            }
            tally
        }
    })
    .await
}

pub(super) async fn unknown_tokens(target: &Target) -> AttackTally {
    on_connections(target, |target| async move {
        let mut tally = AttackTally::default();
        let mut number = 0;
        while target.goes_on() {
            number += 1;
            let client = target.client.with_token(&format!("sys_viewer_{number}"));
            tally.note_answer(Ok(client.get("/api/v1/nodes").await)).await;
        }
        tally
    })
    .await
}

/// Each request has as many reports as the limit of a body allows, each with as many lines.
pub(super) async fn log_flood(target: &Target) -> AttackTally {
    let mut tally = AttackTally::default();
    let mut node = target.node.clone();
    while target.goes_on() {
        let reports = (0..10).map(|_| {
            let lines = (0..MAX_LOG_LINES_PER_REPORT).map(|line| format!("line {line} of a flood"));
            let seq = node.next_seq;
            node.next_seq += 1;
            report(seq, clock::now_ms(), vec![with_lines(pipeline("flood", "RUNNING"), clock::now_ms(), lines)])
        });
        let reports = reports.collect();
        let body = Encoding::Zstd.pack(&to_json(&node.request_of(reports)));
        tally.note_answer(Answer::try_of(node.raw_request(body, Encoding::Zstd.name())).await).await;
    }
    tally
}

/// Puts lines into the database of a collector that has none.
pub async fn fill_with_lines(collector: &mut TestCollector, node: &mut NodeClient) {
    node.report(vec![pipeline("searched", "RUNNING")]).await;
    collector.stop().await;
    add_lines(&collector.database(), SEARCHED_LINES);
    collector.run().await;
}

/// Adds lines of the first node and pipeline, straight into the database of a collector that does not run.
pub fn add_lines(place: &Place, lines: u64) {
    let now = clock::now_ms();
    Database::execute(
        place,
        &format!(
            "WITH RECURSIVE line(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM line WHERE n < {lines}) \
             INSERT INTO logs (seq, entry_seq, at, node, pipeline, stream, level, line) \
             SELECT meta.head_seq + n, meta.head_seq + n, {now}, (SELECT min(id) FROM nodes), \
             (SELECT min(id) FROM pipelines), 'stdout', 'INFO', \
             'order ' || n || ' of customer-' || (n * 7919 % 100003) || ' was taken to the warehouse' \
             FROM line CROSS JOIN meta"
        ),
    );
    Database::execute(place, &format!("UPDATE meta SET head_seq = head_seq + {lines} WHERE id = 1"));
}

pub(super) async fn searches(target: &Target) -> AttackTally {
    on_connections(target, |target| async move {
        let mut tally = AttackTally::default();
        let viewer = target.client.with_token(&target.viewer_token);
        while target.goes_on() {
            // Two letters: the index cannot help.
            tally.note_answer(Ok(viewer.get("/api/v1/logs?q=%23%23").await)).await;
        }
        tally
    })
    .await
}

pub(super) async fn half_handshakes(target: &Target) -> AttackTally {
    on_connections(target, |target| async move {
        let mut tally = AttackTally::default();
        while target.goes_on() {
            match half_handshake(&target).await {
                Ok(()) => tally.note("closed"),
                Err(_) => tally.note("failed"),
            }
            sleep(Duration::from_millis(10)).await;
        }
        tally
    })
    .await
}

async fn half_handshake(target: &Target) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.write_all(&HALF_HELLO).await?;
    let mut nothing = [0; 64];
    // Until the collector closes.
    while timeout_at(target.end, stream.read(&mut nothing)).await.is_ok_and(|read| matches!(read, Ok(1..))) {}
    Ok(())
}
