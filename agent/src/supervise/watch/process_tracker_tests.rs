use PipelineStatus::{Crashed, Degraded, Pending, Running, Starting, Stopped};

use super::*;

/// This process, or one with its id that began at another time.
fn process() -> Process {
    Process::find(std::process::id()).unwrap()
}

fn ended() -> Sight {
    Sight::Ended { status: Crashed, reason: "exit code 1".to_owned() }
}

fn unknown() -> Sight {
    Sight::Unknown { reason: "no systemd".to_owned() }
}

fn status(book: &WatchBook, now: UnixMillis) -> PipelineStatus {
    book.judge(now).unwrap().status
}

fn fail(book: &mut WatchBook) {
    book.hear(Some("connection refused".to_owned()));
}

#[test]
fn without_a_process_the_endpoint_alone_tells() {
    let mut book = WatchBook::default();
    assert_eq!(book.judge(0), None);
    fail(&mut book);
    assert_eq!(status(&book, 0), Pending);
    book.hear(None);
    assert_eq!(status(&book, 0), Running);
    fail(&mut book);
    assert_eq!(status(&book, 0), Running, "one may be a hiccup");
    fail(&mut book);
    assert_eq!(status(&book, 0), Degraded);
}

#[test]
fn a_process_that_lives_and_does_not_answer_is_starting_first_and_degraded_then() {
    let mut book = WatchBook::default();
    let now = clock::unix_millis();
    book.see(Sight::running(process()), now);
    let started = book.started_at.unwrap();
    assert_eq!(status(&book, now), Running);
    fail(&mut book);
    fail(&mut book);
    assert_eq!(status(&book, started + READY_CEILING_MS - 1), Starting);
    let verdict = book.judge(started + READY_CEILING_MS).unwrap();
    assert_eq!((verdict.status, verdict.pid), (Degraded, Some(std::process::id())));
    book.hear(None);
    assert_eq!(book.judge(now).unwrap(), Verdict { status: Running, reason: None, ..verdict });
}

#[test]
fn an_ended_process_counts_for_more_than_an_answer_from_before() {
    let mut book = WatchBook::default();
    book.see(Sight::running(process()), 0);
    book.hear(None);
    assert!(book.see(ended(), 0).has_ended);
    let verdict = book.judge(0).unwrap();
    assert_eq!((verdict.status, verdict.reason.as_deref(), verdict.pid), (Crashed, Some("exit code 1"), None));
    fail(&mut book);
    assert_eq!(status(&book, 0), Crashed);
    book.hear(None);
    assert_eq!(status(&book, 0), Degraded, "it answers, though it is said to be gone");
    let gone = Sight::Ended { status: Stopped, reason: "the process is gone".to_owned() };
    assert!(!book.see(gone, 0).has_ended, "only once");
}

#[test]
fn a_process_of_which_nothing_can_be_known_leaves_the_word_to_the_endpoint() {
    let mut book = WatchBook::default();
    book.see(unknown(), 0);
    assert_eq!(status(&book, 0), Pending);
    book.hear(None);
    let verdict = book.judge(0).unwrap();
    assert_eq!((verdict.status, verdict.reason.as_deref()), (Running, Some("no systemd")));
    book.see(Sight::running(process()), 0);
    book.see(Sight::Unchanged, 0);
    assert_eq!(book.judge(0).unwrap().pid, Some(std::process::id()));
}

#[test]
fn another_process_is_a_restart_and_counts_what_its_supervisor_tells() {
    let mut book = WatchBook::default();
    let first = Sight::Running { process: Some(process()), started_again: 5 };
    assert_eq!(book.see(first.clone(), 0), News { is_another: true, ..News::default() });
    assert_eq!(book.see(first, 0), News::default());
    let parent = Process::find(std::os::unix::process::parent_id()).unwrap();
    let news = book.see(Sight::Running { process: Some(parent), started_again: 8 }, 0);
    assert_eq!(news, News { is_another: true, restarts: 3, is_after_crash: true, ..News::default() });
    book.see(ended(), 0);
    // Started by a person this time.
    let news = book.see(Sight::Running { process: Some(process()), started_again: 0 }, 0);
    assert_eq!(news, News { is_another: true, restarts: 1, ..News::default() });
}
