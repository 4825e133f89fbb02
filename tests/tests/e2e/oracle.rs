//! Everything at once, over kills of the collector and crashes of the database; see
//! [`systole_tests::oracle`].

use std::sync::Arc;

use indicatif::ProgressBar;
use systole_tests::harness::{DatabaseKind, TestPostgres};
use systole_tests::oracle::feed::{self, FeedPlan};
use systole_tests::oracle::{Plan, run};

on_each_database! {
    fleet_is_counted_exactly_once_over_faults,
    subscribers_receive_their_events_once_over_faults,
}

/// A separate server, because the run crashes it.
fn server(database: DatabaseKind) -> Option<Arc<TestPostgres>> {
    (database == DatabaseKind::Postgres).then(|| Arc::new(TestPostgres::alone()))
}

async fn fleet_is_counted_exactly_once_over_faults(database: DatabaseKind) {
    let server = server(database);
    let full_disks = usize::from(server.is_none());
    let outcome = run(Plan::new(8, full_disks, server), &ProgressBar::hidden()).await;
    assert!(outcome.reports > 100 && outcome.lines > 100 && outcome.changes > 12, "{outcome:?}");
    if full_disks > 0 && !outcome.disk_was_full {
        print("the disk was not filled: a process cannot have a separate disk here");
    }
    assert!(outcome.failed_requests.0 > 0 && outcome.boots > 4, "no faults came true: {outcome:?}");
}

async fn subscribers_receive_their_events_once_over_faults(database: DatabaseKind) {
    let outcome = feed::run(FeedPlan::new(3, 40, server(database)), &ProgressBar::hidden()).await;
    assert!(outcome.stored > 100 && outcome.came > 1_000 && outcome.connections > 100, "{outcome:?}");
    assert!(outcome.in_gaps * 10 < outcome.came, "gaps are the exception: {outcome:?}");
    assert!(outcome.resets == 40 && outcome.came_later > 100, "{outcome:?}");
}

#[expect(clippy::print_stderr, reason = "reports a part of the test that is left out")]
fn print(text: &str) {
    eprintln!("{text}");
}
