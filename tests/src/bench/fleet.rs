//! One imagined node of the fleet, sending until the time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use systole_shared::{PipelineReport, ReportAck};
use tokio::time::{Instant, sleep, sleep_until};

use super::args::{Args, Loop};
use super::outcome::Tally;
use crate::clock;
use crate::harness::node::{Encoding, NodeClient, to_json};
use crate::harness::reports::{distinct_counts, running, with_lines};
use crate::harness::{Answer, ApiClient};

/// Counts vary by this factor at most, so that bodies are not all alike to the packer.
const MAX_FACTOR: u64 = 1_000;
/// What a node waits after a failure.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Enrols the fleet.
pub async fn enroll(url: &str, token: &str, args: &Args) -> Vec<NodeClient> {
    let client = ApiClient::new(url);
    let run = uuid::Uuid::new_v4().simple().to_string();
    let mut nodes = Vec::with_capacity(args.nodes);
    for number in 0..args.nodes {
        nodes.push(NodeClient::enroll_with(&client, token, &format!("bench-{}-{number}", &run[..8])).await);
    }
    nodes
}

/// Sends reports until `end`; what has no good answer is sent again.
pub async fn drive(mut node: NodeClient, args: Args, end: Instant, acknowledged: Arc<AtomicU64>) -> Tally {
    let mut tally = Tally::new();
    let encoding = Encoding::from(args.encoding);
    let interval = Duration::from_millis(args.interval_ms);
    let mut due = Instant::now();
    if args.mode == Loop::Open {
        due += interval.mul_f64(rand::random());
    }
    while due < end {
        sleep_until(due).await;
        let pipelines = pipelines(&args);
        let events = pipelines.iter().filter_map(|pipeline| pipeline.sample?.events_in.get().ok()).sum::<i64>();
        let request = to_json(&node.next_request(pipelines));
        tally.reports += 1;
        loop {
            let start = Instant::now();
            let packed = encoding.pack(&request);
            tally.bytes_plain += request.len() as u64;
            tally.bytes_sent += packed.len() as u64;
            match Answer::try_of(node.raw_request(packed, encoding.name())).await {
                Ok(answer) if answer.status == 200 => {
                    let ack: ReportAck = answer.json();
                    tally.refused += ack.refused_count;
                    tally.events_in += events.unsigned_abs();
                    tally.record(if args.mode == Loop::Open { due } else { start }.elapsed());
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(answer) => tally.fail(&answer.status.to_string()),
                Err(error) => tally.fail(if error.is_timeout() { "time-out" } else { "connection" }),
            }
            sleep(BACK_OFF).await;
            if Instant::now() > end + Duration::from_secs(10) {
                return tally;
            }
        }
        due = match args.mode {
            Loop::Open => due + interval,
            Loop::Closed => Instant::now(),
        };
    }
    tally
}

fn pipelines(args: &Args) -> Vec<PipelineReport<'static>> {
    let now = clock::now_ms();
    (0..args.pipelines)
        .map(|number| {
            let counts = distinct_counts(rand::random_range(1..=MAX_FACTOR));
            let mut pipeline = running(&format!("pipeline-{number}"), counts);
            let pattern = pipeline.components[0].clone();
            for component in pipeline.components.len()..args.components {
                let mut transform = pattern.clone();
                transform.id = format!("transform_{component}").into();
                transform.kind = systole_shared::ComponentKind::Transform;
                transform.utilization = Some(rand::random());
                transform.latency_ms = Some(rand::random());
                pipeline.components.push(transform);
            }
            pipeline.components.truncate(args.components);
            let lines =
                (0..args.lines).map(|line| format!("order {line} of pipeline {number} was taken to the warehouse"));
            with_lines(pipeline, now, lines)
        })
        .collect()
}
