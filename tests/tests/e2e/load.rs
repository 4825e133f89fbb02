//! Many subscribers at once, by the load generator: the runs of docs/benchmarks.md in small, for what
//! must hold at any speed.

use clap::Parser;
use systole_tests::bench::args::{Args, Command};
use systole_tests::bench::feed::{measure, outcome::FeedOutcome};

async fn run(flags: &[&str]) -> FeedOutcome {
    let args = Args::try_parse_from(["systole-bench", "feed", "--quiet"].iter().chain(flags)).expect("good flags");
    let Some(Command::Feed(args)) = args.command else { panic!("a run of the feed") };
    let outcome = measure(&args).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(outcome.is_whole(), "everyone has everything once and in order:\n{}", outcome.table());
    outcome
}

#[tokio::test]
async fn two_hundred_subscribers_that_are_cut_at_once_all_come_back_without_a_gap_or_a_double() {
    let outcome =
        run(&["--subscribers", "200", "--events-per-second", "40", "--seconds", "2", "--warm-up", "1", "--storm"])
            .await;
    assert!(outcome.storm.is_some() && outcome.lines > 100, "{}", outcome.table());
    assert_eq!((outcome.told, outcome.in_gaps), ((0, 0, 0), (0, 0)), "{}", outcome.table());
}

#[tokio::test]
async fn a_reader_that_stands_still_is_closed_or_told_its_gap_and_the_others_miss_nothing() {
    let flags = ["--subscribers", "30", "--stalled", "1", "--events-per-second", "200", "--line-bytes", "2000"];
    let outcome = run(&[&flags[..], &["--seconds", "2", "--warm-up", "1"]].concat()).await;
    let is_closed = outcome.stalled_closed_seconds.is_some_and(|seconds| seconds < 60.0) && outcome.closed_as_slow > 0;
    assert!(is_closed || outcome.told.0 > 0, "{}", outcome.table());
    assert!(outcome.in_gaps.1 <= 1, "only the one that stood still: {}", outcome.table());
}
