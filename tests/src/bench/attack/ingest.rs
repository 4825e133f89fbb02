//! Attacks with reports: work, names, histories and memory of the collector.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{AttackTally, Target};
use crate::clock;
use crate::harness::Answer;
use crate::harness::node::Encoding;

/// Items that fit into the largest body: `1,` each.
const ITEMS: usize = 3_900_000;

/// What an unfinished body says it has.
const HELD_BYTES: usize = 8 << 20;

/// Bytes of it that are sent at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A request of one report with these pipelines, as text.
fn request_text(boot: impl std::fmt::Display, seq: u64, pipelines: &str) -> String {
    let now = clock::now_ms();
    format!(
        r#"{{"bootId":"{boot}","sentAt":{now},"reports":[{{"seq":{seq},"start":{},"end":{now},"pipelines":{pipelines}}}]}}"#,
        now - 5_000
    )
}

/// A body of some hundred bytes with millions of pipelines that are none.
#[must_use]
pub fn refused_items_body(boot: impl std::fmt::Display) -> Vec<u8> {
    let items = "1,".repeat(ITEMS - 1);
    Encoding::Zstd.pack(request_text(boot, 1, &format!("[{items}1]")).as_bytes())
}

/// Many gzip members without content before the report.
#[must_use]
pub fn empty_members_body(boot: impl std::fmt::Display) -> Vec<u8> {
    let empty = Encoding::Gzip.pack(b"");
    let mut body = empty.repeat(HELD_BYTES / 2 / empty.len());
    body.extend(Encoding::Gzip.pack(request_text(boot, 1, "[]").as_bytes()));
    body
}

async fn post_same_body(target: &Target, body: Vec<u8>, encoding: Encoding) -> AttackTally {
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        let (target, body) = (target.reconnected(), body.clone());
        tasks.spawn(async move {
            let mut tally = AttackTally::default();
            while target.goes_on() {
                tally.note_answer(Answer::try_of(target.node.raw_request(body.clone(), encoding.name())).await).await;
            }
            tally
        });
    }
    sum(tasks).await
}

async fn sum(tasks: JoinSet<AttackTally>) -> AttackTally {
    let mut all = AttackTally::default();
    for tally in tasks.join_all().await {
        all.add(tally);
    }
    all
}

pub(super) async fn refused_items(target: &Target) -> AttackTally {
    post_same_body(target, refused_items_body(target.node.boot), Encoding::Zstd).await
}

pub(super) async fn empty_members(target: &Target) -> AttackTally {
    post_same_body(target, empty_members_body(target.node.boot), Encoding::Gzip).await
}

/// Each report names a thousand pipelines that no report had before; a request has a hundred reports.
pub(super) async fn new_pipelines(target: &Target) -> AttackTally {
    let mut tally = AttackTally::default();
    let (mut seq, mut name) = (1, 0_u64);
    while target.goes_on() {
        let now = clock::now_ms();
        let reports: Vec<Value> = (0..100)
            .map(|_| {
                let pipelines: Vec<Value> = (0..1_000)
                    .map(|_| {
                        name += 1;
                        json!({"id": format!("p{name}"), "status": "RUNNING"})
                    })
                    .collect();
                seq += 1;
                json!({"seq": seq, "start": now - 5_000, "end": now, "pipelines": pipelines})
            })
            .collect();
        let body = json!({"bootId": target.node.boot, "sentAt": now, "reports": reports}).to_string();
        let body = Encoding::Zstd.pack(body.as_bytes());
        tally.note_answer(Answer::try_of(target.node.raw_request(body, Encoding::Zstd.name())).await).await;
    }
    tally
}

/// Each report has as many components as it may, with names that no report had before.
pub(super) async fn component_histories(target: &Target) -> AttackTally {
    let mut tally = AttackTally::default();
    let (mut seq, mut name) = (1, 0_u64);
    let sample = json!({"eventsIn": 1, "eventsOut": 1, "errors": 0, "discarded": 0, "bytesIn": 1, "bytesOut": 1});
    while target.goes_on() {
        let now = clock::now_ms();
        let components: Vec<Value> = (0..5_000)
            .map(|_| {
                name += 1;
                json!({"id": format!("c{name}"), "kind": "transform", "receivedEvents": 1, "sentEvents": 1})
            })
            .collect();
        let pipeline = json!({"id": "p", "status": "RUNNING", "sample": sample, "components": components});
        seq += 1;
        let report = json!({"seq": seq, "start": now - 5_000, "end": now, "pipelines": [pipeline]});
        let body = json!({"bootId": target.node.boot, "sentAt": now, "reports": [report]}).to_string();
        let body = Encoding::Zstd.pack(body.as_bytes());
        tally.note_answer(Answer::try_of(target.node.raw_request(body, Encoding::Zstd.name())).await).await;
    }
    tally
}

/// Bodies of the largest size that stop one byte before their end, and stay.
pub(super) async fn held_bodies(target: &Target) -> AttackTally {
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        let target = target.clone();
        tasks.spawn(async move {
            let mut tally = AttackTally::default();
            while target.goes_on() {
                tally.note(hold_body(&target).await.unwrap_or_else(|_| "closed".to_owned()));
                sleep(Duration::from_millis(50)).await;
            }
            tally
        });
    }
    sum(tasks).await
}

/// Sends all of a body but its end, and waits for an answer until the attack ends.
async fn hold_body(target: &Target) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(target.address).await?;
    let token = target.node.token();
    let head = format!(
        "POST /api/v1/agent/reports HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {HELD_BYTES}\r\n\r\n",
        target.address
    );
    stream.write_all(head.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    let chunk = [b' '; CHUNK_BYTES];
    let send = async {
        let mut left = HELD_BYTES - 1;
        while left > 0 {
            let piece = left.min(CHUNK_BYTES);
            write.write_all(&chunk[..piece]).await?;
            left -= piece;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let mut answer = [0; 12];
    let until_end = target.end.saturating_duration_since(tokio::time::Instant::now());
    let answered = async {
        tokio::select! {
            failed = send => failed.map(|()| 0),
            read = read.read_exact(&mut answer) => read,
        }
    };
    match timeout(until_end, answered).await {
        Ok(done) => done.map(|_| String::from_utf8_lossy(&answer[9..]).into_owned()),
        Err(_) => Ok("held".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_bodies_are_small_and_within_the_limit() {
        let boot = systole_shared::BootId(uuid::Uuid::now_v7());
        let body = refused_items_body(boot);
        assert!(body.len() < 2_000, "{}", body.len());
        assert!(zstd::decode_all(&body[..]).unwrap().len() <= systole_shared::limits::MAX_BODY_BYTES);
        assert!(empty_members_body(boot).len() < systole_shared::limits::MAX_BODY_BYTES);
    }
}
