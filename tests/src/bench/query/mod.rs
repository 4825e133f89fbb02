//! How long queries take while a fleet reports: a collector that holds a day of it, and one reader that
//! asks one question after the other.

pub mod fill;
pub mod outcome;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::fill::{DAY_MS, NEEDLE, fill, is_settled};
use self::outcome::{QueryOutcome, Question};
use super::args::{Args, Loop, QueryArgs};
use super::bodies::Bodies;
use super::fleet::{Node, Schedule, enroll};
use super::run::{progress_bar, write_outcome};
use super::tally::Tally;
use crate::clock;
use crate::harness::{Answer, ApiClient, TestCollector, TestPostgres, eventually_true};

/// Longest time for hours to be summed and lines to be indexed.
const SETTLING: Duration = Duration::from_secs(600);

/// Between two queries: a reader thinks, and the machine has other load.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures and reports.
pub async fn run(args: &QueryArgs) -> anyhow::Result<()> {
    if args.nodes == 0 || args.pipelines == 0 || args.seconds == 0 {
        bail!("at least one node, one pipeline, and a second of time");
    }
    let mut collector = match args.postgres {
        true => TestCollector::start_on_postgres(&Arc::new(TestPostgres::alone())).await,
        false => TestCollector::start().await,
    };
    let token = collector.create_token("enroll", None).await;
    let fleet = fleet_args(args)?;
    let bodies = Arc::new(Bodies::new(&fleet));
    let bar = progress_bar(args.nodes as u64, "nodes", args.quiet)?;
    let mut nodes = enroll(collector.address(), token.token.reveal(), &fleet, &bar).await?;
    bar.finish_and_clear();
    // One report each, so that there are series to have a history.
    for node in &mut nodes {
        ensure!(node.report_once(&bodies).await, "a first report was not taken");
    }
    collector.stop().await;
    fill(&collector.database(), clock::now_ms(), args.lines);
    collector.run().await;
    let database = collector.database();
    eventually_true("hours are summed and lines indexed", SETTLING, async || is_settled(&database, args.lines)).await;

    let viewer = collector.viewer().await;
    let seconds = Duration::from_secs(args.seconds);
    let ingest = report_meanwhile(nodes, &bodies, args, seconds);
    let questions = ask(&viewer, seconds, args.quiet).await?;
    let mut tally = Tally::new();
    for node in ingest.join_all().await {
        tally.add(&node);
    }
    collector.stop().await;
    let outcome = QueryOutcome::of(args, &tally, &questions);
    write_outcome(args.json.as_deref(), &outcome, &outcome.table())
}

fn fleet_args(args: &QueryArgs) -> anyhow::Result<Args> {
    let sizes = [("nodes", args.nodes), ("pipelines", args.pipelines), ("components", args.components), ("lines", 1)];
    let line = sizes.map(|(name, size)| format!("--{name}={size}"));
    let line = ["systole-bench".to_owned(), "--spawn".to_owned()].into_iter().chain(line);
    Args::try_parse_from(line).context("the fleet's settings")
}

/// Has the nodes report by the clock, in separate tasks.
fn report_meanwhile(nodes: Vec<Node>, bodies: &Arc<Bodies>, args: &QueryArgs, time: Duration) -> JoinSet<Tally> {
    let mut reporting = JoinSet::new();
    if args.interval_ms == 0 {
        return reporting;
    }
    let interval = Duration::from_millis(args.interval_ms);
    let begin = Instant::now();
    for (number, node) in nodes.into_iter().enumerate() {
        let first = begin + interval.mul_f64(number as f64 / args.nodes as f64);
        let schedule = Schedule { first, begin, end: begin + time };
        reporting.spawn(node.drive(Arc::clone(bodies), Loop::Open, interval, schedule, Arc::default()));
    }
    reporting
}

/// Asks every question in turn until the time is over.
async fn ask(viewer: &ApiClient, time: Duration, quiet: bool) -> anyhow::Result<Vec<Question>> {
    let mut questions: Vec<Question> = [
        "a pipeline's day by minute",
        "a pipeline's day by hour",
        "nodes",
        "lines with a rare text",
        "lines with a text that is nowhere",
        "errors of a day",
    ]
    .map(Question::new)
    .into();
    let bar = progress_bar(time.as_secs(), "s", quiet)?;
    let start = Instant::now();
    while start.elapsed() < time {
        for (number, question) in questions.iter_mut().enumerate() {
            let now = clock::now_ms();
            let path = match number {
                0 => format!("/api/v1/pipelines/pipeline-0/minutes?from={}&to={now}&step=minute", now - DAY_MS),
                1 => format!("/api/v1/pipelines/pipeline-0/minutes?from={}&to={now}&step=hour", now - DAY_MS),
                2 => "/api/v1/nodes?limit=100".to_owned(),
                3 => format!("/api/v1/logs?q={NEEDLE}"),
                4 => "/api/v1/logs?q=nowhere-to-be-found".to_owned(),
                _ => format!("/api/v1/logs?level=error&from={}", now - DAY_MS),
            };
            let begin = Instant::now();
            let answer = Answer::try_of(viewer.request(reqwest::Method::GET, &path)).await.context(path)?;
            question.record(begin.elapsed(), &answer)?;
            bar.set_position(start.elapsed().as_secs());
            sleep(PAUSE).await;
        }
    }
    bar.finish_and_clear();
    Ok(questions)
}
