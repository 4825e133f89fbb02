//! Everything at once, over kills; see [`systole_tests::oracle`].

use indicatif::ProgressBar;
use systole_tests::oracle::feed::{self, FeedPlan};
use systole_tests::oracle::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sigkills_cut_connections_and_a_full_disk_nothing_is_lost_and_nothing_doubled() {
    let told = run(Plan::new(8, 1, None), &ProgressBar::hidden()).await;
    assert!(told.reports > 100 && told.lines > 100 && told.changes > 12, "{told:?}");
    if !told.disk_was_full {
        say("the disk was not filled: a process can have no disk of its own here");
    }
    assert!(told.failed_requests.0 > 0 && told.boots > 4, "it was no calm run: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sigkills_every_subscriber_has_what_it_asked_for_once_and_in_order_and_a_restored_database_is_told() {
    let told = feed::run(FeedPlan::new(3, 40, None), &ProgressBar::hidden()).await;
    assert!(told.stored > 100 && told.came > 1_000 && told.connections > 100, "{told:?}");
    assert!(told.in_gaps * 10 < told.came, "gaps are the exception: {told:?}");
    assert!(told.resets == 40 && told.came_later > 100, "{told:?}");
}

#[expect(clippy::print_stderr, reason = "a part of the test that is left out is told")]
fn say(text: &str) {
    eprintln!("{text}");
}
