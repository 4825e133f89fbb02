//! Many subscribers at once, by the load generator: small runs of docs/benchmarks.md, for what must hold at
//! any speed.

use clap::Parser;
use systole_tests::bench::args::{Args, Command};
use systole_tests::bench::feed::{measure, outcome::FeedOutcome};

async fn run(flags: &[&str]) -> FeedOutcome {
    let args = Args::try_parse_from(["systole-bench", "feed", "--quiet"].iter().chain(flags)).expect("good flags");
    let Some(Command::Feed(args)) = args.command else { panic!("a run of the feed") };
    let outcome = measure(&args).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(outcome.is_whole(), "every subscriber has every line once and in order:\n{}", outcome.table());
    outcome
}

#[tokio::test]
async fn subscribers_reconnect_after_a_storm_without_loss() {
    let outcome =
        run(&["--subscribers", "200", "--events-per-second", "40", "--seconds", "2", "--warm-up", "1", "--storm"])
            .await;
    assert!(outcome.storm.is_some() && outcome.lines > 100, "{}", outcome.table());
    assert_eq!((outcome.notices, outcome.in_gaps), ((0, 0, 0), (0, 0)), "{}", outcome.table());
}

#[tokio::test]
async fn stalled_reader_affects_no_other_subscriber() {
    let flags = ["--subscribers", "30", "--stalled", "1", "--events-per-second", "200", "--line-bytes", "2000"];
    let outcome = run(&[&flags[..], &["--seconds", "2", "--warm-up", "1"]].concat()).await;
    let is_closed = outcome.stalled_closed_seconds.is_some_and(|seconds| seconds < 60.0) && outcome.closed_as_slow > 0;
    assert!(is_closed || outcome.notices.0 > 0, "{}", outcome.table());
    assert!(outcome.in_gaps.1 <= 1, "only the stalled one: {}", outcome.table());
}
