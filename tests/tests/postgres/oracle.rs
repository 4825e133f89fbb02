//! Everything at once, over kills of the collector and crashes of the database; see
//! [`systole_tests::oracle`].

use std::sync::Arc;

use indicatif::ProgressBar;
use systole_tests::harness::TestPostgres;
use systole_tests::oracle::feed::{self, FeedPlan};
use systole_tests::oracle::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sigkills_crashes_of_the_database_and_cut_connections_nothing_is_lost_and_nothing_doubled() {
    let server = Arc::new(TestPostgres::alone());
    let told = run(Plan::new(8, 0, Some(server)), &ProgressBar::hidden()).await;
    assert!(told.reports > 100 && told.lines > 100 && told.changes > 12, "{told:?}");
    assert!(told.failed_requests.0 > 0 && told.boots > 4, "it was no calm run: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sigkills_and_crashes_of_the_database_every_subscriber_has_what_it_asked_for_once_and_in_order() {
    let server = Arc::new(TestPostgres::alone());
    let told = feed::run(FeedPlan::new(3, 40, Some(server)), &ProgressBar::hidden()).await;
    assert!(told.stored > 100 && told.came > 1_000 && told.connections > 100, "{told:?}");
    assert!(told.in_gaps * 10 < told.came, "gaps are the exception: {told:?}");
    assert!(told.resets == 40 && told.came_later > 100, "{told:?}");
}
