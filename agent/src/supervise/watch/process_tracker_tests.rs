use PipelineStatus::{Crashed, Degraded, Pending, Running, Starting, Stopped};

use super::*;

/// This process, or one with its id that began at another time.
fn process() -> Process {
    Process::find(std::process::id()).unwrap()
}

fn ended() -> Observation {
    Observation::Ended { status: Crashed, reason: "exit code 1".to_owned() }
}

fn unknown() -> Observation {
    Observation::Unknown { reason: "no systemd".to_owned() }
}

fn status(watched: &ProcessTracker, now: UnixMillis) -> PipelineStatus {
    watched.judge(now).unwrap().status
}

fn fail(watched: &mut ProcessTracker) {
    watched.record_answer(Some("connection refused".to_owned()));
}

#[test]
fn without_a_process_the_endpoint_alone_tells() {
    let mut watched = ProcessTracker::default();
    assert_eq!(watched.judge(0), None);
    fail(&mut watched);
    assert_eq!(status(&watched, 0), Pending);
    watched.record_answer(None);
    assert_eq!(status(&watched, 0), Running);
    fail(&mut watched);
    assert_eq!(status(&watched, 0), Running, "one may be a hiccup");
    fail(&mut watched);
    assert_eq!(status(&watched, 0), Degraded);
}

#[test]
fn a_process_that_lives_and_does_not_answer_is_starting_first_and_degraded_then() {
    let mut watched = ProcessTracker::default();
    let now = clock::unix_millis();
    watched.update(Observation::running(process()), now);
    let started = watched.started_at.unwrap();
    assert_eq!(status(&watched, now), Running);
    fail(&mut watched);
    fail(&mut watched);
    assert_eq!(status(&watched, started + READY_TIMEOUT_MS - 1), Starting);
    let verdict = watched.judge(started + READY_TIMEOUT_MS).unwrap();
    assert_eq!((verdict.status, verdict.pid), (Degraded, Some(std::process::id())));
    watched.record_answer(None);
    assert_eq!(watched.judge(now).unwrap(), Verdict { status: Running, reason: None, ..verdict });
}

#[test]
fn an_ended_process_counts_for_more_than_an_answer_from_before() {
    let mut watched = ProcessTracker::default();
    watched.update(Observation::running(process()), 0);
    watched.record_answer(None);
    assert!(watched.update(ended(), 0).has_ended);
    let verdict = watched.judge(0).unwrap();
    assert_eq!((verdict.status, verdict.reason.as_deref(), verdict.pid), (Crashed, Some("exit code 1"), None));
    fail(&mut watched);
    assert_eq!(status(&watched, 0), Crashed);
    watched.record_answer(None);
    assert_eq!(status(&watched, 0), Degraded, "it answers, though it is said to be gone");
    let gone = Observation::Ended { status: Stopped, reason: "the process is gone".to_owned() };
    assert!(!watched.update(gone, 0).has_ended, "only once");
}

#[test]
fn a_process_of_which_nothing_can_be_known_leaves_the_word_to_the_endpoint() {
    let mut watched = ProcessTracker::default();
    watched.update(unknown(), 0);
    assert_eq!(status(&watched, 0), Pending);
    watched.record_answer(None);
    let verdict = watched.judge(0).unwrap();
    assert_eq!((verdict.status, verdict.reason.as_deref()), (Running, Some("no systemd")));
    watched.update(Observation::running(process()), 0);
    watched.update(Observation::Unchanged, 0);
    assert_eq!(watched.judge(0).unwrap().pid, Some(std::process::id()));
}

#[test]
fn another_process_is_a_restart_and_counts_what_its_supervisor_tells() {
    let mut watched = ProcessTracker::default();
    let first = Observation::Running { process: Some(process()), started_again: 5 };
    assert_eq!(watched.update(first.clone(), 0), Transition { is_another: true, ..Transition::default() });
    assert_eq!(watched.update(first, 0), Transition::default());
    let parent = Process::find(std::os::unix::process::parent_id()).unwrap();
    let transition = watched.update(Observation::Running { process: Some(parent), started_again: 8 }, 0);
    assert_eq!(transition, Transition { is_another: true, restarts: 3, is_after_crash: true, ..Transition::default() });
    watched.update(ended(), 0);
    // Started by a person this time.
    let transition = watched.update(Observation::Running { process: Some(process()), started_again: 0 }, 0);
    assert_eq!(transition, Transition { is_another: true, restarts: 1, ..Transition::default() });
}
